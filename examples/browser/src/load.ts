/** Fetches what lies beside the page; what goes wrong is said in words for it. */
import { type Bundle, readBundle } from './bundle.ts'

/** A JSON file by its path from the page's folder. @throws Error that says why not */
export async function fetchJson<T>(path: string): Promise<T> {
  const response = await fetch(new URL(path, document.baseURI))
  if (!response.ok) throw new Error(`${path} does not load: the host answers ${response.status}.`)
  return (await response.json()) as T
}

/** The bundle in `folder`. @throws Error that says what is wrong with it */
export async function fetchBundle(folder: string): Promise<Bundle> {
  return readBundle(await fetchJson(`${folder}/langevin.json`), new URL(`${folder}/`, document.baseURI))
}
