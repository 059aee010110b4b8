/** Every shipped flow, generator, discrete energy and composition, with every output that it has. */
import {
  conditional,
  guided,
  mixtureOfEnergies,
  productOfExperts,
  restrict,
  shifted,
  temper,
  withLogZ,
} from '../../lib/nn/compose.ts'
import { ising, potts } from '../../lib/nn/discrete.ts'
import { FlowModel } from '../../lib/nn/flow-model.ts'
import { affineCouplingFlow, imageFlow, splineFlow } from '../../lib/nn/flows.ts'
import { convGenerator, mlpGenerator } from '../../lib/nn/generator.ts'
import { GeneratorModel } from '../../lib/nn/generator-model.ts'
import { mlp } from '../../lib/nn/models.ts'
import { rbm } from '../../lib/nn/rbm.ts'
import { describeShipped, type Models } from './shipped-helpers.ts'

const plane = () => mlp({ inputs: 2, hidden: [8] })
const classes = () => mlp({ inputs: 2, hidden: [8], classes: 3 })

const models: Models = {
  'flow-affine': () => new FlowModel(affineCouplingFlow({ inputs: 3, layers: 2, hidden: [8] })),
  'flow-spline': () => new FlowModel(splineFlow({ inputs: 2, layers: 2, hidden: [8], bins: 4 })),
  'flow-image': () => new FlowModel(imageFlow({ shape: [1, 4, 4], levels: 1, steps: 1, channels: 4 })),
  'flow-image-spline': () =>
    new FlowModel(imageFlow({ shape: [2, 4, 4], coupling: 'spline', levels: 1, steps: 1, channels: 4, logit: 0.05 })),
  'generator-mlp': () => new GeneratorModel(mlpGenerator({ latent: 2, shape: [3], hidden: [8] })),
  'generator-conv': () => new GeneratorModel(convGenerator({ latent: 3, shape: [1, 6, 5], channels: [4, 4] })),
  'rbm-bernoulli': () => rbm({ shape: [1, 3, 3], hidden: 5 }),
  'rbm-gaussian': () => rbm({ visible: 4, hidden: 5, visibleKind: 'gaussian', variance: 'learned' }),
  ising: () => ising({ shape: [4, 4], initial: { coupling: 0.3, field: 0.1 }, field: 'shared' }),
  potts: () => potts({ shape: [3, 3], states: 3, initial: { coupling: 0.4 } }),
  product: () => productOfExperts([plane(), mlp({ inputs: 2, hidden: [4], seed: 2 })], [1, 0.5]),
  mixture: () => mixtureOfEnergies([plane(), mlp({ inputs: 2, hidden: [4] })], { logZ: [1, 2] }),
  tempered: () => temper(classes(), 2),
  conditional: () => conditional(classes(), [0, 2]),
  guided: () => guided(conditional(classes(), 1), classes(), 1.5),
  shifted: () => shifted(plane(), 3),
  withLogZ: () => withLogZ(plane(), 1.5),
  restricted: () => restrict(plane(), [-2, 0.5]),
}

describeShipped('shipped models that are no plain networks, exported', models)
