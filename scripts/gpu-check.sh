#!/usr/bin/env bash
# Checks device 'cuda' on a machine with an NVIDIA GPU, in one command: builds with CUDA, tells what was found, runs the tests of ops, samplers, objectives
# and trainers there against the CPU's references, NVIDIA's sanitizer, JEM++ on the digits to the CPU's accuracy, and the benchmark beside PyTorch where that
# is. A part that fails does not keep the others from running. Ends with a table; exits 1 where a part failed.
# It takes about an hour; --quick takes the parts that matter most, about ten minutes. Needs Node.js on the PATH and what docs/cuda.md lists.
set -uo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

usage() {
  cat <<'TEXT'
usage: scripts/gpu-check.sh [options]

  --quick        ops, samplers, a short training and a short benchmark only
  --out DIR      folder of the logs and of the results (default: gpu-check)
  --device NAME  cuda (default) or cuda:1, ...
  --peers DIR    folder of torch_bench.py (default: ../shared/peers beside the checkout)
  --simulator    on the simulator instead of a GPU: tests this script, not a GPU
  --no-build     with what is built already
TEXT
}

quick=false simulator=false build=true out=gpu-check device=cuda peers=../shared/peers
while [ $# -gt 0 ]; do
  case $1 in
    --quick) quick=true; shift ;;
    --simulator) simulator=true; quick=true; shift ;;
    --no-build) build=false; shift ;;
    --out) [ -n "${2:-}" ] || fail '--out needs a folder'; out=$2; shift 2 ;;
    --peers) [ -n "${2:-}" ] || fail '--peers needs a folder'; peers=$2; shift 2 ;;
    --device)
      [[ ${2:-} =~ ^cuda(:[0-9]+)?$ ]] || fail "--device takes cuda or cuda:N; got '${2:-}'"
      device=$2
      shift 2
      ;;
    --help | -h) usage; exit 0 ;;
    *) usage >&2; fail "unknown option $1" ;;
  esac
done
have node || fail 'Node.js 20.19 or later has to be on the PATH: see nodejs.org'
mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)

# Results: a line 'part|passed, failed or skipped|seconds|note' each.
results=$out/results.txt
: >"$results"
record() { printf '%s|%s|%s|%s\n' "$@" >>"$results"; say "$1: $2 ($3 s)${4:+: $4}"; }
skip() { record "$1" skipped 0 "$2"; }

# part NAME SECONDS COMMAND...: runs it for at most so long, output in NAME.log. Its last line that begins with 'note: ' goes into the table.
part() {
  local name=$1 limit=$2 log=$out/$1.log begin=$SECONDS code
  shift 2
  say "$name ..."
  timeout -k 10 "$limit" "$@" >"$log" 2>&1 </dev/null
  code=$?
  local note
  note=$(sed -n 's/^note: //p' "$log" | tail -n 1)
  if [ $code -eq 0 ]; then
    record "$name" passed $((SECONDS - begin)) "$note"
    return 0
  fi
  [ $code -ne 124 ] || note="stopped after $limit s"
  record "$name" failed $((SECONDS - begin)) "${note:-ended with $code}; see $log"
  return 1
}

# --- what the parts run; in processes of their own, since a part has a time limit ---

build_all() {
  if [ -z "${LANGEVIN_CUDA_INCLUDE:-}" ] && ! $simulator; then ./scripts/cuda-headers.sh || return 1; fi
  ./scripts/setup.sh && npx cmake-js configure --out build && npm run -s build:native && npm run -s build:ts
}

# The device is there and nothing is missing.
check_info() {
  node dist/bundle/cli.js info && node dist/bundle/cli.js info --json >"$out/info.json" && node -e '
    const { cuda, devices } = JSON.parse(require("node:fs").readFileSync(process.argv[1], "utf8"))
    const missing = Object.values(cuda.libraries ?? {}).filter((l) => l.missing).map((l) => l.missing)
    if (!cuda.available) missing.push(cuda.reason)
    const wanted = process.argv[2] === "cuda" ? "cuda:0" : process.argv[2]
    if (cuda.available && !devices.includes(wanted)) missing.push(`${wanted} is not here, only ${devices}`)
    const gpu = cuda.devices?.[Number(wanted.slice(5))]
    console.log(`note: ${missing[0] ?? `${gpu.name}, driver for CUDA ${cuda.driver}`}`)
    process.exit(missing.length > 0 ? 1 : 0)' "$out/info.json" "$device"
}

# run_tests NAME FILE...: vitest on the device.
run_tests() {
  local json=$out/$1.json counts code
  shift
  rm -f "$json"
  LANGEVIN_TEST_DEVICE=$device npx vitest run --reporter=default --reporter=json --outputFile.json="$json" --testTimeout="$test_timeout" "$@"
  code=$?
  counts=$(node scripts/count-tests.mjs "$json") || code=1
  echo "note: $counts"
  return "$code"
}

# As a user would; the run folder tells the accuracy, which must reach $1. $2: how many steps, if not all; $3: another configuration.
train_digits() {
  local steps=()
  [ -z "$2" ] || steps=(--steps "$2")
  rm -rf "$out/digits"
  node dist/bundle/cli.js train "${3:-configs/jempp-digits.json}" --device "$device" --out "$out/digits" --json "${steps[@]+"${steps[@]}"}" &&
    node -e '
      const folder = process.argv[1]
      const e = JSON.parse(require("node:fs").readFileSync(`${folder}/evaluation.json`, "utf8"))
      const needed = Number(process.argv[2])
      console.log(`note: accuracy ${e.accuracy.toFixed(4)} (needed ${needed}), peak ${(e.peakDeviceBytes / 1e6).toFixed(0)} MB on the device`)
      process.exit(e.accuracy >= needed ? 0 : 1)' "$out/digits" "$1"
}

