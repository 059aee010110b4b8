/**
 * Numbers of the random streams, one place for all, so that no two draws of a run ever share one.
 * (A draw is a function of seed, step, stream and element: see "Random numbers" in docs/architecture.md.)
 */
export const STREAM = {
  dataOrder: 1,
  labelledOrder: 2,
  contrastOrder: 3,
  flowOrder: 4,
  /** Each takes 4: crop, flip, noise, spare. */
  augmentData: 10,
  augmentLabelled: 14,
  augmentStart: 18,
  augmentFlow: 22,
  bufferRows: 30,
  bufferReinit: 31,
  bufferClasses: 32,
  classBufferRows: 34,
  classBufferReinit: 35,
  classBufferClasses: 36,
  /** Each takes 16. */
  start: 40,
  classStart: 56,
  /** Each takes 8: noise of an objective (projections, perturbations), and of a second one. */
  objective: 80,
  objective2: 88,
  /** Takes 16: draws of a noise distribution or a flow. */
  noise: 96,
  /** Takes 8: draws of a flow for its own phase. */
  flow: 112,
  binarize: 120,
  /** Takes 2: the random start of an attack. */
  attack: 124,
  /** The inner noise of a chain step takes one stream an inner step. */
  chain: 1000,
  classChain: 2000,
  /** The last: takes 1000 for the init, and for each step. */
  unrolledChain: 3000,
} as const
