/**
 * Looking for CUDA: every way in which a plugin, a driver, a GPU or a library can be missing or wrong gives one sentence and leaves the CPU working.
 * The libraries are small fakes compiled here; what also needs the plugin or the simulator (LANGEVIN_CUDA=ON or HOST) is skipped without it.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const addon = process.env.LANGEVIN_ADDON ?? fileURLToPath(new URL('../../build/Release/langevin.node', import.meta.url))
const plugin = join(dirname(addon), 'langevin_cuda.so')
const simulator = join(dirname(addon), 'cuda-simulator', 'libcuda.so.1')
const hasCompiler = spawnSync('cc', ['--version']).status === 0
const root = mkdtempSync(join(tmpdir(), 'langevin-loader-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))

/** What a process says that is run with these variables, after it has also used the CPU. */
interface Answer {
  /** Of `new Tensor('float32', [2], 'cuda')`. */
  readonly error: { readonly code: string; readonly message: string } | null
  readonly cuda: {
    readonly available: boolean
    readonly reason?: string
    readonly plugin: string
    readonly libraries?: Record<string, { version?: string; path?: string; missing?: string }>
  }
  readonly cpu: number[]
}

const script = `
const native = require(process.argv[1])
const answer = { error: null }
try { new native.Tensor('float32', [2], 'cuda').dispose() } catch (e) { answer.error = { code: e.code, message: e.message } }
answer.cuda = JSON.parse(native.info().cuda)
const tensor = new native.Tensor('float32', [2], 'cpu')
tensor.write(new Float32Array([1, 2])).then(() => tensor.read()).then((data) => {
  answer.cpu = [...data]
  console.log(JSON.stringify(answer))
})`

function ask(variables: Record<string, string>): Answer {
  const { LANGEVIN_CUDA_PATH: _, LANGEVIN_CUDA_PLUGIN: __, ...environment } = process.env
  const result = spawnSync(process.execPath, ['-e', script, addon], {
    env: { ...environment, ...variables },
    encoding: 'utf8',
  })
  expect(result.stderr).toBe('')
  expect(result.status).toBe(0)
  const answer = JSON.parse(result.stdout) as Answer
  expect(answer.cpu).toEqual([1, 2])
  return answer
}

/** The sentence for which CUDA is not available, said in the error and in info() alike. */
function reason(variables: Record<string, string>): string {
  const { error, cuda } = ask(variables)
  expect(cuda.available).toBe(false)
  expect(error?.code).toBe('E_DEVICE')
  expect(error?.message).toBe(`device 'cuda' cannot be used: ${cuda.reason}`)
  return cuda.reason as string
}

/** A folder with shared libraries of these C sources, by file name; a text file where the source is null. */
function folder(name: string, libraries: Record<string, string | null>): string {
  const path = join(root, name)
  mkdirSync(path)
  for (const [file, source] of Object.entries(libraries)) {
    if (source === null) {
      writeFileSync(join(path, file), 'this is no library\n'.repeat(100))
      continue
    }
    const text = join(path, `${file}.c`)
    writeFileSync(text, source)
    execFileSync('cc', ['-shared', '-fPIC', '-o', join(path, file), text])
  }
  return path
}

/** A driver with so many devices, of that version, whose cuInit gives that result. */
const driverSource = (devices: number, version = 13000, init = 0) => `
int cuInit(unsigned flags) { return ${init} + 0 * (int)flags; }
int cuDriverGetVersion(int* v) { *v = ${version}; return 0; }
int cuDeviceGetCount(int* n) { *n = ${devices}; return 0; }
int cuGetErrorName(int e, const char** name) { *name = e == 803 ? "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH" : "CUDA_ERROR_UNKNOWN"; return 0; }`

const build =
  'build it with LANGEVIN_CUDA=ON npm run build:native, which needs nvcc and what scripts/cuda-headers.sh fetches'

test('a device that is none is named', () => {
  const source = `const n = require(process.argv[1]); try { new n.Tensor('float32', [2], 'gpu:x') } catch (e) { console.log(e.code, e.message) }`
  expect(execFileSync(process.execPath, ['-e', source, addon], { encoding: 'utf8' }).trim()).toBe(
    "E_DEVICE device must be 'cpu', 'cuda' or 'cuda:' and a number; got 'gpu:x'",
  )
})

test('without the plugin', () => {
  const nowhere = join(root, 'nowhere.so')
  expect(reason({ LANGEVIN_CUDA_PLUGIN: nowhere })).toBe(
    `this installation has no CUDA plugin (${nowhere} does not exist): ${build}`,
  )
})

