/** Tiny trained runs for the tests of their export. */
import type { Dataset } from '../../lib/data/dataset.ts'
import { JemPlusPlus } from '../../lib/trainers/jem-trainers.ts'
import { openRun, type Run } from '../../lib/trainers/run.ts'
import { type MethodCase, make } from './method-cases.ts'
import { convNet, fitAll, folder, smallPlusPlus, someDigits } from './tiny.ts'

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

/** A classifier of digits with chains of its own starts, the folder of its run, and a hundred digits of which it saw sixty. */
export async function trainedDigits(): Promise<{ readonly out: string; readonly run: Run; readonly digits: Dataset }> {
  const out = folder()
  const digits = await someDigits(100)
  const trainer = new JemPlusPlus(convNet(), {
    ...smallPlusPlus,
    buffer: { size: 40, start: { kind: 'classGaussians', form: 'diagonal' } },
  })
  await fitAll(trainer, digits.take(60), { steps: 12, out })
  trainer.dispose()
  return { out, run: await openRun(out), digits }
}
