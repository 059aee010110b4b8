/** Lines of equal value on a grid of numbers (marching squares with linear interpolation). */

/** x1, y1, x2, y2 in units of the grid's cells. */
export type Segment = readonly [number, number, number, number]

/** Corners of a cell in order around it: offsets of the upper left, upper right, lower right, lower left one. */
const corners = [
  [0, 0],
  [1, 0],
  [1, 1],
  [0, 1],
] as const

/**
 * Segments along which the function through `values` (row by row, `columns` a row) is `level`. Where a cell is a saddle, the mean of its corners says
 * which two sides belong together. Cells with values that are not finite are left out.
 */
export function contour(values: ArrayLike<number>, columns: number, level: number): Segment[] {
  const rows = values.length / columns
  const segments: Segment[] = []
  for (let row = 0; row + 1 < rows; row++)
    for (let column = 0; column + 1 < columns; column++) {
      const cell = corners.map(([x, y]) => values[(row + y) * columns + column + x] as number)
      segments.push(...inCell(cell, level).map(([a, b, c, d]) => [a + column, b + row, c + column, d + row] as const))
    }
  return segments
}

function inCell(cell: readonly number[], level: number): Segment[] {
  if (!cell.every(Number.isFinite)) return []
  const above = cell.map((v) => v > level)
  /** Where the level crosses each side, in order around the cell. */
  const crossings = corners.flatMap(([x, y], i) => {
    const j = (i + 1) % 4
    if (above[i] === above[j]) return []
    const [a, b] = [cell[i] as number, cell[j] as number]
    const [toX, toY] = corners[j] as readonly [number, number]
    const t = (level - a) / (b - a)
    return [[x + t * (toX - x), y + t * (toY - y)] as const]
  })
  const join = (i: number, j: number): Segment => {
    const [p, q] = [crossings[i], crossings[j]]
    return [p?.[0] ?? 0, p?.[1] ?? 0, q?.[0] ?? 0, q?.[1] ?? 0]
  }
  if (crossings.length === 2) return [join(0, 1)]
  if (crossings.length !== 4) return []
  const middle = cell.reduce((s, v) => s + v, 0) / 4 > level
  // With the first corner on the middle's side, its two sides (first and last) are not joined.
  return middle === above[0] ? [join(0, 1), join(2, 3)] : [join(0, 3), join(1, 2)]
}

/** Round numbers from `low` to `high`, about `count` of them. */
export function roundLevels(low: number, high: number, count: number): number[] {
  const rough = (high - low) / count
  if (!(rough > 0)) return []
  const unit = 10 ** Math.floor(Math.log10(rough))
  const each = unit * ([1, 2, 5].find((k) => k * unit >= rough) ?? 10)
  const first = Math.ceil(low / each)
  const last = Math.floor(high / each)
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * each).toPrecision(9)))
}
