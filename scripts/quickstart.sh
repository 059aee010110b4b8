#!/usr/bin/env bash
# From a bare clone to a trained, evaluated and exported energy-based model: JEM++ on the digits that ship with the package.
# Arguments go to `langevin train`, e.g. --steps 100 or --threads 2. RUN_FOLDER is where the results go (default runs/digits).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
./scripts/setup.sh

out=${RUN_FOLDER:-runs/digits}
node dist/bundle/cli.js train configs/jempp-digits.json --out "$out" "$@"
node dist/bundle/cli.js export "$out"
node dist/bundle/cli.js export "$out" --bundle "$out/bundle"

node --input-type=module - "$out" <<'JS'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'

const out = process.argv[2]
const e = JSON.parse(readFileSync(`${out}/evaluation.json`, 'utf8'))
const at = (name) => resolve(out, name)
const auroc = Object.entries(e.ood).map(([set, scores]) => `${set} ${scores.log_px.auroc.toFixed(4)}`)
console.log(`
report   ${at('report.html')}
samples  ${at('samples.png')}
model    ${at('model.onnx')}   (input x; outputs logits, log_prob_unnormalized, energy, score)
bundle   ${at('bundle')}   (the model, a sampler that generates, what a server or page needs to know)

test accuracy ${e.accuracy.toFixed(4)}, ECE ${e.ece.toFixed(4)}, on ${e.count} images
AUROC of log p(x) against ${auroc.join(', ')}${e.frechet?.pixels === undefined ? '' : `
Frechet distance of ${e.frechet.samples} samples to the test images, in pixels: ${e.frechet.pixels.toFixed(2)}`}`)
JS
