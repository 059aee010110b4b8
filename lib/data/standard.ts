/** The standard sets by name: the digits and the table that ship with the package, and MNIST and CIFAR as their authors distribute them. */
import { access } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { LangevinError } from '../graph/errors.ts'
import { hostTensor } from '../graph/host-tensor.ts'
import { readWholeFile } from '../runtime/files.ts'
import { dataError, readContent } from './content.ts'
import { concatDatasets, type DataSplit, Dataset } from './dataset.ts'
import { idxDataset } from './idx.ts'
import { type TableOptions, table } from './table.ts'

/**
 * The handwritten digits that ship with the package: 1797 images [1, 8, 8], values 0 to 16, 10 classes (see data/digits/README.md).
 * Splits hold out the last rows, as in `(await digits()).split({ test: 360 })`.
 */
export async function digits(): Promise<Dataset> {
  const folder = await shippedFolder('digits')
  return idxDataset({
    name: 'digits',
    images: join(folder, 'digits-images-idx3-ubyte.gz'),
    labels: join(folder, 'digits-labels-idx1-ubyte.gz'),
    range: [0, 16],
    classes: 10,
  })
}

/**
 * The table that ships with the package: 1372 banknote-like specimens, four descriptors of their images (variance, skewness, curtosis,
 * entropy; unstandardised) and a class '0' or '1' (see data/banknote/README.md). Rows are in order of class: split with `shuffle`.
 */
export async function banknote(options: Omit<TableOptions, 'name' | 'delimiter'> = {}): Promise<Dataset> {
  const path = join(await shippedFolder('banknote'), 'banknote.csv')
  return table(path, { label: 'class', ...options, name: 'banknote' })
}

/** The package's data folder: the nearest `data/NAME` above this file, from lib/ as from dist/. */
async function shippedFolder(name: string): Promise<string> {
  const here = dirname(fileURLToPath(import.meta.url))
  for (let folder = here; ; folder = dirname(folder)) {
    const candidate = join(folder, 'data', name)
    if (await exists(join(candidate, 'README.md'))) return candidate
    if (dirname(folder) === folder) break
  }
  throw new LangevinError(
    'E_DATA',
    `the data set '${name}' that ships with langevin is missing above '${here}': install the package again`,
  )
}

/**
 * MNIST (or Fashion-MNIST) from a folder with the four IDX files by their standard names, gzipped or not; images [1, 28, 28].
 * Without the t10k files `test` is undefined.
 */
export async function mnist(folder: string): Promise<DataSplit> {
  const part = async (prefix: string, name: string): Promise<Dataset | undefined> => {
    const images = await firstOf(folder, [`${prefix}-images-idx3-ubyte`, `${prefix}-images.idx3-ubyte`])
    const labels = await firstOf(folder, [`${prefix}-labels-idx1-ubyte`, `${prefix}-labels.idx1-ubyte`])
    if (images === undefined && labels === undefined) return undefined
    if (images === undefined || labels === undefined) {
      throw dataError(folder, `the ${images === undefined ? 'images' : 'labels'} of the ${prefix} part are missing`)
    }
    return idxDataset({ name, images, labels, range: [0, 255], classes: 10 })
  }
  const train = await part('train', 'mnist')
  if (train === undefined) throw dataError(folder, 'no MNIST here: expected train-images-idx3-ubyte(.gz) and the like')
  return { train, test: await part('t10k', 'mnist test') }
}

export interface CifarOptions {
  /** CIFAR-100 has rows of two labels and 100 fine or 20 coarse classes. Default 'cifar10'. */
  readonly variant?: 'cifar10' | 'cifar100' | undefined
  /** For CIFAR-100. Default 'fine'. */
  readonly labels?: 'fine' | 'coarse' | undefined
}

const cifar10Names = ['airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck']

