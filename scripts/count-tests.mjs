// Prints `N passed, N failed, N skipped` from the file that vitest's JSON reporter wrote, and fails where a test failed or nothing ran.
// A test file that could not even be loaded counts as one failure.
import { readFileSync } from 'node:fs'

function count(path) {
  const results = JSON.parse(readFileSync(path, 'utf8'))
  const totals = { passed: 0, failed: 0, skipped: 0 }
  for (const file of results.testResults) {
    for (const test of file.assertionResults) {
      totals[test.status === 'passed' || test.status === 'failed' ? test.status : 'skipped']++
    }
    const failedInside = file.assertionResults.some((t) => t.status === 'failed')
    if (file.status === 'failed' && !failedInside) totals.failed++
  }
  return totals
}

function countOrFail(path) {
  try {
    return count(path)
  } catch (error) {
    console.error(`the results of the tests cannot be read: ${error.message}`)
    return { passed: 0, failed: 1, skipped: 0 }
  }
}

const { passed, failed, skipped } = countOrFail(process.argv[2])
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`)
process.exitCode = failed > 0 || passed === 0 ? 1 : 0
