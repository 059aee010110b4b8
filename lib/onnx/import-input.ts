/** What a foreign model expects to be given, as a map from our x: value ranges, and means and deviations of channels. */
import { LangevinError } from '../graph/errors.ts'
import { type Shape, showShape } from '../graph/shape.ts'
import type { InputMap } from '../nn/imported/record.ts'

/**
 * The foreign input is `(raw - mean) / std`, where raw runs over `range` while our x runs over [-1, 1].
 * `mean` and `std` are one number, or one for each channel: along the first axis of an example if it has that size, else along the last.
 */
export interface InputNormalization {
  /** Default 0. */
  readonly mean?: number | readonly number[]
  /** Default 1. */
  readonly std?: number | readonly number[]
  /** The values that our -1 and 1 stand for, before mean and std; default [0, 1]. `null`: raw is x itself. */
  readonly range?: readonly [number, number] | null
}

/** x·scale + shift of a normalisation. @throws LangevinError E_CONFIG for one that does not fit the shape of an example */
export function inputMap({ mean = 0, std = 1, range = [0, 1] }: InputNormalization, shape: Shape): InputMap {
  const [low, high] = range ?? [-1, 1]
  const channels = Math.max(...[mean, std].map((v) => (typeof v === 'number' ? 1 : v.length)))
  const list = (v: number | readonly number[]): number[] =>
    typeof v === 'number' ? new Array<number>(channels).fill(v) : [...v]
  const [means, stds] = [list(mean), list(std)]
  const bad =
    means.length !== channels || stds.length !== channels || ![...means, ...stds, low, high].every(Number.isFinite)
  if (bad || stds.some((s) => s <= 0) || low >= high) {
    throw new LangevinError(
      'E_CONFIG',
      `importOnnx: normalization needs as many finite means as positive stds, and a range [low, high]; got mean ${mean}, std ${std}, range ${range}`,
    )
  }
  const scale = stds.map((s) => (high - low) / 2 / s)
  const shift = stds.map((s, i) => ((high + low) / 2 - (means[i] as number)) / s)
  return { shape: mapShape(shape, channels), scale, shift }
}

/** Where the channels' numbers stand in an example. */
function mapShape(shape: Shape, channels: number): Shape {
  if (channels === 1) return []
  if (shape[0] === channels) return shape.map((d, i) => (i === 0 ? d : 1))
  if (shape.at(-1) === channels) return [channels]
  throw new LangevinError(
    'E_CONFIG',
    `importOnnx: normalization has ${channels} means or stds, but an example is ${showShape(shape)}; give one, or as many as its first or last axis`,
  )
}
