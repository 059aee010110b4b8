/** Tiny trained runs for the tests of their export. */
import { openRun, type Run } from '../../lib/trainers/run.ts'
import { type MethodCase, make } from './method-cases.ts'
import { fitAll, folder, someDigits } from './tiny.ts'

export const jem = (method: string, more: object): MethodCase => ({
  title: method,
  method,
  options: { sampler: { kind: 'sgld', steps: 2, stepSize: 0.1, noise: 0.01 }, buffer: { size: 40 }, ...more },
  network: { kind: 'convEnergy', shape: [1, 8, 8], channels: [4], classes: 10 },
  data: () => someDigits(40),
})

export async function trained(c: MethodCase): Promise<Run> {
  const out = folder()
  const trainer = make(c)
  await fitAll(trainer, await c.data(), { steps: 8, out })
  trainer.dispose()
  return openRun(out)
}
