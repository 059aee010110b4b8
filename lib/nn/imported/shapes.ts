/** Rules of operators that arrange elements: reshapes, transposes, slices, joins; and of those that make shapes themselves. */
import { broadcastShapes, type Shape, sizeOf } from '../../graph/shape.ts'
import type { Tensor } from '../../graph/tensor.ts'
import * as ops from '../../ops/index.ts'
import { type Call, constantTensor, mostKnown, type OpRule } from './call.ts'

/**
 * A literal shape that was written for another batch: the axis of the result before which as many elements stand as before the input's batch
 * axis takes our batch.
 */
function rebatched(c: Call): Shape | undefined {
  const literal = c.site.literal()
  if (literal === undefined) return undefined
  const x = c.x()
  const axis = literal.input.findIndex((d, i) => d !== x.shape[i])
  if (axis < 0) return undefined
  const before = sizeOf(literal.input.slice(0, axis))
  const factor = (x.shape[axis] as number) / (literal.input[axis] as number)
  const to = literal.output.findIndex((_, i) => sizeOf(literal.output.slice(0, i)) === before)
  const shape = literal.output.map((d, i) => (i === to ? d * factor : d))
  return to >= 0 && sizeOf(shape) === x.size ? shape : undefined
}

function reshape(c: Call): Tensor {
  const x = c.x()
  const target = c.needed(1)
  const zero = c.number('allowzero', 0) !== 0
  const shape = target.map((d, i) => (d === 0 && !zero ? (x.shape[i] ?? 0) : d))
  // The literal batch of a file shows by the size, or where another axis would be inferred in its stead.
  return ops.reshape(x, rebatched(c) ?? shape)
}

function flatten(c: Call): Tensor {
  const x = c.x()
  const given = c.number('axis', 1)
  const axis = given < 0 ? given + x.rank : given
  return ops.reshape(x, [sizeOf(x.shape.slice(0, axis)), sizeOf(x.shape.slice(axis))])
}

function squeeze(c: Call): Tensor {
  const axes = c.listed('axes', 1)
  return ops.squeeze(
    c.x(),
    axes?.map((a) => c.axis(a)),
  )
}

function unsqueeze(c: Call): Tensor {
  const x = c.x()
  const given = c.listed('axes', 1) ?? []
  const rank = x.rank + given.length
  const axes = given.map((a) => c.axis(a, rank))
  const rest = [...x.shape]
  return ops.reshape(
    x,
    Array.from({ length: rank }, (_, i) => (axes.includes(i) ? 1 : (rest.shift() as number))),
  )
}

function concat(c: Call): Tensor {
  const parts = c.all()
  const axis = c.axis(c.number('axis', 0))
  // In a file of a fixed batch a part that does not depend on x has that batch (a class token): it stands for every example.
  const batch = Math.max(...parts.map((p) => p.shape[0] ?? 0))
  const stretch = c.site.rebatched && axis > 0
  return ops.concat(
    parts.map((p) => (stretch && p.shape[0] === 1 && batch > 1 ? ops.broadcast(p, [batch, ...p.shape.slice(1)]) : p)),
    axis,
  )
}

function split(c: Call): Tensor[] {
  const x = c.x()
  const axis = c.axis(c.number('axis', 0))
  const parts = Math.min(c.number('num_outputs', c.node.out.length), x.shape[axis] as number)
  const each = Math.ceil((x.shape[axis] as number) / parts)
  const sizes =
    c.listed('split', 1) ??
    Array.from({ length: parts }, (_, i) => Math.min(each, (x.shape[axis] as number) - i * each))
  let at = 0
  return sizes.map((n) => {
    at += n
    return ops.sliceAxis(x, axis, at - n, at)
  })
}

/** `low`, `high`: how many elements an index range leaves out on either side; negative steps read backwards. */
function slice(c: Call): Tensor {
  const starts = c.listed('starts', 1) ?? []
  const ends = c.listed('ends', 2) ?? []
  const axes = c.listed('axes', 3) ?? starts.map((_, i) => i)
  const steps = c.known(4) ?? starts.map(() => 1)
  return axes.reduce((x, given, i) => {
    const axis = c.axis(given)
    const step = steps[i] as number
    const d = x.shape[axis] as number
    const limited = (v: number, low: number, high: number) => Math.min(high, Math.max(low, v < 0 ? v + d : v))
    if (step > 0) {
      const start = limited(starts[i] as number, 0, d)
      return strided(x, axis, start, Math.max(start, limited(ends[i] as number, 0, d)), step)
    }
    const [from, to] = [limited(starts[i] as number, 0, d - 1), limited(ends[i] as number, -1, d - 1)]
    const count = Math.max(0, Math.ceil((from - to) / -step))
    return ops.gather(
      x,
      c.indices(count, (k) => from + k * step),
      axis,
    )
  }, c.x())
}

