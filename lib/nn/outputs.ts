/**
 * What a model computes of a batch, under the names that ONNX files use: which outputs a network has, what they read, and their graphs.
 * Numbers are model.ts's part, files lib/onnx's.
 */
import { grad } from '../autodiff/index.ts'
import { internalError, LangevinError, suggestion } from '../graph/errors.ts'
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import type { Network } from './network.ts'
import type { Pass } from './variables.ts'

/**
 * Outputs for a batch of n: `logits` [n, classes]; `log_prob_unnormalized` [n] = -energy; `energy` [n]; `score` [n, ...shape] = ∇x log p(x);
 * `class_score` [n, ...shape] = ∇x log p(x|y) = ∇x f(x)[y]; `features` [n, d], what the last linear layer reads; of normalised models
 * `log_prob` [n] in nats; of flows `sample` [n, ...shape], the draws that base noise becomes.
 */
export const modelOutputs = [
  'logits',
  'log_prob_unnormalized',
  'energy',
  'score',
  'class_score',
  'features',
  'log_prob',
  'sample',
] as const
export type ModelOutput = (typeof modelOutputs)[number]

/** Graph inputs of outputs: x [n, ...shape], y int32 [n] (classes), z [n, ...baseShape] (base noise). */
export type OutputInput = 'x' | 'y' | 'z'

/** What an output reads. */
export function inputsOf(output: ModelOutput): readonly OutputInput[] {
  if (output === 'sample') return ['z']
  return output === 'class_score' ? ['x', 'y'] : ['x']
}

/** The outputs that a network has, in the order of `modelOutputs`. */
export function outputsOf(network: Network): ModelOutput[] {
  const has: Readonly<Record<ModelOutput, boolean>> = {
    logits: network.classes > 0,
    log_prob_unnormalized: true,
    energy: true,
    score: true,
    class_score: network.classes > 0,
    features: network.hasFeatures,
    log_prob: network.normalised,
    sample: network.draw !== undefined,
  }
  return modelOutputs.filter((o) => has[o])
}

/** @throws LangevinError E_CONFIG for an output that the network has not, saying why; RangeError for a name that is none */
export function needOutput(network: Network, output: ModelOutput, what: string = output): void {
  if (!modelOutputs.includes(output))
    throw new RangeError(`${what}: output '${String(output)}' is not known.${suggestion(String(output), modelOutputs)}`)
  if (outputsOf(network).includes(output)) return
  if (output === 'logits' || output === 'class_score') network.needClasses(`${what}: ${output}`)
  const kind = `network '${network.config.kind}'`
  const reasons: Partial<Record<ModelOutput, string>> = {
    features: `needs a network that ends in a linear layer, whose input they are; ${kind} ends in '${network.stages.at(-1)?.layer.kind}'`,
    log_prob: `needs a normalised model; ${kind} does not know its log Z. Give it with withLogZ, or take log_prob_unnormalized`,
    sample: `needs exact draws, which flows have; draw from ${kind} with a sampler (sample, exportSampler)`,
  }
  throw new LangevinError('E_CONFIG', `${what}: ${output} ${reasons[output]}`, { output })
}

/**
 * The graph of an output; `given` holds what `inputsOf` names. Gradients are computed times `gradientScale` and divided by it at the end, which
 * changes nothing but the size of the numbers on the way: where those are kept in half precision, small ones would vanish.
 */
export function outputGraph(
  network: Network,
  output: ModelOutput,
  given: Readonly<Partial<Record<OutputInput, Tensor>>>,
  pass: Pass,
  gradientScale = 1,
): Tensor {
  needOutput(network, output)
  const need = (name: OutputInput): Tensor => {
    const t = given[name]
    if (t === undefined) throw internalError(`no ${name} for ${output}`)
    return t
  }
  switch (output) {
    case 'logits':
      return network.logits(need('x'), pass)
    case 'features':
      return network.features(need('x'), pass)
    case 'energy':
      return network.energy(need('x'), pass)
    case 'log_prob':
    case 'log_prob_unnormalized':
      return ops.neg(network.energy(need('x'), pass))
    case 'score':
      return scoreOf(ops.neg(network.energy(need('x'), pass)), need('x'), gradientScale)
    case 'class_score':
      return scoreOf(classLogits(network, need('x'), need('y'), pass), need('x'), gradientScale)
    case 'sample':
      return network.draw?.(need('z'), pass) as Tensor
  }
}

/** f(x)[y] beside zeros: what it sums to is log p(x|y) up to a constant. */
function classLogits(network: Network, x: Tensor, y: Tensor, pass: Pass): Tensor {
  return ops.mul(network.logits(x, pass), ops.oneHot(y, network.classes))
}

/** ∇x of the sum of log densities: examples do not mix, so each row is its own. */
function scoreOf(logDensity: Tensor, x: Tensor, scale: number): Tensor {
  const total = ops.sum(logDensity)
  if (scale === 1) return grad(total, [x])[0] as Tensor
  return ops.div(grad(ops.mul(total, scale), [x])[0] as Tensor, scale)
}
