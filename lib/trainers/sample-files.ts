/** Samples as files: in the data's own units, and as delimited text. Images are lib/evaluation/png.ts's part, arrays lib/data/npy.ts's. */
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import { showShape } from '../graph/shape.ts'
import { writeFileAtomically } from '../runtime/files.ts'

/** What of a data set, or of a run's description of one, tells its units. */
export interface OriginalUnits {
  /** Mean and standard deviation of standardised columns. */
  readonly transform?: { readonly mean: ArrayLike<number>; readonly std: ArrayLike<number> } | undefined
  /** Names of the columns. */
  readonly columns?: readonly string[] | undefined
}

/** Undoes what standardising did to the columns; samples of data that were not standardised stay as they are. */
export function inOriginalUnits(samples: HostTensor, { transform }: OriginalUnits): HostTensor {
  if (transform === undefined) return samples
  const { mean, std } = transform
  const d = mean.length
  const data = Float32Array.from(samples.data, (v, i) => v * (std[i % d] as number) + (mean[i % d] as number))
  return hostTensor(data, samples.shape)
}

/**
 * Rows [n, d] as comma-separated text with a header; columns without names are x0, x1, ... Values have the shortest digits that read back as
 * the same float32. @throws LangevinError E_SHAPE for samples that are not rows of numbers, E_IO
 */
export async function writeTable(path: string, rows: HostTensor, columns?: readonly string[]): Promise<void> {
  const [n = 0, d = 0] = rows.shape
  if (rows.shape.length !== 2)
    throw new LangevinError('E_SHAPE', `a .csv file takes rows of numbers; got ${showShape(rows.shape)}. Use .npy`)
  const names = columns?.length === d ? columns : Array.from({ length: d }, (_, j) => `x${j}`)
  const lines = [names.map(quoted).join(',')]
  for (let i = 0; i < n; i++) lines.push(Array.from(rows.data.subarray(i * d, (i + 1) * d), shortest).join(','))
  await writeFileAtomically(path, `${lines.join('\n')}\n`)
}

function quoted(name: string): string {
  return /[",\n]/.test(name) ? `"${name.replaceAll('"', '""')}"` : name
}

/** The fewest digits, up to nine, that are the same float32 again. */
function shortest(value: number): string {
  for (let digits = 6; digits < 9; digits++) {
    const text = Number(value.toPrecision(digits))
    if (Math.fround(text) === value) return String(text)
  }
  return String(Number(value.toPrecision(9)))
}
