#!/usr/bin/env bash
# Packs the package, looks at what is in it, installs it in an empty folder and uses it there: as a library, by its types, and by its
# command. So: no dev dependencies, no build folder, no library of the system that a bare machine lacks. Needs an up-to-date build (setup.sh).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
root=$PWD
exec </dev/null

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

./scripts/prebuild.sh
say 'packing'
npm pack --silent --pack-destination "$work" >/dev/null
tarball=$(echo "$work"/langevin-*.tgz)

say "contents of $(basename "$tarball") ($(du -h "$tarball" | cut -f1))"
tar -tzf "$tarball" | sed 's,^package/,,' | sort >"$work/files"
for wanted in package.json README.md CHANGELOG.md LICENSE THIRD_PARTY.md dist/bundle/{index,cli,langevin,vendor}.js \
  dist/bundle/LICENCES.txt dist/types/index.d.ts dist/types/zod/LICENSE \
  CMakeLists.txt binding.gyp native/ops/ops.def configs/jempp-digits.json data/digits/LICENCE data/digits/digits-images-idx3-ubyte.gz \
  "prebuilds/$(platform)/langevin.node"; do
  grep -qxF "$wanted" "$work/files" || fail "the tarball lacks $wanted"
done
unwanted=$(grep -E '^(test|build|scripts/[^b]|node_modules|runs|coverage|\.ci)/|\.test\.|\.tgz$|\.stamp$|^scripts/b[^/]*$|^dist/' "$work/files" |
  grep -Ev '^dist/(bundle/([a-z-]+\.js(\.map)?|LICENCES\.txt)|types/(.*\.d\.ts|zod/LICENSE))$' || true)
[ -z "$unwanted" ] || fail "the tarball holds what does not belong there: $unwanted"
npx publint run "$tarball" --strict

say 'installing it in an empty folder'
mkdir "$work/app"
cd "$work/app"
echo '{ "name": "app", "private": true, "type": "module" }' >package.json
npm install --silent --no-audit --no-fund "$tarball"
scripts=$(node -p 'Object.entries(require("./package-lock.json").packages).filter(([, p]) => p.hasInstallScript).map(([n]) => n).join(", ")')
[ -z "$scripts" ] || fail "installing langevin runs install scripts of $scripts"
home=$work/app/node_modules/langevin
others=$(ls node_modules | grep -vx langevin || true)
[ -z "$others" ] || fail "installing langevin brings other packages: $others"

say 'where its libraries come from'
LD_DEBUG=libs LD_DEBUG_OUTPUT="$work/loader" npx langevin info
for lib in "$home/prebuilds/$(platform)"/*.so.*; do
  name=$(basename "$lib")
  used=$(cat "$work"/loader.* | grep -F 'calling init:' | grep -F "/$name" | awk '{print $NF}' | sort -u)
  [ "$used" = "$lib" ] || fail "$name was loaded from ${used:-nowhere}, not from the package"
done

say 'using it as a library'
cat >use.mjs <<'JS'
import assert from 'node:assert/strict'
import { Chains, convEnergy, data, defineEnergy, JemPlusPlus, packageVersion } from 'langevin'

assert.match(packageVersion(), /^\d+\.\d+\.\d+/)
const ring = defineEnergy({ shape: [2] }, (x) => x.square().sum(-1).sqrt().sub(2).square().mul(8))
const chains = await Chains.start(ring, { chains: 50, sampler: { kind: 'sgld', stepSize: 0.01, noise: 'langevin' } })
const info = await chains.advance(200)
assert.equal(info.divergent, 0)
const radius = (await chains.read()).data.reduce((s, _, i, a) => (i % 2 ? s : s + Math.hypot(a[i], a[i + 1])), 0) / 50
assert.ok(Math.abs(radius - 2) < 0.3, `chains should lie near the ring of radius 2; mean radius ${radius}`)

const { train } = (await data.digits()).split({ test: 360 })
const model = convEnergy({ shape: [1, 8, 8], channels: [8, 8], classes: 10 })
const trainer = new JemPlusPlus(model, { batch: 16, buffer: { size: 100 }, sampler: { kind: 'pyld', outer: 2 } })
const rows = []
for await (const row of trainer.fit(train, { steps: 5, reportEvery: 1 })) rows.push(row)
assert.deepEqual(rows.map((r) => r.step), [1, 2, 3, 4, 5])
assert.ok(rows.every((r) => Number.isFinite(r.loss)))
console.log(`ring ${radius.toFixed(2)}, loss after 5 steps ${rows[4].loss.toFixed(2)}`)
JS
node use.mjs

say 'by its types'
cat >use.ts <<'TS'
import { data, JemPlusPlus, type MetricsRow, wideResNet } from 'langevin'

const { train } = (await data.digits()).split({ test: 360 })
const trainer = new JemPlusPlus(wideResNet({ depth: 10, width: 1, channels: 1, size: 8 }), { batch: 16 })
for await (const row of trainer.fit(train, { steps: 1 })) {
  const typed: MetricsRow = row
  console.log(typed.loss)
}
// @ts-expect-error a misspelled option does not compile
new JemPlusPlus(trainer.model, { bach: 16 })
TS
"$root/node_modules/.bin/tsc" --noEmit --strict --target es2023 --module nodenext --typeRoots "$root/node_modules/@types" --types node use.ts

say 'by its command: five steps'
npx langevin train node_modules/langevin/configs/jempp-digits.json --steps 5 --out run >/dev/null
for file in config.json metrics.jsonl checkpoint.safetensors evaluation.json samples.png report.html; do
  [ -s "run/$file" ] || fail "langevin train left no $file"
done
say 'the package is whole'
