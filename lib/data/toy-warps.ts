/**
 * Toys that are changes of variables of simple distributions, so that their densities are exact: checkerboard, pinwheel, funnel, banana,
 * and a correlated Gaussian.
 */
import type { Tensor } from '../graph/tensor.ts'
import * as ops from '../ops/index.ts'
import type { ToyShape } from './toy-shape.ts'

const logTau = Math.log(2 * Math.PI)

/** Column j of x [n, d] as [n]. */
function column(x: Tensor, j: number): Tensor {
  return x.sliceAxis(1, j, j + 1).squeeze(1)
}

/** log N(x; 0, variance) of each element, `logVariance` and `variance` broadcasting. */
function logNormal(x: Tensor, variance: number): Tensor {
  return x
    .square()
    .mul(-0.5 / variance)
    .sub(0.5 * (logTau + Math.log(variance)))
}

export interface CheckerboardOptions {
  readonly cells: number
  readonly half: number
  readonly noise: number
  readonly background: number
}

/**
 * Uniform on every other cell of a square board over [-half, half]², blurred by noise, and a broad Gaussian of deviation `half` as a small
 * background share. Blur and background make the log density finite and smooth everywhere, so that it can be sampled by gradients.
 */
export function checkerboard({ cells, half, noise, background }: CheckerboardOptions): ToyShape {
  const width = (2 * half) / cells
  const edge = (i: number): number => -half + i * width
  const black = Array.from({ length: cells * cells }, (_, i) => [Math.floor(i / cells), i % cells] as const).filter(
    ([i, j]) => (i + j) % 2 === 0,
  )
  const centre = (i: number): number => edge(i) + width / 2
  const average = (f: (i: number, j: number) => number): number =>
    black.reduce((s, [i, j]) => s + f(i, j), 0) / black.length
  const within = width ** 2 / 12 + noise ** 2
  const mixed = (board: number, broad: number): number => (1 - background) * board + background * broad
  const cross = mixed(
    average((i, j) => centre(i) * centre(j)),
    0,
  )
  const variance = mixed(average((i) => centre(i) ** 2) + within, half ** 2)
  const reach = half + 5 * noise
  return {
    dimensions: 2,
    classes: 0,
    mean: [0, 0],
    covariance: [
      [variance, cross],
      [cross, variance],
    ],
    box: [
      [-reach, reach],
      [-reach, reach],
    ],
    draw: (random, row) => {
      if (random.uniform() < background) {
        row[0] = half * random.normal()
        row[1] = half * random.normal()
        return 0
      }
      const [i, j] = black[random.int(black.length)] as readonly [number, number]
      row[0] = edge(i) + width * random.uniform() + noise * random.normal()
      row[1] = edge(j) + width * random.uniform() + noise * random.normal()
      return 0
    },
    logDensity: (x) => {
      const board = boardDensity(x, cells, edge, noise).mul((1 - background) / (black.length * width * width))
      const broad = logNormal(x, half * half)
        .sum(1)
        .add(Math.log(background))
      // Where the blurred board underflows the background alone remains, with its gradient.
      const logBoard = ops.select(board.gt(1e-30), board.maximum(1e-30).log(), -1e30)
      return ops.stack([logBoard, broad], 1).logsumexp(1)
    },
  }
}

/** Indicator of the black cells convolved with the noise: (even in x)(even in y) + (odd in x)(odd in y), each a signed sum of normal CDFs. */
function boardDensity(x: Tensor, cells: number, edge: (i: number) => number, noise: number): Tensor {
  const edges = Array.from({ length: cells + 1 }, (_, i) => edge(i))
  const n = x.shape[0] as number
  const steps = x
    .reshape([n, 2, 1])
    .sub(ops.constant(edges, [1, 1, cells + 1]))
    .mul(1 / (noise * Math.SQRT2))
    .erf()
  // A cell from edge i to i + 1 is (erf_i - erf_{i+1}) / 2.
  const coefficient = (parity: number) => (_: unknown, i: number) =>
    ((i < cells && i % 2 === parity ? 1 : 0) - (i > 0 && (i - 1) % 2 === parity ? 1 : 0)) / 2
  const part = (parity: number): Tensor =>
    steps
      .mul(ops.constant(edges.map(coefficient(parity)), [1, 1, cells + 1]))
      .sum(-1)
      .maximum(0)
  const both = (t: Tensor): Tensor => column(t, 0).mul(column(t, 1))
  return both(part(0)).add(both(part(1)))
}

export interface PinwheelOptions {
  readonly arms: number
  readonly radial: number
  readonly tangential: number
  readonly twist: number
  readonly scale: number
}

/**
 * Arms of a wheel, bent: points N((1, 0), diag(radial², tangential²)) turned to their arm's angle and further by twist·r², then scaled.
 * A turn that depends on the radius alone keeps areas, so the density needs no Jacobian (Johnson et al. 2016 turn by exp of the first
 * coordinate instead, which has no exact density).
 */
