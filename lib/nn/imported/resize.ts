/** Rules of Resize and Upsample: every axis that changes is a linear map of its own, so any of ONNX's coordinate rules is a matrix. */
import type { Tensor } from '../../graph/tensor.ts'
import * as ops from '../../ops/index.ts'
import { type Attributes, type Call, mostKnown, type OpRule } from './call.ts'

/** How places of the result map to places of the input. */
interface Sampling {
  readonly mode: string
  readonly coordinates: string
  readonly nearest: string
  /** Of cubic interpolation (Keys 1981). */
  readonly cubic: number
}

/** Place in the input of element i of the result. */
function place(i: number, from: number, to: number, scale: number, coordinates: string): number {
  switch (coordinates) {
    case 'asymmetric':
      return i / scale
    case 'align_corners':
      return to === 1 ? 0 : (i * (from - 1)) / (to - 1)
    case 'pytorch_half_pixel':
      return to === 1 ? 0 : (i + 0.5) / scale - 0.5
    default:
      return (i + 0.5) / scale - 0.5
  }
}

function nearestOf(x: number, rule: string): number {
  if (rule === 'floor') return Math.floor(x)
  if (rule === 'ceil') return Math.ceil(x)
  return rule === 'round_prefer_ceil' ? Math.floor(x + 0.5) : Math.ceil(x - 0.5)
}

/** Weight of an element at distance t, by Keys' cubic. */
function cubicWeight(distance: number, a: number): number {
  const t = Math.abs(distance)
  if (t <= 1) return (a + 2) * t ** 3 - (a + 3) * t ** 2 + 1
  return t < 2 ? a * t ** 3 - 5 * a * t ** 2 + 8 * a * t - 4 * a : 0
}

/** Elements of the input that make element i, with their weights; those beyond the edge are the edge's. */
function taps(x: number, { mode, nearest, cubic }: Sampling): [number, number][] {
  const floor = Math.floor(x)
  if (mode === 'nearest') return [[nearestOf(x, nearest), 1]]
  if (mode === 'cubic') return [-1, 0, 1, 2].map((k) => [floor + k, cubicWeight(x - floor - k, cubic)])
  return [
    [floor, 1 - (x - floor)],
    [floor + 1, x - floor],
  ]
}

/** One axis of x at another size. */
function resizeAxis(c: Call, x: Tensor, axis: number, to: number, scale: number, sampling: Sampling): Tensor {
  const from = x.shape[axis] as number
  const edge = (i: number): number => Math.min(from - 1, Math.max(0, i))
  const sources = (i: number): [number, number][] => taps(place(i, from, to, scale, sampling.coordinates), sampling)
  if (sampling.mode === 'nearest') {
    const nearest = c.indices(to, (i) => edge(sources(i)[0]?.[0] as number))
    return ops.gather(x, nearest, axis)
  }
  if (!(from * to <= mostKnown)) throw c.fail(`from ${from} to ${to} elements of an axis is more than is taken`)
  const matrix = new Float64Array(from * to)
  for (let i = 0; i < to; i++)
    for (const [source, w] of sources(i)) {
      const at = edge(source) * to + i
      matrix[at] = (matrix[at] as number) + w
    }
  // The axis goes last, where the matrix [from, to] takes it.
  const last = x.rank - 1
  const order = x.shape.map((_, i) => (i === axis ? last : i === last ? axis : i))
  const y = ops.matmul(ops.transpose(x, order), ops.constant(Float32Array.from(matrix), [from, to]))
  return ops.transpose(y, order)
}