describe.skipIf(!hasCompiler)('with fake libraries', () => {
  let any = '' // stands for a plugin where the driver is what is wrong
  let one = '' // a folder with a driver that has a device
  beforeAll(() => {
    any = join(folder('any', { 'plugin.so': 'int nothing;' }), 'plugin.so')
    one = folder('one', { 'libcuda.so.1': driverSource(1) })
  })
  const withDriver = (path: string, pluginPath = any) =>
    reason({ LANGEVIN_CUDA_PATH: path, LANGEVIN_CUDA_PLUGIN: pluginPath })

  test('a driver without a GPU, by count and by error', () => {
    for (const [i, source] of [driverSource(0), driverSource(1, 13000, 100)].entries()) {
      const path = folder(`none${i}`, { 'libcuda.so.1': source })
      expect(withDriver(path)).toBe(
        `no NVIDIA GPU was found (the driver ${path}/libcuda.so.1 counts none): see what nvidia-smi lists and what CUDA_VISIBLE_DEVICES says`,
      )
    }
  })

  test('a driver that does not start', () => {
    const path = folder('mismatch', { 'libcuda.so.1': driverSource(1, 13000, 803) })
    expect(withDriver(path)).toBe(
      `NVIDIA's driver does not start (CUDA_ERROR_SYSTEM_DRIVER_MISMATCH from ${path}/libcuda.so.1): see whether nvidia-smi works`,
    )
  })

  test('a library that is no driver, in the second of two folders', () => {
    const empty = folder('empty', {})
    const path = folder('other', { 'libcuda.so.1': 'int something;' })
    expect(withDriver(`${empty}:${path}`)).toBe(
      `${path}/libcuda.so.1 is not NVIDIA's driver (cuInit is not in it): correct LANGEVIN_CUDA_PATH or the library path`,
    )
  })

  test('no driver at all, or a file that is no library: unless the system has one', () => {
    const none = withDriver(folder('nothing', {}))
    if (!none.startsWith('no NVIDIA driver')) return // this machine has a driver
    expect(none).toBe(
      "no NVIDIA driver was found (libcuda.so.1): install NVIDIA's driver; in a container, start it with access to the GPU (--gpus all)",
    )
    const text = folder('text', { 'libcuda.so.1': null })
    expect(withDriver(text)).toBe(
      `NVIDIA's driver could not be loaded (${text}/libcuda.so.1: invalid ELF header): install the driver again`,
    )
  })

  test('a plugin that is none', () => {
    expect(withDriver(one)).toBe(
      `${any} is not a CUDA plugin of langevin (langevin_cuda_plugin is not in it): correct LANGEVIN_CUDA_PLUGIN, or ${build}`,
    )
    const text = join(folder('textplugin', { 'plugin.so': null }), 'plugin.so')
    expect(withDriver(one, text)).toBe(`the CUDA plugin could not be loaded (${text}: invalid ELF header): ${build}`)
  })

  test('a plugin of another interface or version', () => {
    const source = (abi: number, version: string) =>
      `struct plugin { int abi; const char* version; void* describe; void* backend; };
static struct plugin it = { ${abi}, "${version}", 0, 0 };
struct plugin* langevin_cuda_plugin(void) { return &it; }`
    const old = join(folder('stale', { 'plugin.so': source(999, '0.0.1') }), 'plugin.so')
    expect(withDriver(one, old)).toMatch(
      /^the CUDA plugin .* is stale \(interface 999; the addon has interface \d+\): /,
    )
    const abi = /has interface (\d+)/.exec(withDriver(one, old))?.[1] as string
    const other = join(folder('version', { 'plugin.so': source(Number(abi), '0.0.1') }), 'plugin.so')
    expect(withDriver(one, other)).toMatch(
      /^the CUDA plugin .* is stale \(version 0\.0\.1; the addon has version \d+\.\d+\.\d+\): /,
    )
  })

  test.skipIf(!existsSync(plugin))('a driver that is too old, or lacks a function', () => {
    const path = folder('old', { 'libcuda.so.1': driverSource(1, 11020) })
    expect(withDriver(path, plugin)).toMatch(
      /^NVIDIA's driver is too old: .*libcuda\.so\.1 is for CUDA 11\.2, this build needs 1\d\.0 or later; install a newer driver$/,
    )
    const young = folder('young', { 'libcuda.so.1': driverSource(1, 99000) })
    expect(withDriver(young, plugin)).toMatch(
      /^NVIDIA's driver is too old: .*libcuda\.so\.1, for CUDA 99\.0, has no cu\w+; install a driver for CUDA 1\d\.\d or later$/,
    )
  })

  describe.skipIf(!existsSync(plugin) || !existsSync(simulator))('beside a working driver', () => {
    const libraries = (name: string, fakes: Record<string, string | null>) => {
      const path = folder(name, fakes)
      symlinkSync(simulator, join(path, 'libcuda.so.1'))
      const { error, cuda } = ask({ LANGEVIN_CUDA_PATH: path, LANGEVIN_CUDA_PLUGIN: plugin })
      expect(error).toBeNull()
      expect(cuda.available).toBe(true)
      return { path, found: cuda.libraries as Record<string, { version?: string; path?: string; missing?: string }> }
    }
    const remedy =
      'pip install nvidia-cudnn-cu13 (nvidia-cudnn-cu12 for CUDA 12) or apt-get install cudnn9-cuda-13, or set LANGEVIN_CUDA_PATH to the folder that has it'

    test('a cuDNN that is too old, or of the wrong version', () => {
      const old = libraries('cudnn8', { 'libcudnn.so.9': 'unsigned long cudnnGetVersion(void) { return 8907; }' })
      expect(old.found.cudnn?.missing).toBe(
        `cuDNN 9 is too old (${old.path}/libcudnn.so.9 has no cudnnGetErrorString): ${remedy}`,
      )
    })

    test('libraries that are missing: unless the system has them', () => {
      const { path, found } = libraries('none', {})
      if (found.cudnn?.missing === undefined) return // this machine has cuDNN
      expect(found.cudnn.missing).toBe(
        `cuDNN 9 was not found (looked for libcudnn.so.9 in ${path}, the system's library path, CUDA's folders and Python's site-packages): ${remedy}`,
      )
      const text = libraries('textdnn', { 'libcudnn.so.9': null })
      expect(text.found.cudnn?.missing).toBe(
        `cuDNN 9 could not be loaded (${text.path}/libcudnn.so.9: invalid ELF header): ${remedy}`,
      )
    })
  })
})
