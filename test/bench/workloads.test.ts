import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { chooseWorkloads, loadWorkloads, workloadsFile } from '../../lib/bench/workloads.ts'

/** The peers' scripts stand beside the checkout, not in it. */
const peers = fileURLToPath(new URL('../../../shared/peers/workloads.json', import.meta.url))

describe('workloads', () => {
  it('has the ten rows in order', () => {
    expect([...loadWorkloads().keys()]).toEqual([
      'langevin_mlp',
      'langevin_mlp_wide',
      'pcd_mlp',
      'dsm_mlp',
      'ssm_mlp',
      'nce_mlp',
      'langevin_conv',
      'dsm_conv',
      'jempp_wrn16_2',
      'jempp_wrn28_10',
    ])
  })

  it.skipIf(!existsSync(peers))("equals the peers' table", () => {
    expect(JSON.parse(readFileSync(workloadsFile, 'utf8'))).toEqual(JSON.parse(readFileSync(peers, 'utf8')))
  })

  it('chooses by name and names the nearest', () => {
    expect([...chooseWorkloads(['dsm_mlp', 'langevin_mlp']).keys()]).toEqual(['langevin_mlp', 'dsm_mlp'])
    expect(() => chooseWorkloads(['dsm_mpl'])).toThrow(/dsm_mpl.*dsm_mlp/)
  })

  it('is shipped with the package', () => {
    const root = new URL('../../package.json', import.meta.url)
    const { files } = JSON.parse(readFileSync(root, 'utf8')) as { files: string[] }
    const path = fileURLToPath(workloadsFile).slice(fileURLToPath(new URL('.', root)).length)
    expect(files.some((f) => path === f || path.startsWith(`${f}/`))).toBe(true)
  })
})
