/** A plan as text, one line an instruction and one a loop entry: what snapshot tests compare and what a person reads. */
import { showShape } from '../graph/shape.ts'
import { isLoop, type LoopAttr, type PlanInstruction, type PlanJson, type PlanValue } from './format.ts'

/** The text of a plan, given as the object or its JSON. Ids are those of the plan. */
export function printPlan(plan: PlanJson | string): string {
  const p = typeof plan === 'string' ? (JSON.parse(plan) as PlanJson) : plan
  const lines = [`inputs ${p.inputs.map((id) => typed(p, id)).join(', ')}`]
  if (p.constants.length > 0) lines.push(`constants ${p.constants.map((c) => typed(p, c.value)).join(', ')}`)
  for (const i of p.code) lines.push(...(isLoop(i) ? loopLines(p, i, i.attr) : [kernelLine(p, i)]))
  const outputs = p.outputs.map((o) => `%${o.value}${o.alias === null ? '' : ` -> input ${o.alias}`}`)
  lines.push(`return ${outputs.join(', ')}`)
  return lines.join('\n')
}

function typed(p: PlanJson, id: number): string {
  const v = p.values[id] as PlanValue
  return `%${id} ${v.dtype}${showShape(v.shape)}`
}

function names(ids: readonly number[]): string {
  return ids.map((id) => `%${id}`).join(', ')
}

function kernelLine(p: PlanJson, i: PlanInstruction): string {
  const attrs = Object.entries(i.attr).map(([k, v]) => `${k}:${JSON.stringify(v)}`)
  const tail = attrs.length > 0 ? ` {${attrs.join(', ')}}` : ''
  return `${i.out.map((id) => typed(p, id)).join(', ')} = ${i.op}(${names(i.in)})${tail}`
}

function loopLines(p: PlanJson, i: PlanInstruction, attr: LoopAttr): string[] {
  const axes = attr.axes.length > 0 ? ` reduce ${showShape(attr.axes)}` : ''
  const lines = [`loop ${showShape(attr.shape)}${axes} (${names(i.in)})`]
  attr.program.forEach((entry, at) => {
    const [op, ...args] = entry
    const source = op === 'const' || op === 'const_int' || op === 'iota'
    lines.push(`  r${i.in.length + at} = ${op} ${args.map((a) => (source ? `${a}` : `r${a}`)).join(' ')}`)
  })
  attr.outputs.forEach((o, at) => {
    const value = o.reduce ? `${o.reduce} r${o.register}` : `r${o.register}`
    lines.push(`  ${typed(p, i.out[at] as number)} = ${value}`)
  })
  return lines
}
