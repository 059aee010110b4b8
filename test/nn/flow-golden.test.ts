/** Couplings against PyTorch (test/golden/flows.py): z, log determinants of full Jacobians, log densities, scores and weight gradients. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { grad } from '../../lib/autodiff/index.ts'
import type { Tensor } from '../../lib/graph/tensor.ts'
import { customFlow, type Flow } from '../../lib/nn/flow.ts'
import { coupling, elementwiseMap, halves } from '../../lib/nn/flow-coupling.ts'
import type { RefArray } from '../../lib/ops/evaluate.ts'
import * as ops from '../../lib/ops/index.ts'
import { relativeError } from '../golden/pattern.ts'
import { reference, refPattern } from './flow-cases.ts'

interface Case {
  kind: 'affine' | 'spline'
  inputs: number
  hidden: number[]
  maxLogScale?: number
  bins?: number
  bound?: number
  least?: number
  range: number
  z: number[]
  logDet: number[]
  logDensity: number[]
  score: number[]
  gradients: Record<string, number[]>
}

const golden = JSON.parse(readFileSync(new URL('../golden/flows.json', import.meta.url), 'utf8')) as { cases: Case[] }

function flowOf({ kind, inputs, hidden, least, ...rest }: Case): Flow {
  const bounds = least === undefined ? {} : { minBinWidth: least, minBinHeight: least, minDerivative: least }
  return customFlow([inputs], [coupling(halves([inputs]), elementwiseMap(kind, { ...rest, ...bounds }), { hidden })])
}

describe('couplings agree with PyTorch to 1e-6', () => {
  for (const c of golden.cases) {
    test(`${c.kind}, ${c.inputs} inputs`, () => {
      const flow = flowOf(c)
      const names = Object.keys(c.gradients)
      expect(flow.variables.map((v) => v.name).sort()).toEqual(names.map((n) => `0.${n}`).sort())
      const [z, logDet, density, score, ...gradients] = reference(
        refPattern([c.z.length / c.inputs, c.inputs], 7, c.range),
        (x, variables) => {
          const pass = { variables, norm: 'running' } as const
          const mapped = flow.forward(x, pass)
          const logDensity = flow.logDensity(x, pass)
          const wrt = [x, ...names.map((n) => variables.tensor(`0.${n}`))]
          return [mapped.z, mapped.logDet, logDensity, ...grad(ops.sum(logDensity), wrt)] as Tensor[]
        },
      ) as [RefArray, RefArray, RefArray, RefArray, ...RefArray[]]
      expect(relativeError(z.data, c.z)).toBeLessThan(1e-6)
      expect(relativeError(logDet.data, c.logDet)).toBeLessThan(1e-6)
      expect(relativeError(density.data, c.logDensity)).toBeLessThan(1e-6)
      expect(relativeError(score.data, c.score)).toBeLessThan(1e-6)
      names.forEach((n, i) => {
        expect(relativeError((gradients[i] as RefArray).data, c.gradients[n] as number[]), n).toBeLessThan(1e-6)
      })
    })
  }
})
