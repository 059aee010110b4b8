/** The op lists of the addon, of the planner and of lib/ops agree. */
import { expect, test } from 'vitest'
import { allOps } from '../../lib/ops/define.ts'
import '../../lib/ops/index.ts'
import { kernels } from '../../lib/plan/format.ts'
import { addonInfo } from '../../lib/runtime/addon.ts'
import { packageVersion } from '../../lib/runtime/version.ts'

const info = addonInfo()

test('kernels of ops.def are those that the planner emits', () => {
  expect([...info.ops].sort()).toEqual([...kernels, 'loop', 'copy'].sort())
})

test('every structured op has a kernel of its name, and the reverse', () => {
  const structured = allOps().flatMap((op) => (op.kind === 'structured' ? [op.name] : []))
  expect([...info.ops].filter((name) => name !== 'loop' && name !== 'copy').sort()).toEqual(structured.sort())
})

test('every elementwise op is a loop operation, and the reverse', () => {
  // `cast` has one name a target type, `broadcast` is done by operand indexing.
  const own = ['const', 'const_int', 'cast_float', 'cast_int', 'cast_bool', 'cast_byte']
  const elementwise = allOps().flatMap((op) => (op.kind === 'elementwise' ? [op.name] : []))
  const wanted = elementwise.filter((name) => name !== 'cast' && name !== 'broadcast')
  expect([...info.loopOps].filter((name) => !own.includes(name)).sort()).toEqual(wanted.sort())
  expect(info.loopOps).toEqual(expect.arrayContaining(own))
})

test('the addon is of this version', () => {
  expect(info.version).toBe(packageVersion())
  expect(info.oneDnn).toMatch(/^\d+\.\d+\.\d+$/)
  expect(info.isa).toMatch(/^[A-Z0-9_]+$/)
})
