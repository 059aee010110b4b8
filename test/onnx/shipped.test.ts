/** Every shipped network, norm and activation, with every output that it has; flows, generators and compositions stand in shipped-models.test.ts. */
import { activationNames } from '../../lib/nn/layer.ts'
import { activation, avgPool, conv, flatten, linear, maxPool, norm } from '../../lib/nn/layers.ts'
import { convEnergy, defineEnergy, mlp, sequential, wideResNet } from '../../lib/nn/models.ts'
import { normNames } from '../../lib/nn/norms.ts'
import { describeShipped, type Models } from './shipped-helpers.ts'

const image = [2, 8, 6] as const
const small = { inputs: 3, hidden: [8, 8] }
const sigma = { smallest: 0.05 }

const models: Models = {
  ...Object.fromEntries(activationNames.map((a) => [`mlp-${a}`, () => mlp({ ...small, activation: a, classes: 4 })])),
  ...Object.fromEntries(
    normNames.map((n) => [
      `convEnergy-${n}`,
      () => convEnergy({ shape: image, channels: [4, 8], norm: n, classes: n === 'none' ? 0 : 3 }),
    ]),
  ),
  ...Object.fromEntries(
    (['none', 'batch'] as const).map((n) => [
      `wideResNet-${n}`,
      () => wideResNet({ depth: 10, width: 1, channels: 1, size: [8, 6], classes: 3, norm: n }),
    ]),
  ),
  'mlp-reference': () => mlp({ ...small, reference: 2 }),
  'mlp-image': () => mlp({ shape: [1, 3, 4], hidden: [8] }),
  'mlp-sigma': () => mlp({ ...small, sigma, classes: 3 }),
  'convEnergy-sigma': () => convEnergy({ shape: image, channels: [4], norm: 'group', sigma }),
  'wideResNet-sigma': () => wideResNet({ depth: 10, width: 1, channels: 1, size: 8, classes: 0, norm: 'none', sigma }),
  'mlp-spectral': () => mlp({ ...small, spectralNorm: true }),
  'convEnergy-spectral': () => convEnergy({ shape: image, channels: [4], spectralNorm: true, classes: 3 }),
  'wideResNet-spectral': () =>
    wideResNet({ depth: 10, width: 1, channels: 1, size: 8, norm: 'none', spectralNorm: true }),
  sequential: () =>
    sequential(image, [
      conv(4, 3, { padding: 1, groups: 2 }),
      norm('group'),
      activation('gelu'),
      maxPool(2),
      conv(6, 3, { padding: 2, dilation: 2, bias: false }),
      activation('elu'),
      avgPool(2),
      flatten(),
      linear(3),
    ]),
  function: () => defineEnergy({ shape: [2] }, (x) => x.square().sum(-1).sqrt().sub(2).square().mul(8)),
}

describeShipped('shipped networks, exported', models)
