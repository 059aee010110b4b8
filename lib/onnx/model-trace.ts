/** Models and generators as traces for the exporter: which inputs a set of outputs has, and their graphs for a batch. */
import type { HostTensor } from '../graph/host-tensor.ts'
import type { Tensor } from '../graph/tensor.ts'
import type { GeneratorModel } from '../nn/generator-model.ts'
import type { Model } from '../nn/model.ts'
import { inputsOf, outputGraph } from '../nn/outputs.ts'
import { type Pass, type VariableSpec, Variables } from '../nn/variables.ts'
import { add, input, mul, scalar } from '../ops/index.ts'
import type { GeneratorDescription, ModelDescription } from './metadata.ts'
import type { NamedTensor, Trace } from './trace.ts'

/** Inputs that a model's file may have, in the order it declares them. */
const order = ['x', 'y', 'sigma', 'z'] as const
export type ModelInput = (typeof order)[number]

/** The inputs of a file with these outputs. */
export function modelInputs({ outputs, sigma }: ModelDescription): ModelInput[] {
  const read = new Set<ModelInput>(outputs.flatMap((o) => inputsOf(o)))
  if (sigma === 'input') read.add('sigma')
  return order.filter((i) => read.has(i))
}

/** Variables as graph inputs whose values the file is given. */
function bound(value: (name: string) => HostTensor): { variables: Variables; parameters: Trace['parameters'] } {
  const parameters = new Map<Tensor, { name: string; data: HostTensor }>()
  const variables = new Variables((v: VariableSpec) => {
    const t = input(v.name, v.shape, 'float32')
    parameters.set(t, { name: v.name, data: value(v.name) })
    return t
  })
  return { variables, parameters }
}

/** `gradientScale`: see `outputGraph`. */
export function traceModel(model: Model, description: ModelDescription, batch: number, gradientScale = 1): Trace {
  const { shape, baseShape = [] } = model.network
  const shapes = { x: [batch, ...shape], y: [batch], sigma: [batch], z: [batch, ...baseShape] }
  const inputs = modelInputs(description).map(
    (name): NamedTensor => ({ name, tensor: input(name, shapes[name], name === 'y' ? 'int32' : 'float32') }),
  )
  const given: Partial<Record<string, Tensor>> = Object.fromEntries(inputs.map((i) => [i.name, i.tensor]))
  const level = description.sigma
  const sigma = typeof level === 'number' ? scalar(level) : given.sigma
  const { variables, parameters } = bound((name) => model.value(name))
  const pass: Pass = { variables, norm: 'running', ...(sigma && { sigma }) }
  const outputs = description.outputs.map(
    (name): NamedTensor => ({ name, tensor: outputGraph(model.network, name, given, pass, gradientScale) }),
  )
  return { inputs, outputs, parameters }
}

/** sample = g(z) + σ·epsilon, or g(z) alone. */
export function traceGenerator(model: GeneratorModel, description: GeneratorDescription, batch: number): Trace {
  const { generator } = model
  const z = input('z', [batch, generator.latent], 'float32')
  const noise = description.noise ? input('epsilon', [batch, ...generator.shape], 'float32') : undefined
  const { variables, parameters } = bound((name) => model.stateDict().get(name) as HostTensor)
  const pass = { variables, norm: 'running' } as const
  const mean = generator.generate(z, pass)
  const sample = noise === undefined ? mean : add(mean, mul(noise, generator.sigma(pass)))
  return {
    inputs: [{ name: 'z', tensor: z }, ...(noise ? [{ name: 'epsilon', tensor: noise }] : [])],
    outputs: [{ name: 'sample', tensor: sample }],
    parameters,
  }
}