# The run that was trained on the device is one of the CPU's: its samples and figures agree.
resume_on_cpu() {
  cp -r "$out/digits" "$out/digits-cpu" && node dist/bundle/cli.js evaluate "$out/digits-cpu" --device cpu --samples 0 --ood uniform --json && node -e '
    const read = (f) => JSON.parse(require("node:fs").readFileSync(`${f}/evaluation.json`, "utf8")).accuracy
    const [here, cpu] = process.argv.slice(1).map(read)
    console.log(`note: accuracy ${here.toFixed(4)} on the device, ${cpu.toFixed(4)} on the CPU`)
    process.exit(Math.abs(here - cpu) <= 0.006 ? 0 : 1)' "$out/digits" "$out/digits-cpu"
}

# sanitize TOOL: chains of a perceptron, training steps of one and of convolutions under NVIDIA's checker. Nothing may be found.
sanitize() {
  compute-sanitizer --tool "$1" --target-processes all --error-exitcode 9 \
    node dist/bundle/cli.js bench --device "$device" --only "$sanitized" --repeats 1 --seconds 0.01
}

bench() {
  node dist/bundle/cli.js bench --device "$device" --json "$@" | tee "$out/bench.jsonl"
}

bench_peers() {
  node scripts/bench-peers.mjs --device "$device" --peers "$peers" --contenders langevin,langevin-bf16,torch-eager,torch-compile,torch-bf16 \
    --out "$out/peers.json"
}

torch_has_gpu() { "${LANGEVIN_PEERS_PYTHON:-python3}" -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else 1)' >/dev/null 2>&1; }

export -f build_all check_info run_tests train_digits resume_on_cpu sanitize bench bench_peers say fail have
export out device simulator peers sanitized=langevin_mlp,dsm_mlp,dsm_conv test_timeout=600000
here() { part "$1" "$2" bash -c '"$@"' - "${@:3}"; }

# --- the parts ---

if $simulator; then
  export LANGEVIN_CUDA=HOST LANGEVIN_CUDA_PATH=$PWD/build/Release/cuda-simulator
else
  export LANGEVIN_CUDA=ON
fi
# What the tests and the command line run is this build.
unset LANGEVIN_DEVICE LANGEVIN_TF32
if $build && ! here build 3600 build_all; then
  [ -e build/Release/langevin_cuda.so ] || fail "there is no CUDA plugin, so nothing can be checked; see $out/build.log"
fi
if here info 120 check_info; then
  native=(test/native/{move,index,pool,random,conv,matmul,loop}.test.ts)
  if $simulator; then
    here runtime 1800 run_tests runtime test/runtime/compile.test.ts test/runtime/program.test.ts
    cat >"$out/small.json" <<'JSON'
{
  "method": "jempp",
  "data": { "kind": "digits", "test": 40 },
  "network": { "kind": "mlp", "hidden": [16] },
  "trainer": { "batch": 8, "sampler": { "kind": "pyld", "outer": 1, "inner": 2 }, "buffer": { "size": 20 } },
  "steps": 4,
  "evaluation": { "ood": ["uniform"], "samples": 0 }
}
JSON
    here train 1800 train_digits 0 '' "$out/small.json"
    here resume 900 resume_on_cpu
  else
    here ops 3600 run_tests ops test/ops/native.test.ts test/plan/native.test.ts "${native[@]}"
    here ops-tf32 3600 env LANGEVIN_TF32=1 bash -c 'run_tests ops-tf32 test/ops/native.test.ts'
    here runtime 1800 run_tests runtime test/runtime
    here samplers 3600 run_tests samplers test/samplers
    if $quick; then
      here train 1800 train_digits 0 200
    else
      here networks 3600 run_tests networks test/nn
      here objectives 3600 run_tests objectives test/objectives
      here optimizers 1800 run_tests optimizers test/optim
      here trainers 3600 run_tests trainers test/trainers
      here evaluation 3600 run_tests evaluation test/evaluation
      # Seeds give 0.969 to 0.981 on the CPU (docs/benchmarks.md); arithmetic that rounds otherwise is as good as another seed.
      here train 3600 train_digits 0.955 ''
    fi
    here resume 900 resume_on_cpu
  fi
  for tool in memcheck racecheck; do
    if $simulator; then skip "$tool" 'the simulator checks addresses itself'
    elif ! have compute-sanitizer; then skip "$tool" "compute-sanitizer is not on the PATH: it comes with CUDA's toolkit"
    else here "$tool" 1800 sanitize "$tool"; fi
  done
  if $simulator; then here bench 1800 bench --only langevin_mlp --repeats 1 --seconds 0.01
  elif $quick; then here bench 900 bench --repeats 3 --seconds 0.5
  else here bench 1800 bench; fi
  if $quick; then skip peers 'left out by --quick'
  elif [ ! -e "$peers/torch_bench.py" ]; then skip peers "no torch_bench.py in $peers: say --peers DIR"
  elif ! torch_has_gpu; then skip peers "PyTorch with CUDA was not found: name its Python in LANGEVIN_PEERS_PYTHON"
  else here peers 7200 bench_peers; fi
else
  say 'the device cannot be used, so the other parts are left out'
fi

# --- the table ---

count() { grep -c "|$1|" "$results"; }
echo
awk -F'|' 'BEGIN { printf "%-12s %-8s %8s  %s\n", "part", "result", "seconds", "" } { printf "%-12s %-8s %8d  %s\n", $1, $2, $3, $4 }' "$results"
echo
echo "$(count passed) parts passed, $(count failed) failed, $(count skipped) skipped; logs in $out"
[ "$(count failed)" -eq 0 ]
