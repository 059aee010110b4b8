/** Tables: RFC 4180 text, strict cells, labels, the shipped table and its checksum, and tables and toys by description. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { guessDelimiter, parseDelimited } from '../../lib/data/csv.ts'
import { type DataSpec, loadDataset } from '../../lib/data/load.ts'
import { banknote } from '../../lib/data/standard.ts'
import { columnsOf } from '../../lib/data/standardize.ts'
import { type TableOptions, table } from '../../lib/data/table.ts'
import { toy } from '../../lib/data/toys.ts'
import { errorOf, scratch } from './helpers.ts'

const { folder, put } = scratch()
const fields = (text: string, delimiter = ','): string[][] =>
  parseDelimited(text, delimiter, 'text').map((row) => [...row.fields])

describe('parseDelimited', () => {
  it('reads RFC 4180', () => {
    expect(fields('a,b\r\n1,2\r\n')).toEqual([
      ['a', 'b'],
      ['1', '2'],
    ])
    expect(fields('"x, y","say ""hi""","two\nlines"\n,"",\n')).toEqual([
      ['x, y', 'say "hi"', 'two\nlines'],
      ['', '', ''],
    ])
    expect(fields('\uFEFFa\n\n""\nlast')).toEqual([['a'], [''], ['last']])
    expect(fields('a,b,')).toEqual([['a', 'b', '']])
    expect(fields('"a""",b\n')).toEqual([['a"', 'b']])
    expect(fields('a b\t"c\td"\r\n', '\t')).toEqual([['a b', 'c\td']])
    expect(fields('')).toEqual([])
  })

  it('knows the line of every row', () => {
    const rows = parseDelimited('a\n"1\n2"\n\n3\n', ',', 'text')
    expect(rows.map((row) => row.line)).toEqual([1, 2, 5])
  })

  it('names the line of a quote that does not fit', async () => {
    expect(await errorOf('E_DATA', () => fields('a\nb\n"c,d\n'))).toMatch(/line 3: the quote.*never closed/)
    expect(await errorOf('E_DATA', () => fields('a\nx"y,1\n'))).toMatch(/line 2: a quote within the unquoted field/)
    expect(await errorOf('E_DATA', () => fields('"a"b\n'))).toMatch(/line 1: "b" after a closing quote/)
  })

  it('guesses the delimiter by the header', () => {
    expect(['a,b;c,d', 'a\tb', '"a,b,c";d', 'one'].map(guessDelimiter)).toEqual([',', '\t', ';', ','])
  })
})

describe('table', () => {
  const text = 'kind;mass;size\nnut; 1.5;-2e1\nbolt;.25;+3\nnut;7.;0\n'

  it('takes numeric columns by name and the label apart', async () => {
    const data = await table({ text }, { label: 'kind' })
    expect([data.shape, data.count, data.range, data.columns]).toEqual([[2], 3, null, ['mass', 'size']])
    expect(data.features.data).toEqual(Float32Array.of(1.5, -20, 0.25, 3, 7, 0))
    expect([data.classNames, Array.from(data.labels ?? [])]).toEqual([
      ['bolt', 'nut'],
      [1, 0, 1],
    ])
    const one = await table({ text }, { columns: ['size'] })
    expect([one.features.data, one.classes]).toEqual([Float32Array.of(-20, 3, 0), 0])
    expect((await table({ text: 'c,x\n10,1\n9,1\n-1,1\n' }, { label: 'c' })).classNames).toEqual(['-1', '9', '10'])
    expect((await table({ text }, { label: 'kind', classNames: ['nut', 'bolt', 'gear'] })).classCounts()).toEqual([
      2, 1, 0,
    ])
  })

  it('reads files, packed or not', async () => {
    const plain = await table(put('t.csv', text), { label: 'kind', name: 'parts' })
    const packed = await table(put('t.csv.gz', gzipSync(text)), { label: 'kind' })
    expect(plain.name).toBe('parts')
    expect(packed.features).toEqual(plain.features)
    await errorOf('E_IO', table(`${folder}/none.csv`))
  })

  const refused = (body: string, options: TableOptions = {}): Promise<string> =>
    errorOf('E_DATA', table({ text: body }, options))

  it('names row and column of what is missing or odd', async () => {
    expect(await refused('a,b\n1,2\n3,\n')).toMatch(/row 1 \(line 3\), column 'b': the value is missing\./)
    expect(await refused('a,b\n1,2\nNA,4\n')).toMatch(/row 1 \(line 3\), column 'a': the value is missing \("NA"\)/)
    expect(await refused('a,b\n1,?\n')).toMatch(/column 'b': the value is missing/)
    expect(await refused('a,b\n1,two\n')).toMatch(/row 0 \(line 2\), column 'b': expected a number; got "two"/)
    expect(await refused('a\n0x10\n')).toMatch(/expected a number; got "0x10"/)
    expect(await refused('a\n1e39\n')).toMatch(/1e39 does not fit float32/)
    expect(await refused('a,b\n1\n')).toMatch(/row 0 \(line 2\) has 1 fields; the header has 2/)
    expect(await refused('a,c\n1,x\n2,\n', { label: 'c' })).toMatch(
      /row 1 \(line 3\), column 'c': the value is missing/,
    )
    expect(await refused('a,c\n1,x\n2,y\n', { label: 'c', classNames: ['x', 'z'] })).toMatch(
      /row 1.*class 'y' is not known/,
    )
  })

  it('names columns that do not fit', async () => {
    expect(await refused('mass,b\n1,2\n', { columns: ['mas'] })).toMatch(/no column 'mas'. Did you mean 'mass'/)
    expect(await refused('a,b\n1,2\n', { columns: ['a', 'a'] })).toMatch(/'a' is named twice/)
    expect(await refused('a,b\n1,2\n', { columns: ['a'], label: 'a' })).toMatch(/'a' is named twice/)
    expect(await refused('a,a\n1,2\n')).toMatch(/header names column 'a' twice/)
    expect(await refused('a,\n1,2\n')).toMatch(/column 1 of the header has no name/)
    expect(await refused('1,2\n3,4\n')).toMatch(/only numbers: put a header above/)
    expect(await refused('a,b\n')).toMatch(/at least one row/)
    expect(await refused('a\n1\n', { label: 'a' })).toMatch(/no numeric column is left/)
    expect(await refused('a\n1\n', { classNames: ['x'] })).toMatch(/no column as `label`/)
    await expect(table({ text: 'a\n1\n' }, { delimiter: ', ' })).rejects.toThrow(RangeError)
  })
})

describe('the banknote table', () => {
  it("is the source's file but for the header and line ends", () => {
    const file = readFileSync(new URL('../../data/banknote/banknote.csv', import.meta.url), 'utf8').replaceAll(
      '\r\n',
      '\n',
    )
    const [header, ...rows] = file.trimEnd().split('\n')
    expect(header).toBe('variance,skewness,curtosis,entropy,class')
    const digest = createHash('sha256').update(rows.join('\r\n')).digest('hex')
    expect(digest).toBe('d0539aaed2139ba7a587b3e34fb345ce503ff7d5d33dbf9912d8e195ce425cb9')
  })

  it('has 1372 rows of four numbers and two classes', async () => {
    const data = await banknote()
    expect([data.count, data.shape, data.classCounts(), data.name]).toEqual([1372, [4], [762, 610], 'banknote'])
    const { mean } = columnsOf(data)
    expect(Array.from(mean, (m) => Number(m.toFixed(4)))).toEqual([0.4337, 1.9224, 1.3976, -1.1917])
  })
})

describe('by description', () => {
  it('a table is split at random and standardised by its training part', async () => {
    const { train, test } = await loadDataset({ kind: 'table', name: 'banknote', test: 0.25 })
    expect([train.count, test?.count]).toEqual([1029, 343])
    expect(test?.classCounts().every((c) => c > 100)).toBe(true)
    const { mean, std } = columnsOf(train)
    for (const j of [0, 1, 2, 3])
      expect([mean[j], std[j]].map((v) => Math.abs(Math.round((v as number) * 1e4)))).toEqual([0, 10000])
    expect(test?.transform).toEqual(train.transform)
    const other = await loadDataset({ kind: 'table', name: 'banknote', test: 0.25, seed: 1 })
    expect(other.test?.features).not.toEqual(test?.features)
    const raw = await loadDataset({
      kind: 'table',
      name: 'banknote',
      standardize: false,
      label: null,
      columns: ['entropy'],
      limit: 2,
    })
    expect([raw.train.features.data, raw.train.classes]).toEqual([Float32Array.of(-0.44699, -1.4621), 0])
    // Its classes are no feature where they are no labels.
    const { train: plain } = await loadDataset({ kind: 'table', name: 'banknote', label: null })
    expect([plain.columns, plain.classes]).toEqual([['variance', 'skewness', 'curtosis', 'entropy'], 0])
  })

  it('a second table gets the columns, classes and transform of the first', async () => {
    put('train.csv', 'x,y,c\n1,0,b\n3,1,a\n')
    put('test.csv', 'c,y,x\nb,7,5\n')
    const spec = { kind: 'table', path: 'train.csv', label: 'c', test: { kind: 'table', path: 'test.csv' } } as const
    const { train, test } = await loadDataset(spec, { base: folder })
    expect([test?.columns, test?.classNames, Array.from(test?.labels ?? [])]).toEqual([['x', 'y'], ['a', 'b'], [1]])
    // Column x has mean 2 and deviation 1; y 1/2 and 1/2.
    expect(test?.features.data).toEqual(Float32Array.of(3, 13))
    expect(test?.transform).toEqual(train.transform)
  })

  it('a toy is drawn with its options', async () => {
    const { train, test } = await loadDataset({
      kind: 'toy',
      name: 'rings',
      count: 100,
      seed: 3,
      options: { noise: 0.02 },
      test: 20,
    })
    const whole = toy('rings', { count: 100, seed: 3, noise: 0.02 })
    expect([train.count, test?.count, train.range, train.classes]).toEqual([80, 20, null, 3])
    expect(train.features.data).toEqual(whole.features.data.slice(0, 160))
    expect((await loadDataset({ kind: 'toy', name: 'rings', count: 9, labels: false })).train.classes).toBe(0)
  })

  it('what is not a description is refused', async () => {
    const refused = (spec: object): Promise<string> => errorOf('E_CONFIG', loadDataset(spec as DataSpec))
    expect(await refused({ kind: 'table' })).toMatch(/either a path, or the name/)
    expect(await refused({ kind: 'table', path: 'a', name: 'banknote' })).toMatch(/either a path/)
    expect(await refused({ kind: 'toy', name: 'moons', count: 5 })).toMatch(/twoMoons/)
    expect(await refused({ kind: 'toy', name: 'rings', count: 5, options: { noize: 1 } })).toMatch(
      /Did you mean 'noise'/,
    )
    expect(await refused({ kind: 'toy', name: 'rings', count: 5, options: { noise: -1 } })).toMatch(/positive number/)
    expect(await refused({ kind: 'table', name: 'banknote', test: 5000 })).toMatch(/cannot be held out/)
  })
})
