#!/usr/bin/env bash
# Builds what is out of date and runs the tests; arguments go to vitest. The last line is `N passed, N failed, N skipped`.
set -uo pipefail
cd "$(dirname "$0")/.."
./scripts/setup.sh || exit 1

results=$(mktemp)
trap 'rm -f "$results"' EXIT
npm test -- --reporter=default --reporter=json --outputFile.json="$results" "$@" </dev/null
code=$?
node scripts/count-tests.mjs "$results" || code=1
exit "$code"
