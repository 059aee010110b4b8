/** The op case table: every op, driven by test/ops, test/native and test/onnx alike. */
import type { OpCase } from './case.ts'
import { elementwiseCases } from './cases-elementwise.ts'
import { imageCases } from './cases-image.ts'
import { moveCases } from './cases-move.ts'
import { reduceCases } from './cases-reduce.ts'

export * from './case.ts'
export const cases: readonly OpCase[] = [...elementwiseCases, ...reduceCases, ...moveCases, ...imageCases]