export function pinwheel({ arms, radial, tangential, twist, scale }: PinwheelOptions): ToyShape {
  const angles = Array.from({ length: arms }, (_, k) => (2 * Math.PI * k) / arms)
  const square = ((1 + radial ** 2 + tangential ** 2) * scale ** 2) / 2
  const reach = scale * Math.hypot(1 + 4 * radial, 4 * tangential)
  const [c, s] = [Math.cos, Math.sin].map((f) => angles.map(f)) as [number[], number[]]
  return {
    dimensions: 2,
    classes: arms,
    mean: [0, 0],
    // Turning leaves |x| as it is, and with three arms or more the second moments are those of a disc.
    covariance: [
      [square, 0],
      [0, square],
    ],
    box: [
      [-reach, reach],
      [-reach, reach],
    ],
    draw: (random, row) => {
      const arm = random.int(arms)
      const [u, v] = [1 + radial * random.normal(), tangential * random.normal()]
      const angle = (angles[arm] as number) + twist * (u * u + v * v)
      row[0] = scale * (Math.cos(angle) * u - Math.sin(angle) * v)
      row[1] = scale * (Math.sin(angle) * u + Math.cos(angle) * v)
      return arm
    },
    logDensity: (x) => {
      const [a, b] = [column(x, 0).mul(1 / scale), column(x, 1).mul(1 / scale)]
      const turn = a.square().add(b.square()).mul(twist)
      const straight = (t: Tensor): Tensor => t.unsqueeze(1)
      const u = straight(a.mul(turn.cos()).add(b.mul(turn.sin())))
      const v = straight(b.mul(turn.cos()).sub(a.mul(turn.sin())))
      const [cosine, sine] = [ops.constant(c, [1, arms]), ops.constant(s, [1, arms])]
      const along = logNormal(u.mul(cosine).add(v.mul(sine)).sub(1), radial ** 2)
      const across = logNormal(v.mul(cosine).sub(u.mul(sine)), tangential ** 2)
      return along
        .add(across)
        .logsumexp(1)
        .sub(Math.log(arms) + 2 * Math.log(scale))
    },
  }
}

/**
 * Neal's funnel (2003, doi 10.1214/aos/1056562461): x_0 ~ N(0, scale²), the others N(0, exp(x_0)). The test of samplers whose step must
 * adapt; Neal has scale 3 and 10 dimensions.
 */
export function funnel({ dimension, scale }: { readonly dimension: number; readonly scale: number }): ToyShape {
  const others = dimension - 1
  const spread = Math.exp(scale ** 2 / 2)
  const reach = 3.5 * Math.exp(1.65 * scale)
  return {
    dimensions: dimension,
    classes: 0,
    mean: new Array<number>(dimension).fill(0),
    covariance: diagonal([scale ** 2, ...new Array<number>(others).fill(spread)]),
    box: [[-4 * scale, 4 * scale], ...Array.from({ length: others }, () => [-reach, reach] as const)],
    draw: (random, row) => {
      const v = scale * random.normal()
      row[0] = v
      for (let j = 1; j < dimension; j++) row[j] = Math.exp(v / 2) * random.normal()
      return 0
    },
    logDensity: (x) => {
      const v = column(x, 0)
      const rest = x.sliceAxis(1, 1, dimension).square().sum(1)
      const given = rest
        .mul(v.neg().exp())
        .add(v.mul(others))
        .add(others * logTau)
        .mul(-0.5)
      return logNormal(v, scale ** 2).add(given)
    },
  }
}

/** A bent Gaussian (Haario et al. 1999): x_0 ~ N(0, spread²), x_1 ~ N(curvature (x_0² - spread²), noise²). */
export function banana(options: {
  readonly curvature: number
  readonly spread: number
  readonly noise: number
}): ToyShape {
  const { curvature: b, spread, noise } = options
  const ridge = (x0: number): number => b * (x0 ** 2 - spread ** 2)
  const [centre, end] = [ridge(0), ridge(3.7 * spread)]
  return {
    dimensions: 2,
    classes: 0,
    mean: [0, 0],
    covariance: diagonal([spread ** 2, 2 * b ** 2 * spread ** 4 + noise ** 2]),
    box: [
      [-3.7 * spread, 3.7 * spread],
      [Math.min(centre, end) - 4 * noise, Math.max(centre, end) + 4 * noise],
    ],
    draw: (random, row) => {
      const x0 = spread * random.normal()
      row[0] = x0
      row[1] = ridge(x0) + noise * random.normal()
      return 0
    },
    logDensity: (x) => {
      const x0 = column(x, 0)
      const off = column(x, 1).sub(
        x0
          .square()
          .sub(spread ** 2)
          .mul(b),
      )
      return logNormal(x0, spread ** 2).add(logNormal(off, noise ** 2))
    },
  }
}

/** A Gaussian of unit variances with covariance correlation^|i - j|: each number given the one before is N(correlation · before, 1 - correlation²). */
export function correlatedGaussian(options: { readonly dimension: number; readonly correlation: number }): ToyShape {
  const { dimension, correlation: rho } = options
  const left = 1 - rho ** 2
  const axes = Array.from({ length: dimension }, (_, i) => i)
  // Each number is outside with probability p, all inside with at least 1 - d p.
  const reach = 4 + Math.log10(dimension) / 2
  return {
    dimensions: dimension,
    classes: 0,
    mean: axes.map(() => 0),
    covariance: axes.map((i) => axes.map((j) => rho ** Math.abs(i - j))),
    box: axes.map(() => [-reach, reach] as const),
    draw: (random, row) => {
      let before = random.normal()
      row[0] = before
      for (let j = 1; j < dimension; j++) {
        before = rho * before + Math.sqrt(left) * random.normal()
        row[j] = before
      }
      return 0
    },
    logDensity: (x) => {
      const first = logNormal(column(x, 0), 1)
      if (dimension === 1) return first
      const steps = x.sliceAxis(1, 1, dimension).sub(x.sliceAxis(1, 0, dimension - 1).mul(rho))
      return first.add(logNormal(steps, left).sum(1))
    },
  }
}

function diagonal(values: readonly number[]): number[][] {
  return values.map((v, i) => values.map((_, j) => (i === j ? v : 0)))
}
