// See repeats.h.
#include "runtime/repeats.h"

#include <algorithm>

#include "runtime/errors.h"

namespace langevin {

namespace {

constexpr int64_t kFewest = 3;        // rounds that are worth it
constexpr uint64_t kMostAtOnce = 4096;  // rounds in one piece, between which a run can be stopped

uint64_t pieces(uint64_t rounds) { return (rounds + kMostAtOnce - 1) / kMostAtOnce; }

}  // namespace

Repeats::Repeats(const std::vector<ProgramOp>& ops, const PlanList& plans) : ops_(&ops), plans_(&plans) {
  for (size_t at = 0; at + 2 < ops.size(); ++at) {
    const ProgramOp& op = ops[at];
    if (op.kind != ProgramOp::Kind::Repeat || op.jump != at + 2 || ops[at + 1].kind != ProgramOp::Kind::Run) continue;
    if (op.tensor == nullptr && op.count < kFewest) continue;
    const ProgramOp& body = ops[at + 1];
    auto repeat = std::make_unique<Repeat>();
    repeat->plan = plans[static_cast<size_t>(body.plan)]->make_repeated(body.inputs, body.outputs);
    if (!repeat->plan) continue;
    for (const auto& output : body.outputs) {
      repeat->more = repeat->more || std::find(body.inputs.begin(), body.inputs.end(), output) == body.inputs.end();
    }
    repeats_.resize(ops.size());
    repeats_[at] = std::move(repeat);
  }
}

uint64_t Repeats::kernels(size_t at, int64_t count) const {
  const Repeat& repeat = *repeats_[at];
  const uint64_t last = repeat.more ? (*plans_)[static_cast<size_t>((*ops_)[at + 1].plan)]->most_kernels() : 0;
  return pieces(static_cast<uint64_t>(count) - repeat.more) * repeat.plan->kernels() + last;
}

void Repeats::prepare() {
  for (auto& repeat : repeats_) {
    if (!repeat || repeat->prepared) continue;
    repeat->plan->prepare();
    repeat->prepared = true;
  }
}

bool Repeats::run(size_t at, int64_t count, uint64_t* kernels, const std::atomic<bool>& stop) {
  if (!has(at) || count < kFewest) return false;
  const ProgramOp& body = (*ops_)[at + 1];
  CompiledPlan& plan = *(*plans_)[static_cast<size_t>(body.plan)];
  if (plan.profiling()) return false;
  Repeat& repeat = *repeats_[at];
  for (const auto& output : body.outputs) output->touch();
  for (uint64_t left = static_cast<uint64_t>(count) - repeat.more; left > 0;) {
    if (stop.load(std::memory_order_relaxed)) throw CodedError("E_CANCELLED", "the run was stopped because its environment is closing");
    const uint64_t rounds = std::min(left, kMostAtOnce);
    plan.run_repeated(*repeat.plan, body.inputs, rounds);
    *kernels += repeat.plan->kernels();
    left -= rounds;
  }
  if (repeat.more) *kernels += plan.run(body.inputs, body.outputs, stop, false);
  return true;
}

}  // namespace langevin
