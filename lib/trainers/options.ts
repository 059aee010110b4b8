/** Options that all trainers share, with their defaults, and the checks on them. */
import { checkInteger } from '../graph/checks.ts'
import type { OptimizerOptions } from '../optim/optimizers.ts'
import type { ScheduleOptions } from '../optim/schedules.ts'
import type { Precision } from '../runtime/compile.ts'
import type { SamOptions } from './sharpness.ts'

/** What to do when a run diverges. */
export interface RecoveryOptions {
  /** Recoveries before the run stops with E_DIVERGED; 0 stops at once. Default 3. */
  readonly tries?: number
  /** Factor on the learning rate at each recovery; default 0.5. */
  readonly rateFactor?: number
  /** |loss| above this is divergence, as is any value that is not finite; default 1e8 (the published limit). */
  readonly lossLimit?: number
  /** |mean energy| of data or negatives above this is divergence; default 1e5. */
  readonly energyLimit?: number
  /**
   * A batch's cross entropy above this is divergence: a classifier that does worse than guessing has collapsed. Default 3·ln(classes);
   * not looked at where the labels are not trained on. Dual adversarial training, whose cross entropy is under attack, has no default.
   */
  readonly crossEntropyLimit?: number
  /** Steps between snapshots of the last good state; default 100. */
  readonly snapshotEvery?: number
}

export interface CommonOptions {
  /** Examples per stream and step; default 64. */
  readonly batch?: number
  readonly optimizer?: OptimizerOptions
  readonly schedule?: ScheduleOptions
  /** Largest global gradient norm; null (default) for no clipping. */
  readonly gradientClip?: number | null
  /** Decay of a moving average of the parameters, which then is what `model` holds after training; null (default) for none. */
  readonly ema?: number | null
  /** Sharpness-aware minimisation: a second gradient where the first one's ascent leads; null (default) for none. Doubles the cost of the gradient. */
  readonly sam?: SamOptions | null
  /** Everything random follows from it; default 0. */
  readonly seed?: number
  readonly recovery?: RecoveryOptions
  /**
   * 'bfloat16': products and convolutions of training, its chains included, multiply bfloat16; weights, optimizer, x and statistics
   * stay float32, in memory and in checkpoints. Needs a processor with AVX512-BF16. Default 'float32'.
   */
  readonly precision?: Precision
}

export interface FitOptions {
  /** Passes over the data (floor(n / batch) steps each); default the trainer's published number. */
  readonly epochs?: number
  /** Steps instead of epochs. */
  readonly steps?: number
  /**
   * Run folder: config.json, metrics.jsonl, checkpoint.safetensors are written there. A new run (without `resume`) in the folder of an older
   * one moves its checkpoint to checkpoint.previous.safetensors.
   */
  readonly out?: string
  /** Continue from `out`'s checkpoint, exactly where it stood. */
  readonly resume?: boolean
  /** Stops at the next step boundary, writes a checkpoint and ends the iteration with E_CANCELLED. */
  readonly signal?: AbortSignal
  /** Steps between reports; default 20. */
  readonly reportEvery?: number
  /** Steps between checkpoints; default: each epoch, and at least every 60 seconds. */
  readonly checkpointEvery?: number
  /** More to keep in config.json, e.g. the data's description. */
  readonly describe?: Readonly<Record<string, unknown>>
}

/** Recovery with the defaults filled in; the limit on the cross entropy depends on the classes, so the method fills it in. */
export type Recovery = Required<Omit<RecoveryOptions, 'crossEntropyLimit'>>

/** {@link RecoveryOptions.crossEntropyLimit} for so many classes. */
export function crossEntropyLimit(options: RecoveryOptions | undefined, classes: number): number {
  return options?.crossEntropyLimit ?? 3 * Math.log(Math.max(2, classes))
}

/** Settings of recovery with every default filled in. */
export function recoveryDefaults(options: RecoveryOptions = {}): Recovery {
  const { tries = 3, rateFactor = 0.5, lossLimit = 1e8, energyLimit = 1e5, snapshotEvery = 100 } = options
  checkInteger('recovery.tries', tries, 0)
  checkInteger('recovery.snapshotEvery', snapshotEvery, 1)
  if (!(rateFactor > 0 && rateFactor <= 1))
    throw new RangeError(`recovery.rateFactor must be in (0, 1]; got ${rateFactor}`)
  const { crossEntropyLimit = 1 } = options
  for (const [name, v] of Object.entries({ lossLimit, energyLimit, crossEntropyLimit })) {
    if (!(v > 0)) throw new RangeError(`recovery.${name} must be positive; got ${v}`)
  }
  return { tries, rateFactor, lossLimit, energyLimit, snapshotEvery }
}
