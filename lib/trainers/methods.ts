/** Every training method by the name that configurations and checkpoints know it by. To add one: its file, and one line here. */
import { adversarialMethod } from './adversarial.ts'
import { contrastiveDivergenceMethod } from './contrastive-divergence.ts'
import { pseudoLikelihoodMethod, ratioMatchingMethod } from './discrete.ts'
import { dualAdversarialMethod } from './dual-adversarial.ts'
import { flowContrastiveMethod } from './flow-contrastive.ts'
import { jemMethod, jemPlusPlusMethod } from './jem-trainers.ts'
import { maximumLikelihoodMethod } from './maximum-likelihood.ts'
import type { MethodDefinition } from './method.ts'
import { noiseContrastiveMethod } from './noise-contrastive.ts'
import { rbmMethod } from './rbm.ts'
import { sadaJemMethod } from './sada-jem.ts'
import { scoreMatchingMethod } from './score-matching.ts'

// A definition takes its own options; those of a checkpoint or a configuration are checked by its schema.
const list = [
  jemMethod,
  jemPlusPlusMethod,
  sadaJemMethod,
  dualAdversarialMethod,
  scoreMatchingMethod,
  contrastiveDivergenceMethod,
  rbmMethod,
  pseudoLikelihoodMethod,
  ratioMatchingMethod,
  adversarialMethod,
  maximumLikelihoodMethod,
  noiseContrastiveMethod,
  flowContrastiveMethod,
] as readonly unknown[] as readonly MethodDefinition[]

/** Definitions by name. */
export const methods: ReadonlyMap<string, MethodDefinition> = new Map(list.map((m) => [m.name, m]))
