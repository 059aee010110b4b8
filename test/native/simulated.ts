/**
 * Device 'cuda' through the simulator (native/cuda/simulator), which stands for NVIDIA's libraries: for kernel tests on machines without a GPU. Not a
 * test itself.
 */
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const release = dirname(
  process.env.LANGEVIN_ADDON ?? fileURLToPath(new URL('../../build/Release/langevin.node', import.meta.url)),
)
const simulator = join(release, 'cuda-simulator')

/** Has the simulator been built (LANGEVIN_CUDA=HOST or ON builds it)? Tests that run on it are skipped where not. */
export const simulated: boolean =
  existsSync(join(simulator, 'libcuda.so.1')) && existsSync(join(release, 'langevin_cuda.so'))

// Read when the device is first used, later in this process.
if (simulated) {
  process.env.LANGEVIN_CUDA_PATH = simulator
  process.env.LANGEVIN_CACHE ??= 'off' // the simulator's code is of no use to anyone else
}