/**
 * CIFAR-10 (or CIFAR-100) from a folder with the binary batches: data_batch_1.bin to data_batch_5.bin (those that are there, from 1) and
 * test_batch.bin; or train.bin and test.bin. Images [3, 32, 32]. Without a test file `test` is undefined.
 * @throws LangevinError E_DATA that names file, offset and expectation.
 */
export async function cifar10(folder: string, options: CifarOptions = {}): Promise<DataSplit> {
  const hundred = options.variant === 'cifar100'
  const wanted = hundred ? ['train'] : [1, 2, 3, 4, 5].map((i) => `data_batch_${i}`)
  const files: string[] = []
  for (const name of wanted) {
    const path = await firstOf(folder, [`${name}.bin`])
    if (path === undefined) break
    files.push(path)
  }
  if (files.length === 0) throw dataError(folder, `no CIFAR binary version here: expected ${wanted[0]}.bin`)
  const layout = hundred
    ? await cifar100Layout(folder, options.labels ?? 'fine')
    : { skip: 0, bytes: 1, names: cifar10Names }
  const name = options.variant ?? 'cifar10'
  const parts: Dataset[] = []
  for (const path of files) parts.push(await readCifar(path, name, layout))
  const test = await firstOf(folder, [hundred ? 'test.bin' : 'test_batch.bin'])
  return {
    train: parts.length === 1 ? (parts[0] as Dataset) : concatDatasets(name, parts),
    test: test === undefined ? undefined : await readCifar(test, `${name} test`, layout),
  }
}

interface CifarLayout {
  /** Which of the label bytes counts. */
  readonly skip: number
  /** Label bytes a row. */
  readonly bytes: number
  readonly names: readonly string[]
}

/** Each row is a coarse and a fine label; the names stand in text files beside the data, one a line, where they are there. */
async function cifar100Layout(folder: string, labels: 'fine' | 'coarse'): Promise<CifarLayout> {
  const classes = labels === 'fine' ? 100 : 20
  const path = join(folder, `${labels}_label_names.txt`)
  const text = (await exists(path)) ? new TextDecoder().decode(await readWholeFile(path)) : ''
  const names = text.split('\n').filter((line) => line.trim() !== '')
  const known =
    names.length === classes ? names.map((line) => line.trim()) : Array.from({ length: classes }, (_, i) => String(i))
  return { skip: labels === 'fine' ? 1 : 0, bytes: 2, names: known }
}

const cifarPixels = 3 * 32 * 32

async function readCifar(path: string, name: string, layout: CifarLayout): Promise<Dataset> {
  const bytes = await readContent(path)
  const row = layout.bytes + cifarPixels
  if (bytes.length === 0 || bytes.length % row !== 0) {
    const whole = Math.floor(bytes.length / row)
    throw dataError(
      path,
      `expected rows of ${row} bytes; ${bytes.length} bytes are ${whole} rows and ${bytes.length % row} more`,
      whole * row,
    )
  }
  const n = bytes.length / row
  const pixels = new Uint8Array(n * cifarPixels)
  const labels = new Int32Array(n)
  for (let i = 0; i < n; i++) {
    const start = i * row
    labels[i] = bytes[start + layout.skip] as number
    if ((labels[i] as number) >= layout.names.length) {
      throw dataError(
        path,
        `the label of row ${i} is ${labels[i]}; expected 0..${layout.names.length - 1}`,
        start + layout.skip,
      )
    }
    pixels.set(bytes.subarray(start + layout.bytes, start + row), i * cifarPixels)
  }
  return new Dataset({
    name,
    features: hostTensor(pixels, [n, 3, 32, 32]),
    labels,
    classNames: layout.names,
    range: [0, 255],
  })
}

/** Path of the first name that exists, plain or with `.gz`. */
async function firstOf(folder: string, names: readonly string[]): Promise<string | undefined> {
  for (const name of names.flatMap((n) => [n, `${n}.gz`])) {
    const path = join(folder, name)
    if (await exists(path)) return path
  }
  return undefined
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
