/** For tests of config.pbtxt: the schema in triton-model-config.proto as a table, and a small reader of protobuf's text format that holds text against it. */
import { readFileSync } from 'node:fs'

export interface Field {
  readonly type: string
  readonly repeated: boolean
  /** Of a map: the type of its values, whose keys are text. */
  readonly mapOf?: string
  readonly number: number
  readonly oneof?: string
}

/** Fields of messages and values of enums, by full name. */
export interface Schema {
  readonly messages: ReadonlyMap<string, ReadonlyMap<string, Field>>
  readonly enums: ReadonlyMap<string, ReadonlyMap<string, number>>
}

/** Reads the .proto file: messages, nested ones, enums, oneofs and maps; nothing else is in it. */
export function readSchema(path: string): Schema {
  const text = readFileSync(path, 'utf8').replace(/\/\/.*$/gm, '')
  const words = text.match(/[A-Za-z0-9_.]+|"[^"]*"|[{}=;<>,]/g) ?? []
  const messages = new Map<string, Map<string, Field>>()
  const enums = new Map<string, Map<string, number>>()
  let at = 0
  const take = (): string => words[at++] as string
  const skip = (word: string): void => {
    if (take() !== word) throw new Error(`${path}: '${word}' expected before '${words.slice(at, at + 5).join(' ')}'`)
  }
  const readEnum = (scope: string): void => {
    const values = new Map<string, number>()
    enums.set(scope + take(), values)
    skip('{')
    while (words[at] !== '}') {
      const name = take()
      skip('=')
      values.set(name, Number(take()))
      skip(';')
    }
    skip('}')
  }
  const readField = (fields: Map<string, Field>, oneof?: string): void => {
    let first = take()
    const repeated = first === 'repeated'
    if (repeated) first = take()
    let mapOf: string | undefined
    if (first === 'map') {
      skip('<')
      skip('string')
      skip(',')
      mapOf = take()
      skip('>')
    }
    const name = take()
    skip('=')
    fields.set(name, {
      type: first,
      repeated,
      number: Number(take()),
      ...(mapOf && { mapOf }),
      ...(oneof && { oneof }),
    })
    skip(';')
  }
  const readMessage = (scope: string): void => {
    const name = scope + take()
    const fields = new Map<string, Field>()
    messages.set(name, fields)
    skip('{')
    for (let word = words[at]; word !== '}'; word = words[at]) {
      if (word === 'enum' || word === 'message') {
        at++
        if (word === 'enum') readEnum(`${name}.`)
        else readMessage(`${name}.`)
      } else if (word === 'oneof') {
        at++
        const oneof = take()
        skip('{')
        while (words[at] !== '}') readField(fields, oneof)
        skip('}')
      } else readField(fields)
    }
    skip('}')
  }
  while (at < words.length) {
    const word = take()
    if (word === 'message') readMessage('')
    else if (word === 'enum') readEnum('')
    else while (take() !== ';') {}
  }
  return { messages, enums }
}

export type Parsed = { readonly [field: string]: unknown }

/** Reads text format as a message of the schema. @throws Error for an unknown field or enum value, a wrong type, a field or oneof set twice. */
export function parseText(text: string, schema: Schema, message: string): Parsed {
  const tokens = text.match(/"(?:[^"\\\n]|\\.)*"|[A-Za-z_][A-Za-z0-9_]*|-?[0-9.]+|[{}[\]:,]|#[^\n]*|\S/g) ?? []
  let at = 0
  const block = (type: string, end: string | undefined): Parsed => {
    const fields = schema.messages.get(type)
    if (fields === undefined) throw new Error(`no message '${type}'`)
    const out: Record<string, unknown> = {}
    const choices = new Set<string>()
    while (tokens[at] !== end) {
      const name = tokens[at++] as string
      const field = fields.get(name)
      if (field === undefined) throw new Error(`${type} has no field '${name}'`)
      if (field.oneof !== undefined && choices.has(field.oneof)) throw new Error(`${type}: ${field.oneof} is set twice`)
      if (field.oneof !== undefined) choices.add(field.oneof)
      if (tokens[at] === ':') at++
      const list = tokens[at] === '['
      const values = list ? listOf(type, name, field) : [readValue(type, name, field)]
      if (field.mapOf !== undefined) {
        const [entry] = values as [{ key: string; value: unknown }]
        out[name] = { ...(out[name] as object | undefined), [entry.key]: entry.value }
      } else if (field.repeated) out[name] = [...((out[name] as unknown[] | undefined) ?? []), ...values]
      else {
        if (list || name in out) throw new Error(`${type}.${name} is not repeated`)
        out[name] = values[0]
      }
    }
    at++
    return out
  }
  const listOf = (type: string, name: string, field: Field): unknown[] => {
    const values: unknown[] = []
    at++
    while (tokens[at] !== ']') {
      values.push(readValue(type, name, field))
      if (tokens[at] === ',') at++
    }
    at++
    return values
  }
  const readValue = (type: string, name: string, field: Field): unknown => {
    const token = tokens[at++] as string
    const bad = () => new Error(`${type}.${name}: '${token}' is no ${field.type}`)
    if (field.mapOf !== undefined) return mapEntry(type, field.mapOf)
    const named = [`${type}.${field.type}`, field.type].find((n) => schema.messages.has(n) || schema.enums.has(n))
    const values = named === undefined ? undefined : schema.enums.get(named)
    if (values !== undefined) {
      if (!values.has(token)) throw bad()
      return token
    }
    if (named !== undefined) {
      if (token !== '{') throw bad()
      return block(named, '}')
    }
    if (field.type === 'string') {
      if (!token.startsWith('"')) throw bad()
      return JSON.parse(token)
    }
    if (field.type === 'bool') {
      if (token !== 'true' && token !== 'false') throw bad()
      return token === 'true'
    }
    const n = Number(token)
    if (!Number.isInteger(n) || (field.type.startsWith('u') && n < 0)) throw bad()
    return n
  }
  const mapEntry = (scope: string, type: string): { key: string; value: unknown } => {
    const full = schema.messages.has(`${scope}.${type}`) ? `${scope}.${type}` : type
    const words = tokens.slice(at, at + 5).join(' ')
    const key = /^key : ("(?:[^"\\]|\\.)*") value \{$/.exec(words)?.[1]
    if (key === undefined) throw new Error(`map entry expected; got '${words}'`)
    at += 5
    const value = block(full, '}')
    if (tokens[at++] !== '}') throw new Error('map entry does not end')
    return { key: JSON.parse(key) as string, value }
  }
  return block(message, undefined)
}
