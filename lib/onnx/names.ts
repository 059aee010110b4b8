/** Names for ONNX nodes that a person finds again in the model: module and op. The writer makes them unique. */
import type { Tensor } from '../graph/tensor.ts'
import type { Place } from './align.ts'

/**
 * `conv1/conv2d`: a tensor's label or the module whose parameter it reads, and the op. A parameter is also read through values made of
 * parameters alone (the scale of a batch norm). Where there is no module, the op's name stands alone.
 */
export function nodeNames(places: readonly Place[], parameters: ReadonlyMap<Tensor, string>): (place: Place) => string {
  const fixed = new Set<Place>()
  const modules = new Map<Place, string>()
  for (const place of places) {
    const t = place.tensors[0] as Tensor
    const parameter = parameters.get(t)
    const module = parameter === undefined ? moduleOfInputs(place, fixed, modules) : moduleOf(parameter)
    if (module !== undefined) modules.set(place, module)
    if (parameter !== undefined || (t.op.name !== 'input' && place.inputs.every((p) => fixed.has(p)))) fixed.add(place)
  }
  return (place) => {
    const t = place.tensors[0] as Tensor
    const scope = t.label ?? modules.get(place)
    return scope === undefined ? t.op.name : `${scope}/${t.op.name}`
  }
}

function moduleOfInputs(
  place: Place,
  fixed: ReadonlySet<Place>,
  modules: ReadonlyMap<Place, string>,
): string | undefined {
  const reader = place.inputs.find((p) => fixed.has(p) && modules.has(p))
  return reader === undefined ? undefined : modules.get(reader)
}

/** `blocks.0.conv1` of `blocks.0.conv1.weight`; a parameter without a dot belongs to no module. */
function moduleOf(parameter: string): string | undefined {
  const end = parameter.lastIndexOf('.')
  return end > 0 ? parameter.slice(0, end) : undefined
}