function strided(x: Tensor, axis: number, start: number, stop: number, step: number): Tensor {
  const at = (v: number, otherwise: (d: number) => number): number[] =>
    x.shape.map((d, i) => (i === axis ? v : otherwise(d)))
  return ops.slice(
    x,
    at(start, () => 0),
    at(stop, (d) => d),
    at(step, () => 1),
  )
}

/** A single known index is a slice; others are gathered. Negative indices count from the end. */
function gather(c: Call): Tensor {
  const x = c.x()
  const axis = c.axis(c.number('axis', 0))
  const d = x.shape[axis] as number
  const indices = c.needed(1).map((i) => (i < 0 ? i + d : i))
  const wrong = indices.find((i) => i < 0 || i >= d)
  if (wrong !== undefined) throw c.fail(`index ${wrong} is not one of ${d}`)
  const shape = c.x(1).shape
  if (shape.length === 0)
    return ops.squeeze(ops.sliceAxis(x, axis, indices[0] as number, (indices[0] as number) + 1), [axis])
  return ops.gather(x, ops.constant(Int32Array.from(indices), shape), axis)
}

/** Pads of both sides by axis; negative ones cut. Other modes than `constant` read the image again, by index. */
function pad(c: Call): Tensor {
  const given = c.listed('pads', 1) ?? []
  const axes = c.known(3)?.map((a) => c.axis(a)) ?? c.x().shape.map((_, i) => i)
  const mode = c.text('mode', 'constant')
  const value = c.has('value') ? c.number('value', 0) : (c.known(2)?.[0] ?? 0)
  return axes.reduce((x, axis, i) => {
    const [low, high] = [given[i] as number, given[axes.length + i] as number]
    const d = x.shape[axis] as number
    const cut = ops.sliceAxis(x, axis, Math.max(0, -low), d - Math.max(0, -high))
    const at = (n: number): number[] => x.shape.map((_, k) => (k === axis ? Math.max(0, n) : 0))
    if (mode === 'constant') return ops.pad(cut, { low: at(low), high: at(high), value })
    if (low === 0 && high === 0) return x
    return ops.gather(
      x,
      c.indices(d + low + high, (k) => mirrored(k - low, d, mode)),
      axis,
    )
  }, c.x())
}

/** Which element of an axis of size n stands at place i outside it. */
function mirrored(i: number, n: number, mode: string): number {
  if (mode === 'edge') return Math.min(n - 1, Math.max(0, i))
  if (mode === 'wrap') return ((i % n) + n) % n
  const period = Math.max(1, 2 * (n - 1))
  const k = ((i % period) + period) % period
  return k < n ? k : period - k
}

/** n times along an axis: n takes a place before it, and joins it. */
function tile(c: Call): Tensor {
  return c.needed(1).reduce((x, n, axis) => {
    if (n === 1) return x
    const [before, behind] = [x.shape.slice(0, axis), x.shape.slice(axis)]
    const repeated = ops.broadcast(ops.unsqueeze(x, axis), [...before, n, ...behind])
    return ops.reshape(
      repeated,
      x.shape.map((d, i) => (i === axis ? n * d : d)),
    )
  }, c.x())
}

/** Channels to blocks of pixels. DCR: the block counts before the channel; CRD: behind it. */
function depthToSpace(c: Call): Tensor {
  const x = c.x()
  const b = c.number('blocksize', 1)
  const [n, d, h, w] = x.shape as [number, number, number, number]
  const rest = d / (b * b)
  const shape = [n, rest * 1, h * b, w * b]
  if (c.text('mode', 'DCR') === 'CRD')
    return ops.reshape(ops.transpose(ops.reshape(x, [n, rest, b, b, h, w]), [0, 1, 4, 2, 5, 3]), shape)
  return ops.reshape(ops.transpose(ops.reshape(x, [n, b, b, rest, h, w]), [0, 3, 4, 1, 5, 2]), shape)
}

