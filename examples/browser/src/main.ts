/** Puts the page together: what models there are, the worker, the three tabs; and keeps the page for use without a network. */
import type { SamplerFile } from './chains.ts'
import { DigitView, type Example } from './digit.ts'
import { html, showProblem } from './dom.ts'
import { Engine } from './engine.ts'
import { type LandscapeEntry, LandscapeView } from './landscape.ts'
import { fetchBundle, fetchJson } from './load.ts'
import { SamplingView } from './sampling.ts'
import { setUpTabs } from './tabs.ts'
import { installTestHook } from './test-hook.ts'

type IndexedFile = Omit<SamplerFile, 'url'> & { readonly file: string }

const located = ({ file, ...rest }: IndexedFile): SamplerFile => ({
  ...rest,
  url: new URL(`models/${file}`, document.baseURI).href,
})

/** models/index.json: what the page shows; paths are from models/. make-models.mjs writes it. */
interface Index {
  readonly digits: {
    readonly folder: string
    /** Chains of p(x|y) from given points. */
    readonly chain: IndexedFile
    /** The same, from Gaussians of the classes; may be left out. */
    readonly gaussians?: IndexedFile
    /** An annealed sampler that begins at noise, with its trajectory; may be left out. */
    readonly noise?: IndexedFile
    readonly examples: string
  }
  readonly landscapes: readonly LandscapeEntry[]
}

async function start(): Promise<void> {
  const engine = new Engine()
  installTestHook(engine)
  const index = await fetchJson<Index>('models/index.json')
  const { folder, chain, gaussians, noise, examples } = index.digits
  const bundle = await fetchBundle(`models/${folder}`)
  const { images } = await fetchJson<{ images: readonly Example[] }>(`models/${examples}`)
  const sampling = new SamplingView(engine, bundle, {
    chain: located(chain),
    gaussians: gaussians && located(gaussians),
    noise: noise && located(noise),
  })
  const landscape = new LandscapeView(engine, index.landscapes)
  setUpTabs((panel) => {
    if (panel !== 'sample') sampling.pause()
    if (panel !== 'landscape') landscape.pause()
    else landscape.open()
  })
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) return
    sampling.pause()
    landscape.pause()
  })
  await DigitView.open(engine, bundle, images)
  document.documentElement.dataset.ready = 'true'
}

/** Without a service worker (an old browser, a host without https) the page works as well, only not offline. */
async function keepForOffline(): Promise<void> {
  if (!import.meta.env.PROD || !('serviceWorker' in navigator)) return
  try {
    await navigator.serviceWorker.register(new URL('sw.js', document.baseURI))
    await navigator.serviceWorker.ready
    html('offline').textContent = 'It is kept on this device and opens without a network.'
  } catch {
    html('offline').textContent = 'This browser does not keep it for use without a network.'
  }
}

start().then(keepForOffline, showProblem)