/** Sizes or scales by axis, from whichever the opset has. */
function targets(c: Call): { readonly sizes: number[]; readonly scales: number[] } {
  const { shape } = c.x()
  const axes = c.numbers('axes')?.map((a) => c.axis(a)) ?? shape.map((_, i) => i)
  const filled = (i: number): number[] | undefined => {
    const list = c.known(i)
    return list === undefined || list.length === 0 ? undefined : list
  }
  const scaleInput = c.node.op === 'Upsample' || c.opset < 11 ? 1 : 2
  const scales = c.numbers('scales') ?? filled(scaleInput)
  const sizes = c.opset >= 11 && c.node.op === 'Resize' ? filled(3) : undefined
  if (scales === undefined && sizes === undefined) throw c.fail('neither scales nor sizes are given')
  const by = (axis: number, list: readonly number[] | undefined): number | undefined => list?.[axes.indexOf(axis)]
  const size = (d: number, axis: number): number => {
    // The batch stays what it is, whatever a file of a fixed batch says.
    if (axis === 0) return d
    return by(axis, sizes) ?? Math.floor(d * (by(axis, scales) ?? 1))
  }
  const to = shape.map(size)
  return { sizes: to, scales: shape.map((d, i) => (i === 0 ? 1 : (by(i, scales) ?? (to[i] as number) / d))) }
}

function resize(c: Call): Tensor {
  const x = c.x()
  const legacy = c.node.op === 'Upsample' || c.opset < 11
  const sampling: Sampling = {
    mode: c.text('mode', 'nearest'),
    coordinates: legacy ? 'asymmetric' : c.text('coordinate_transformation_mode', 'half_pixel'),
    nearest: legacy ? 'floor' : c.text('nearest_mode', 'round_prefer_floor'),
    cubic: c.number('cubic_coeff_a', -0.75),
  }
  const { sizes, scales } = targets(c)
  const own = oneKernel(x, sizes, scales, sampling)
  if (own !== undefined) return own
  return sizes.reduce((y, to, axis) => {
    const same = to === y.shape[axis] && scales[axis] === 1
    return same ? y : resizeAxis(c, y, axis, to, scales[axis] as number, sampling)
  }, x)
}

/** Images at rules that our kernel has, and a scale that is the quotient of the sizes. */
function oneKernel(x: Tensor, sizes: readonly number[], scales: readonly number[], s: Sampling): Tensor | undefined {
  const exact =
    x.rank === 4 &&
    sizes[1] === x.shape[1] &&
    [2, 3].every((i) => sizes[i] === (x.shape[i] as number) * (scales[i] as number))
  const size = sizes.slice(2) as [number, number]
  if (!exact) return undefined
  if (s.mode === 'nearest' && s.coordinates === 'asymmetric' && s.nearest === 'floor')
    return ops.resize2d(x, { size, mode: 'nearest' })
  if (!['linear', 'bilinear'].includes(s.mode) || !['half_pixel', 'align_corners'].includes(s.coordinates))
    return undefined
  return ops.resize2d(x, { size, mode: 'bilinear', alignCorners: s.coordinates === 'align_corners' })
}

function unsupported(a: Attributes): string | undefined {
  const mode = a.text('mode', 'nearest')
  const coordinates = a.text('coordinate_transformation_mode', 'half_pixel')
  if (!['nearest', 'linear', 'bilinear', 'cubic'].includes(mode)) return `mode '${mode}' is not known`
  if (!['half_pixel', 'asymmetric', 'align_corners', 'pytorch_half_pixel'].includes(coordinates))
    return `coordinate_transformation_mode '${coordinates}' is not supported`
  if (a.number('antialias', 0) || a.number('exclude_outside', 0))
    return 'antialias and exclude_outside are not supported'
  return a.text('keep_aspect_ratio_policy', 'stretch') === 'stretch'
    ? undefined
    : 'keep_aspect_ratio_policy is not supported'
}

const sampling = ['mode', 'coordinate_transformation_mode', 'nearest_mode', 'cubic_coeff_a', 'exclude_outside']

export const resizes: Readonly<Record<string, OpRule>> = {
  Resize: {
    attributes: [...sampling, 'extrapolation_value', 'antialias', 'axes', 'keep_aspect_ratio_policy'],
    affine: 'first',
    refuse: unsupported,
    build: resize,
  },
  Upsample: { attributes: ['mode', 'scales'], affine: 'first', refuse: unsupported, build: resize },
}