function spaceToDepth(c: Call): Tensor {
  const x = c.x()
  const b = c.number('blocksize', 1)
  const [n, d, h, w] = x.shape as [number, number, number, number]
  const blocks = ops.transpose(ops.reshape(x, [n, d, h / b, b, w / b, b]), [0, 3, 5, 1, 2, 4])
  return ops.reshape(blocks, [n, d * b * b, h / b, w / b])
}

function shapeOf(c: Call): Tensor {
  const shape = c.site.shapeOf(0)
  const part = shape.slice(c.number('start', 0), c.has('end') ? c.number('end', shape.length) : undefined)
  return ops.constant(Int32Array.from(part), [part.length])
}

function constantOfShape(c: Call): Tensor {
  const value = c.constant('value')
  const fill = value === undefined ? ops.scalar(0) : ops.reshape(constantTensor(value), [])
  return ops.broadcast(fill, c.needed(0))
}

function range(c: Call): Tensor {
  const [start, limit, delta] = [c.needed(0)[0] as number, c.needed(1)[0] as number, c.needed(2)[0] as number]
  const count = Math.max(0, Math.ceil((limit - start) / delta))
  if (!(count <= mostKnown))
    throw c.fail(`from ${start} to ${limit} by ${delta} are ${count} numbers; at most ${mostKnown} are taken`)
  const data = Array.from({ length: count }, (_, i) => start + i * delta)
  return ops.constant(data, [count], c.x().dtype)
}

/** The triangle above (or below) a diagonal; 0 elsewhere. */
function triangle(c: Call): Tensor {
  const x = c.x()
  const diagonal = c.known(1)?.[0] ?? 0
  const offset = ops.sub(ops.iota(x.shape, x.rank - 1), ops.iota(x.shape, x.rank - 2))
  const inside = c.number('upper', 1) ? ops.ge(offset, diagonal) : ops.le(offset, diagonal)
  return x.dtype === 'bool' ? ops.logicalAnd(inside, x) : ops.select(inside, x, 0)
}

function knownPadMode(mode: string): string | undefined {
  return ['constant', 'reflect', 'edge', 'wrap'].includes(mode) ? undefined : `mode '${mode}' is not known`
}

export const shapes: Readonly<Record<string, OpRule>> = {
  Reshape: { attributes: ['allowzero'], affine: 'first', build: reshape },
  Flatten: { attributes: ['axis'], affine: 'all', build: flatten },
  Transpose: { attributes: ['perm'], affine: 'all', build: (c) => ops.transpose(c.x(), c.numbers('perm')) },
  Squeeze: { attributes: ['axes'], affine: 'first', build: squeeze },
  Unsqueeze: { attributes: ['axes'], affine: 'first', build: unsqueeze },
  Concat: { attributes: ['axis'], affine: 'all', build: concat },
  Split: { attributes: ['axis', 'split', 'num_outputs'], outputs: Infinity, affine: 'first', build: split },
  Slice: { attributes: ['starts', 'ends', 'axes'], affine: 'first', build: slice },
  Gather: { attributes: ['axis'], affine: 'first', build: gather },
  Pad: {
    attributes: ['pads', 'value', 'mode'],
    affine: 'first',
    refuse: (a) => knownPadMode(a.text('mode', 'constant')),
    build: pad,
  },
  Expand: {
    attributes: [],
    affine: 'first',
    build: (c) => ops.broadcast(c.x(), broadcastShapes('Expand', c.x().shape, c.needed(1))),
  },
  Tile: { attributes: [], affine: 'first', build: tile },
  DepthToSpace: { attributes: ['blocksize', 'mode'], affine: 'all', build: depthToSpace },
  SpaceToDepth: { attributes: ['blocksize'], affine: 'all', build: spaceToDepth },
  Trilu: { attributes: ['upper'], affine: 'first', build: triangle },
  Shape: { attributes: ['start', 'end'], shapeOnly: true, build: shapeOf },
  Size: { attributes: [], shapeOnly: true, build: (c) => ops.scalar(sizeOf(c.site.shapeOf(0)), 'int32') },
  ConstantOfShape: { attributes: ['value'], build: constantOfShape },
  Range: { attributes: [], build: range },
}
