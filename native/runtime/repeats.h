// Repeats of a program that a device does as one piece of work (Backend::make_repeated): those whose body is one run of a plan over the tensors that it
// overwrites, as of a chain. Where the plan leaves more than what it carries, the last round is run as usual and leaves it.
#pragma once

#include "runtime/program_op.h"

namespace langevin {

class Repeats {
 public:
  Repeats() = default;
  Repeats(const std::vector<ProgramOp>& ops, const PlanList& plans);

  bool has(size_t at) const { return at < repeats_.size() && repeats_[at] != nullptr; }
  // Kernels of `count` rounds of the repeat at that instruction, the last one included.
  uint64_t kernels(size_t at, int64_t count) const;

  // Makes what runs need; call it before, where nothing is recorded.
  void prepare();
  // All rounds. False where they are better run one by one: there are too few, or the plan is being profiled. Adds to *kernels. Throws E_CANCELLED.
  bool run(size_t at, int64_t count, uint64_t* kernels, const std::atomic<bool>& stop);

 private:
  struct Repeat {
    std::unique_ptr<RepeatedPlan> plan;
    bool more = false;  // the plan has outputs that are not carried
    bool prepared = false;
  };
  const std::vector<ProgramOp>* ops_ = nullptr;
  const PlanList* plans_ = nullptr;
  std::vector<std::unique_ptr<Repeat>> repeats_;  // by instruction; empty without any
};

}  // namespace langevin
