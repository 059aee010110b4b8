/** Sampler options as plain data: every kind and every option has its place in the schema, and what has not is answered with the nearest word. */
import { describe, expect, test } from 'vitest'
import { faultsOf } from '../../lib/runtime/check-options.ts'
import { makeSampler, type SamplerOptions, samplerKinds } from '../../lib/samplers/samplers.ts'
import { samplerSchema } from '../../lib/samplers/schema.ts'

const faults = (options: unknown) => faultsOf(samplerSchema, options, 'sampler')

/** Values that are no default, so that an option cannot pass by being left out. */
const others: Record<string, readonly unknown[]> = {
  bounds: [[-2, 2], null],
  gradientClamp: [0.5, null],
  noise: [0.1],
  scale: [2, [1, 2, 3]],
  sigmas: [{ largest: 3, smallest: 0.1, levels: 7 }, [3, 2, 1]],
  trajectoryLength: [2, null],
  temperatures: [{ count: 3, max: 9 }, [1, 2, 4]],
  'parallelTempering.inner': [{ kind: 'hmc', leapfrogSteps: 3, scale: [1, 2] }, { kind: 'rwm' }],
  scaleSteps: [true, 'auto'],
  stepSize: [0.03],
  preconditioner: ['fixed', 'rmsprop'],
  integrator: ['baoab', 'obabo', 'sghmc'],
  method: ['heun', 'rk4'],
  form: ['binary', 'oneHot'],
}

describe.each(samplerKinds)('%s', (kind) => {
  const { kind: _, ...defaults } = makeSampler({ kind } as SamplerOptions).options as unknown as Record<string, unknown>

  test('takes its defaults, all at once and one by one', () => {
    expect(faults({ kind })).toEqual([])
    expect(faults({ kind, ...defaults })).toEqual([])
    for (const [name, value] of Object.entries(defaults)) expect(faults({ kind, [name]: value }), name).toEqual([])
  })

  test('takes other values, refuses those of another type', () => {
    for (const name of Object.keys(defaults)) {
      for (const value of others[`${kind}.${name}`] ?? others[name] ?? [])
        expect(faults({ kind, [name]: value }), name).toEqual([])
      expect(faults({ kind, [name]: 'neither a number nor a word it knows' }), name).not.toEqual([])
    }
  })

  test('names the nearest option for a misspelled one', () => {
    for (const name of Object.keys(defaults)) {
      const wrong = `${name}x`
      expect(faults({ kind, [wrong]: 1 }), wrong).toEqual([expect.stringContaining(`unknown key '${wrong}'`)])
      expect(faults({ kind, [wrong]: 1 })[0]).toContain(`Did you mean '${name}'?`)
    }
  })
})

test('a kind that is not known is answered with the nearest', () => {
  expect(faults({ kind: 'nutz' })).toEqual(["sampler.kind: 'nutz' is not allowed. Did you mean 'nuts'?"])
  expect(faults({})[0]).toMatch(/kind: is missing; give one of sgld, proximalSgld, pyld, ula/)
  expect(faults({ kind: 'parallelTempering', inner: { kind: 'nuts' } })[0]).toMatch(
    /inner\.kind: 'nuts' is not allowed/,
  )
})
