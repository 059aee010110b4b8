/** The cases of the other loop tests once more without machine code, as on processors that have none: each instruction a pass of its own. */
process.env.LANGEVIN_JIT = '0'
const { addonInfo } = await import('../../lib/runtime/addon.ts')
if (addonInfo().machineCode) throw new Error('LANGEVIN_JIT=0 did not turn machine code off')
await import('./loop.test.ts')
