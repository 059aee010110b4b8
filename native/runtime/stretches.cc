// See stretches.h.
#include "runtime/stretches.h"

#include "runtime/errors.h"

namespace langevin {

namespace {

using Kind = ProgramOp::Kind;

constexpr uint64_t kMostKernels = 2000;  // of a recording; a longer repeat is recorded in parts

}  // namespace

// One instruction, or a repeat with its body.
struct Stretches::Unit {
  size_t end = 0;
  bool recordable = true;
  uint64_t kernels = 0;        // of all rounds
  Backend* backend = nullptr;  // null: none needed, as of an empty repeat
};

Stretches::Stretches(const std::vector<ProgramOp>& ops, const PlanList& plans, const Repeats& repeats)
    : ops_(&ops), plans_(&plans), repeats_(&repeats), begins_(ops.size(), -1) {
  bool any = false;
  for (const auto& plan : plans) any = any || plan->backend().records();
  if (any) find(0, ops.size());
}

Stretches::Unit Stretches::unit(size_t at) const {
  const ProgramOp& op = (*ops_)[at];
  Unit u;
  u.end = at + 1;
  const auto on = [&](Backend& backend) {
    u.recordable = u.recordable && backend.records() && (u.backend == nullptr || u.backend == &backend);
    u.backend = &backend;
  };
  switch (op.kind) {
    case Kind::Run: {
      const CompiledPlan& plan = *(*plans_)[static_cast<size_t>(op.plan)];
      on(plan.backend());
      u.kernels = plan.most_kernels();
      break;
    }
    case Kind::Copy:
      for (const auto& t : op.inputs) on(t->backend());
      for (const auto& t : op.outputs) on(t->backend());
      u.kernels = op.inputs.size();
      break;
    case Kind::Repeat:
      u.end = op.jump + 1;
      u.recordable = op.tensor == nullptr;
      for (size_t i = at + 1; i < op.jump;) {
        const Unit inner = unit(i);
        u.recordable = u.recordable && inner.recordable;
        if (inner.backend != nullptr) on(*inner.backend);
        u.kernels += inner.kernels * static_cast<uint64_t>(op.count);
        i = inner.end;
      }
      if (!repeats_->has(at)) break;
      if (op.tensor == nullptr) u.kernels = repeats_->kernels(at, op.count);
      u.recordable = u.recordable && u.kernels <= kMostKernels;  // never in parts
      break;
    default: u.recordable = false;
  }
  return u;
}

void Stretches::close(Stretch& open) {
  if (open.backend != nullptr && open.kernels > 0) {
    begins_[open.first] = static_cast<int>(stretches_.size());
    open.body_first = open.first, open.body_end = open.end;
    stretches_.push_back(std::move(open));
  }
  open = Stretch();
}

// Instructions first..end-1 of one nesting.
void Stretches::find(size_t first, size_t end) {
  Stretch open;
  open.first = open.end = first;
  for (size_t at = first; at < end;) {
    const ProgramOp& op = (*ops_)[at];
    const Unit u = unit(at);
    const bool fits = u.recordable && u.kernels <= kMostKernels && (open.backend == nullptr || u.backend == nullptr || open.backend == u.backend);
    if (fits && open.kernels + u.kernels <= kMostKernels) {
      if (u.backend != nullptr) open.backend = u.backend;
      open.end = u.end, open.kernels += u.kernels;
    } else {
      close(open);
      open.first = at, open.end = at;
      if (fits) continue;  // begins the next stretch
      const uint64_t count = op.kind == Kind::Repeat && op.count > 0 ? static_cast<uint64_t>(op.count) : 1;
      if (op.kind == Kind::Repeat && u.recordable && u.kernels / count <= kMostKernels) {
        Stretch& part = stretches_.emplace_back();
        begins_[at] = static_cast<int>(stretches_.size()) - 1;
        part.first = at, part.end = u.end, part.body_first = at + 1, part.body_end = u.end - 1, part.backend = u.backend;
        for (part.rounds = count; part.rounds > 1 && (count % part.rounds != 0 || u.kernels / count * part.rounds > kMostKernels);) --part.rounds;
        part.times = count / part.rounds;
        part.kernels = u.kernels / part.times;
      } else if (op.kind == Kind::Repeat) {
        find(at + 1, u.end - 1);
      } else if (u.recordable) {  // one very long plan
        open.backend = u.backend, open.end = u.end, open.kernels = u.kernels;
        close(open);
      }
      open.first = open.end = u.end;
    }
    at = u.end;
  }
  close(open);
}

template <class F>
void Stretches::each(const Stretch& stretch, const F& visit) const {
  for (size_t i = stretch.first; i < stretch.end; ++i) visit((*ops_)[i]);
}

bool Stretches::current(const Stretch& stretch) const {
  if (!stretch.recording) return false;
  bool same = true;
  each(stretch, [&](const ProgramOp& op) {
    if (op.kind == Kind::Run) same = same && (*plans_)[static_cast<size_t>(op.plan)]->arena_generation() == stretch.generation;
  });
  return same;
}

void Stretches::record(Stretch& stretch, const Interpret& interpret) {
  stretch.recording = nullptr;
  each(stretch, [&](const ProgramOp& op) {
    for (const auto& t : op.inputs) t->touch();
    if (op.kind == Kind::Run) stretch.generation = (*plans_)[static_cast<size_t>(op.plan)]->arena_generation();
  });
  stretch.backend->begin_recording();
  try {
    for (uint64_t r = 0; r < stretch.rounds; ++r) interpret(stretch.body_first, stretch.body_end);
  } catch (...) {
    stretch.backend->end_recording();
    throw;
  }
  stretch.recording = stretch.backend->end_recording();
  stretch.refused = stretch.recording == nullptr;
}

bool Stretches::replay(size_t* at, const Interpret& interpret, uint64_t* kernels, const std::atomic<bool>& stop) {
  if (stretches_.empty() || begins_[*at] < 0) return false;
  Stretch& stretch = stretches_[static_cast<size_t>(begins_[*at])];
  bool eager = stretch.refused || stretch.runs++ == 0;
  each(stretch, [&](const ProgramOp& op) { eager = eager || (op.kind == Kind::Run && (*plans_)[static_cast<size_t>(op.plan)]->profiling()); });
  if (eager) return false;
  if (!current(stretch)) {
    record(stretch, interpret);
    if (stretch.refused) return false;
  }
  for (uint64_t i = 0; i < stretch.times; ++i) {
    if (stop.load(std::memory_order_relaxed)) throw CodedError("E_CANCELLED", "the run was stopped because its environment is closing");
    stretch.recording->replay();
  }
  each(stretch, [](const ProgramOp& op) {
    for (const auto& t : op.outputs) t->touch();
  });
  *kernels += stretch.kernels * stretch.times;
  *at = stretch.end - 1;
  return true;
}

}  // namespace langevin
