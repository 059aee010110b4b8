import { defineConfig } from 'vitest/config'

// LANGEVIN_TEST_DEVICE=cuda: whatever names no device runs there, as test/device.ts says.
const device = process.env.LANGEVIN_TEST_DEVICE
const env = device ? { LANGEVIN_DEVICE: device, LANGEVIN_TF32: process.env.LANGEVIN_TF32 ?? '0' } : {}

export default defineConfig({
  test: { include: ['test/**/*.test.ts'], testTimeout: 60_000, pool: 'forks', maxWorkers: 2, env },
})
