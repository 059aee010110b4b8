/**
 * Named variables of a network. A layer declares what it needs while it is traced; the first trace is the declaration.
 * Variables are graph inputs: their numbers live in a Model (lib/nn/model.ts) or in a trainer's state.
 */
import { internalError, LangevinError } from '../graph/errors.ts'
import { type Shape, sameShape, showShape } from '../graph/shape.ts'
import type { Tensor } from '../graph/tensor.ts'
import { input } from '../ops/index.ts'

/**
 * How a variable starts. `uniform` is U(-bound, bound), `normal` is N(0, std²), `singular` a singular vector of the largest singular value of
 * another variable's initial value, after so many power iterations.
 */
export type Initializer =
  | { readonly kind: 'constant'; readonly value: number }
  | { readonly kind: 'uniform'; readonly bound: number }
  | { readonly kind: 'normal'; readonly std: number }
  | {
      readonly kind: 'singular'
      readonly side: 'left' | 'right'
      readonly of: VariableSpec
      readonly iterations: number
    }

/** A variable as its layer declares it; names are those of PyTorch's state_dict. */
export interface VariableSpec {
  readonly name: string
  readonly shape: Shape
  readonly init: Initializer
  /** A parameter is trained; a statistic (running mean and variance) is estimated. */
  readonly role: 'parameter' | 'statistic'
  /** Of a statistic: whether a step's value is folded into a moving average (default) or replaces the stored one; see foldStatistics. */
  readonly update?: 'average' | 'replace'
}

/** The variables of one graph: each name is one graph input, shared by every pass through the network. */
export class Variables {
  readonly specs = new Map<string, VariableSpec>()
  private readonly tensors = new Map<string, Tensor>()
  private readonly make: (spec: VariableSpec) => Tensor

  /** `make` supplies the graph tensor of a variable; by default an `input` of the variable's name. */
  constructor(make: (spec: VariableSpec) => Tensor = (s) => input(s.name, s.shape, 'float32')) {
    this.make = make
  }

  get(spec: VariableSpec): Tensor {
    const have = this.specs.get(spec.name)
    if (have !== undefined && !sameShape(have.shape, spec.shape)) {
      throw new LangevinError(
        'E_GRAPH',
        `variable ${spec.name} is declared twice with different shapes: ${showShape(have.shape)} and ${showShape(spec.shape)}; give the layers different names`,
      )
    }
    let tensor = this.tensors.get(spec.name)
    if (tensor === undefined) {
      tensor = this.make(spec)
      this.tensors.set(spec.name, tensor)
      this.specs.set(spec.name, spec)
    }
    return tensor
  }

  /** The graph input of a variable that some pass has declared. */
  tensor(name: string): Tensor {
    const t = this.tensors.get(name)
    if (t === undefined) throw internalError(`variable ${name} was never declared`)
    return t
  }

  names(role?: VariableSpec['role']): string[] {
    return [...this.specs.values()].filter((s) => role === undefined || s.role === role).map((s) => s.name)
  }
}

/**
 * How a network is passed through. `norm`: batch norms use the batch's own statistics (`batch`, PyTorch's train mode) or the
 * running ones (`running`, eval mode). With `statistics`, batch-mode norms leave there the batch's mean and unbiased variance
 * under the names of the running ones.
 */
export interface Pass {
  readonly variables: Variables
  readonly norm: 'batch' | 'running'
  readonly statistics?: Map<string, Tensor>
  /** Noise level of each example, float32 [n] (or a scalar for all), for noise-conditioned networks; default the network's smallest. */
  readonly sigma?: Tensor
}

/** Where a layer stands in the network: prefixes names, and carries the pass. */
export class Scope {
  readonly path: string
  readonly pass: Pass

  constructor(path: string, pass: Pass) {
    this.path = path
    this.pass = pass
  }

  child(name: string): Scope {
    return new Scope(this.join(name), this.pass)
  }

  join(name: string): string {
    return this.path === '' ? name : `${this.path}.${name}`
  }

  /** The noise level of each example, [n]. @throws LangevinError E_CONFIG in a network that is not noise-conditioned */
  sigma(): Tensor {
    const { sigma } = this.pass
    if (sigma === undefined) {
      throw new LangevinError(
        'E_CONFIG',
        `'${this.path}' asks for a noise level, but the network is not noise-conditioned; declare it with the option sigma: { smallest: 0.01 }`,
      )
    }
    return sigma
  }

  /** Declares (first trace) or finds a trained variable. */
  parameter(name: string, shape: Shape, init: Initializer): Tensor {
    return this.pass.variables.get({ name: this.join(name), shape, init, role: 'parameter' })
  }

  /** Declares or finds an estimated variable; `init` may be the number that it is filled with. */
  statistic(name: string, shape: Shape, init: number | Initializer, update: 'average' | 'replace' = 'average'): Tensor {
    return this.pass.variables.get({
      name: this.join(name),
      shape,
      init: typeof init === 'number' ? { kind: 'constant', value: init } : init,
      role: 'statistic',
      ...(update === 'replace' && { update }),
    })
  }
}
