// A compiled plan: kernels, their memory, and the loop that runs them over bound tensors. Compile and run on the worker thread only.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/arena.h"
#include "runtime/device_tensor.h"
#include "runtime/lowering.h"

namespace langevin {

using TensorList = std::vector<std::shared_ptr<DeviceTensor>>;

struct PlanStats {
  size_t arena_bytes = 0;
  size_t persistent_bytes = 0;
  std::vector<std::pair<std::string, int>> kernels;  // op and how many, in order of first appearance; reorders are not among them
  int reorders = 0;
  std::string text;
};

// What one step of a plan has cost while profiling was on.
struct StepProfile {
  uint64_t runs = 0;  // a cached reorder runs only when its parameter changed
  uint64_t nanoseconds = 0;
};

class CompiledPlan {
 public:
  // `blob` holds the constants. Throws PlanError, CodedError, std::bad_alloc.
  CompiledPlan(const std::string& text, const std::vector<uint8_t>& blob, Backend& backend, int threads);
  ~CompiledPlan();
  CompiledPlan(const CompiledPlan&) = delete;
  CompiledPlan& operator=(const CompiledPlan&) = delete;

  // Throws CodedError (E_SHAPE, E_DTYPE) unless the tensors fit. Any thread.
  void check_bindings(const TensorList& inputs, const TensorList& outputs) const;

  // Runs over checked bindings. Returns the number of kernels run; allocates nothing after the first run. A set `stop` ends it
  // between two kernels with CodedError E_CANCELLED and leaves the outputs undefined. `wait`: return when the work is done, not when it is queued.
  uint64_t run(const TensorList& inputs, const TensorList& outputs, const std::atomic<bool>& stop, bool wait = true);

  // Rounds of this plan over the same tensors in one piece of work: an output bound to its input's tensor is carried. Null where the device does not do that,
  // or nothing is carried; see Backend::make_repeated. run_repeated takes bindings that are equal to those.
  std::unique_ptr<RepeatedPlan> make_repeated(const TensorList& inputs, const TensorList& outputs) const;
  void run_repeated(RepeatedPlan& repeated, const TensorList& inputs, uint64_t rounds) const;

  Backend& backend() const { return backend_; }
  bool profiling() const { return profiling_; }
  // Changes whenever scratch memory has moved since work that was recorded with it.
  uint64_t arena_generation() const { return arena_->generation(); }

  const PlanStats& stats() const { return stats_; }
  uint64_t most_kernels() const;  // of a run, reorders of parameters included

  // From here on (or no longer) each kernel is timed, which costs two looks at the clock; turning it on starts from zero. Worker thread.
  void set_profiling(bool on);
  // By step, empty if profiling has never been on. Worker thread.
  const std::vector<StepProfile>& profile() const { return profile_; }
  const std::vector<Step>& steps() const { return lowered_.steps; }

 private:
  void upload_constants(const DecodedPlan& plan, const std::vector<uint8_t>& blob);
  void prepare_operands();
  uint8_t* ensure_arena();
  void bind(const TensorList& inputs, const TensorList& outputs);
  KernelArgs arguments(size_t step, uint8_t* arena);
  void run_region(const Region& region, uint8_t* arena);

  Backend& backend_;
  int threads_;
  Lowered lowered_;
  std::unique_ptr<const DecodedPlan> decoded_;  // kept for devices that repeat plans
  std::vector<TensorDesc> input_types_;
  std::vector<TensorDesc> output_types_;
  std::vector<int> aliases_;          // by output: input position or -1
  std::shared_ptr<Arena> arena_;      // shared by all plans: nothing in it outlives a run
  uint8_t* persistent_ = nullptr;     // constants, reordered parameters, packed weights
  std::vector<uint64_t> versions_;    // by version source
  std::vector<uint64_t> cached_;      // by step: the version for which a cached reorder was last done
  // Operands of all steps in a row: inputs then outputs of step 0, of step 1, ...
  std::vector<size_t> operand_start_;  // by step
  std::vector<int> operand_buffers_;
  std::vector<void*> operand_pointers_;
  std::vector<uint64_t> operand_versions_;
  std::vector<void*> buffer_pointers_;
  bool profiling_ = false;
  std::vector<StepProfile> profile_;
  PlanStats stats_;
};

}  // namespace langevin
