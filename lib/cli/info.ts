/** `langevin info`: versions, what the processor does, and what was found of CUDA and where. */
import { addonInfo } from '../runtime/addon.ts'
import { availableDevices, type CudaInfo, cudaInfo, defaultDevice } from '../runtime/devices.ts'
import { packageVersion } from '../runtime/version.ts'
import type { CommandSpec } from './command.ts'

export const infoCommand: CommandSpec = {
  name: 'info',
  positionals: [],
  summary:
    'Tells the versions, the instruction set and threads in use, which devices there are, and of CUDA what was found where and what is missing.',
  options: {},
  examples: ['langevin info', 'langevin info --json'],
  run: async (context) => {
    const [addon, cuda] = [addonInfo(), cudaInfo()]
    const value = {
      langevin: packageVersion(),
      node: process.version,
      platform: `${process.platform}-${process.arch}`,
      ...addon,
      devices: availableDevices(),
      device: defaultDevice(),
      cuda,
    }
    const { ops, loopOps, bfloat16, machineCode, ...plain } = value
    const rows: [string, string][] = [
      ['langevin', plain.langevin],
      ['node', `${plain.node}, ${plain.platform}`],
      [
        'processor',
        `${plain.isa}; ${machineCode ? 'fused loops become' : 'no'} machine code; ${bfloat16 ? '' : 'no '}bfloat16`,
      ],
      ['threads', String(plain.threads)],
      ['oneDNN', plain.oneDnn],
      ['kernels', `${ops.length} ops, ${loopOps.length} fused elementwise ops`],
      ...cudaRows(cuda),
      ['devices', `${plain.devices.join(', ')}; default ${plain.device}`],
    ]
    context.print(rows.map(([name, text]) => `${name.padEnd(10)} ${text}`).join('\n'), value)
  },
}

/** In messages, by their names in {@link CudaInfo}. */
const titles: Readonly<Record<string, string>> = { nvrtc: 'NVRTC', cublasLt: 'cuBLASLt', cudnn: 'cuDNN' }

/** A GPU and a library a line; where there is no GPU, why. */
function cudaRows({ available, reason, plugin, driver, devices = [], libraries = {} }: CudaInfo): [string, string][] {
  if (!available) return [['CUDA', `not available: ${reason}`]]
  return [
    ['CUDA', `driver for CUDA ${driver}; plugin ${plugin}`],
    ...devices.map(({ name, capability, memory }, i): [string, string] => [
      `  cuda:${i}`,
      `${name}, compute capability ${capability}, ${showBytes(memory)}`,
    ]),
    ...Object.entries(libraries).map(([name, found]): [string, string] => [
      `  ${titles[name] ?? name}`,
      'missing' in found ? found.missing : `${found.version}, ${found.path}`,
    ]),
  ]
}

/** In decimal units, as devices are sold and the addon's messages tell. */
export function showBytes(bytes: number): string {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB']
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3))
  return `${(bytes / 1000 ** power).toFixed(power === 0 ? 0 : 1)} ${units[power]}`
}
