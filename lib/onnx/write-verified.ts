/**
 * Leaves an ONNX file only once it has been seen to be right: written beside its place, run, then renamed or removed. What "right" means is the
 * caller's (verify-export.ts for models, verify-sampler.ts for chains).
 */
import { randomBytes } from 'node:crypto'
import { readdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'
import { LangevinError } from '../graph/errors.ts'
import { ioError } from '../runtime/files.ts'
import type { ModelProto } from './gen/onnx_pb.ts'
import { removeOldData, type SavedOnnx, type SaveOnnxOptions, saveOnnx } from './save.ts'
import type { Verification } from './verify.ts'

export interface WrittenOnnx extends SavedOnnx {
  /** Undefined where nothing was asked to check. */
  readonly verification: Verification | undefined
}

/**
 * Writes `message` to `path` if `verify` finds the file to be right, which it is given under another name in the same folder. A file that
 * disagrees is removed, and what stood at `path` before stays. Weights are written once, external data too.
 * @param verify undefined to write without a check
 * @throws LangevinError E_ONNX naming the outputs that disagree and by how much; what `verify` throws; E_IO when the system refuses
 */
export async function writeVerified(
  path: string,
  message: ModelProto,
  save: Omit<SaveOnnxOptions, 'renamedTo'> = {},
  verify?: (candidate: string) => Promise<Verification>,
): Promise<WrittenOnnx> {
  if (verify === undefined) return { ...(await saveOnnx(path, message, save)), verification: undefined }
  const target = resolve(path)
  // A name of its own: who exports to the same place meanwhile must not have this file renamed in place of theirs.
  const candidate = `${target}.${process.pid}-${randomBytes(4).toString('hex')}.unverified`
  // External data is named by its content, so a model with the same weights may already stand here and read the same file.
  const before = await readdir(dirname(target)).catch((): string[] => [])
  const saved = await saveOnnx(candidate, message, { ...save, renamedTo: target })
  try {
    const verification = await verify(candidate)
    if (!verification.ok) throw disagreement(path, verification)
    await rename(candidate, target).catch((cause: unknown) => {
      throw ioError('write', path, cause)
    })
    await removeOldData(target, saved.dataPath === undefined ? undefined : basename(saved.dataPath))
    return { ...saved, path: target, verification }
  } catch (cause) {
    await rm(candidate, { force: true })
    if (saved.dataPath !== undefined && !before.includes(basename(saved.dataPath)))
      await rm(saved.dataPath, { force: true })
    throw cause
  }
}

function disagreement(path: string, verification: Verification): LangevinError {
  const wrong = verification.outputs.filter((o) => !o.ok)
  const worst = wrong.map(
    (o) => `${o.name} (batch ${o.batch}): ${(o.typicalRel ?? o.maxRel).toExponential(2)} > ${o.tolerance}`,
  )
  return new LangevinError(
    'E_ONNX',
    `ONNX Runtime disagrees with the model, so '${path}' was not written: ${worst.join('; ') || 'nothing was compared'}. This is a bug in langevin; please report it.`,
    { path, outputs: wrong },
  )
}
