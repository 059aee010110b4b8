/** What a run on points of the plane shows of its density: the grid, the data and the samples, in the data's own units. Drawing is lib/evaluation's. */
import type { Dataset } from '../data/dataset.ts'
import { extremesOf } from '../evaluation/likelihood-figures.ts'
import { logDensityGrid, type PlaneBox, type PlaneInput } from '../evaluation/plane.ts'
import { LangevinError } from '../graph/errors.ts'
import { type HostTensor, hostTensor } from '../graph/host-tensor.ts'
import type { Model } from '../nn/model.ts'

/** Share of the data's width that is shown on either side of it. */
const MARGIN = 0.15

/**
 * The learned density beside data and samples [n, 2] (in the units that the model sees, as `sample` gives them), for `densityPicture`, `densitySvg` and the report.
 * @throws LangevinError E_SHAPE for data that are not points of the plane
 */
export async function planeOfRun(model: Model, data: Dataset, samples?: HostTensor): Promise<PlaneInput> {
  if (data.shape.length !== 1 || data.dimensions !== 2)
    throw new LangevinError('E_SHAPE', `planeOfRun: expected points [n,2]; ${data} has examples of [${data.shape}]`)
  const points = data.original(data.normalized())
  const box = boxOf(points)
  const origin = data.original(hostTensor(new Float32Array(2), [1, 2])).data
  const unit = data.original(hostTensor(Float32Array.of(1, 1), [1, 2])).data
  const toModel = (x: HostTensor): HostTensor =>
    hostTensor(
      Float32Array.from(
        x.data,
        (v, i) => (v - (origin[i % 2] as number)) / ((unit[i % 2] as number) - (origin[i % 2] as number)),
      ),
      x.shape,
    )
  const logDensity = await logDensityGrid((x) => model.energy(toModel(x), { batch: 8192 }), box)
  return { logDensity, box, data: points, ...(samples ? { samples: data.original(samples) } : {}) }
}

function boxOf(points: HostTensor): PlaneBox {
  const { low, high } = extremesOf(points)
  const side = (j: number): [number, number] => {
    const [l, h] = [low[j] as number, high[j] as number]
    const margin = MARGIN * (h - l || 1)
    return [l - margin, h + margin]
  }
  return { x: side(0), y: side(1) }
}
