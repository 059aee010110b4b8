// A program: plans run in an order that was written down once (docs/architecture.md, "Program"), any number of steps without a return
// to JavaScript. Instructions are a flat list; a repeat jumps back. Run on the worker thread only.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "runtime/stretches.h"

namespace langevin {

struct GuardStop {
  std::string name;
  double value;
  double limit;
  uint64_t step;
};

struct ProgramResult {
  uint64_t completed = 0;
  std::vector<float> metrics;  // completed x recorded
  double seconds = 0;
  std::unique_ptr<GuardStop> guard;
  bool cancelled = false;
  uint64_t kernels = 0;
};

class Program {
 public:
  // Checks everything a run relies on: indices, bindings, nesting. Throws PlanError or CodedError.
  Program(const std::string& text, std::vector<std::shared_ptr<CompiledPlan>> plans, TensorList tensors);

  // Runs n steps. A set `stop`, or cancel() after `epoch` was taken, ends the run before the next step.
  ProgramResult run(uint64_t steps, uint64_t epoch, const std::atomic<bool>& stop);

  uint64_t epoch() const { return epoch_.load(); }
  void cancel() { ++epoch_; }  // any thread; ends all runs that have been asked for so far
  size_t recorded() const { return recorded_; }

 private:
  using Op = ProgramOp;
  using Kind = ProgramOp::Kind;
  class Decoder;
  enum class Outcome { Completed, Guarded };

  Outcome run_step(ProgramResult& result, const std::atomic<bool>& stop);
  Outcome interpret(size_t first, size_t end, bool recording, ProgramResult& result, const std::atomic<bool>& stop);
  int64_t repeat_count(const Op& op) const;

  std::vector<std::shared_ptr<CompiledPlan>> plans_;
  std::vector<Op> ops_;
  Repeats repeats_;
  Stretches stretches_;
  size_t recorded_ = 0;
  std::atomic<uint64_t> epoch_{0};
};

// Copies each `from` to its `to`, in order; the types must be equal (check_copy_types).
void copy_tensors(const TensorList& from, const TensorList& to);
void check_copy_types(const TensorList& from, const TensorList& to);

}  // namespace langevin
