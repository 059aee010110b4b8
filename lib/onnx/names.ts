/** Names for ONNX nodes that a person finds again in the model: module and op, and what is a gradient of what. The writer makes them unique. */
import type { Tensor } from '../graph/tensor.ts'
import type { Place } from './align.ts'

/**
 * `conv1/conv2d`: a tensor's label or its module, and the op. The module is that of the parameter which the node reads, also through values made of
 * parameters alone (the scale of a batch norm); a node that reads none is named with what feeds it, the latest of its inputs (`conv1/relu`).
 * What a gradient rule made is `conv1/conv2d/grad`, whatever ops it takes. Where there is no module, the op's name stands alone.
 */
export function nodeNames(places: readonly Place[], parameters: ReadonlyMap<Tensor, string>): (place: Place) => string {
  const fixed = new Set<Place>()
  const modules = new Map<Place, string>()
  const names = new Map<Place, string>()
  const placeOf = new Map<Tensor, Place>()
  const order = new Map(places.map((p, i) => [p, i]))
  for (const place of places) {
    const t = place.tensors[0] as Tensor
    placeOf.set(t, place)
    const parameter = parameters.get(t)
    const module = parameter === undefined ? moduleOfInputs(place, fixed, modules, order) : moduleOf(parameter)
    if (module !== undefined) modules.set(place, module)
    if (parameter !== undefined || (t.op.name !== 'input' && place.inputs.every((p) => fixed.has(p)))) fixed.add(place)
    const scope = t.label ?? module
    const own = scope === undefined ? t.op.name : `${scope}/${t.op.name}`
    const computed = parameter === undefined && t.op.name !== 'constant'
    const gradient = t.label === undefined && computed ? gradientName(place, module) : undefined
    names.set(place, gradient ?? own)
  }
  return (place) => names.get(place) ?? (place.tensors[0] as Tensor).op.name

  /** The name of what this is a gradient of, and `/grad`. An op's decomposition takes part in what its inputs are. */
  function gradientName(place: Place, module: string | undefined): string | undefined {
    const { gradientOf } = place.tensors[0] as Tensor
    if (gradientOf === undefined) return undefined
    const forward = placeOf.get(gradientOf)
    if (forward !== undefined && gradientOf.op.name !== 'input') return `${names.get(forward)}/grad`
    const name = gradientOf.label ?? gradientOf.op.name
    return module === undefined ? `${name}/grad` : `${module}/${name}/grad`
  }
}

function moduleOfInputs(
  place: Place,
  fixed: ReadonlySet<Place>,
  modules: ReadonlyMap<Place, string>,
  order: ReadonlyMap<Place, number>,
): string | undefined {
  const reader = place.inputs.find((p) => fixed.has(p) && modules.has(p))
  if (reader !== undefined) return modules.get(reader)
  const at = (p: Place): number => order.get(p) ?? -1
  const fed = place.inputs.filter((p) => modules.has(p)).sort((a, b) => at(b) - at(a))
  return fed[0] === undefined ? undefined : modules.get(fed[0])
}

/** `blocks.0.conv1` of `blocks.0.conv1.weight`; a parameter without a dot belongs to no module. */
function moduleOf(parameter: string): string | undefined {
  const end = parameter.lastIndexOf('.')
  return end > 0 ? parameter.slice(0, end) : undefined
}
