// See plan.h.
#include "runtime/plan.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <new>

#include "runtime/errors.h"
#include "runtime/plan_memory.h"
#include "runtime/threads.h"

namespace langevin {

namespace {

void check_list(const TensorList& tensors, const std::vector<TensorDesc>& types, const Backend& backend, const char* what) {
  if (tensors.size() != types.size()) {
    throw CodedError("E_SHAPE", std::string("the plan has ") + std::to_string(types.size()) + " " + what + "s; got " + std::to_string(tensors.size()));
  }
  for (size_t i = 0; i < types.size(); ++i) {
    const TensorDesc& have = tensors[i]->desc();
    const TensorDesc& want = types[i];
    if (&tensors[i]->backend() != &backend) {
      throw CodedError("E_DEVICE", std::string("the plan is compiled for ") + backend.name() + "; " + what + " " + std::to_string(i) + " is a tensor on " +
                                       tensors[i]->backend().name() + ": make it on the plan's device, or copy it there");
    }
    if (have.dtype == want.dtype && have.shape == want.shape) continue;
    throw CodedError(have.dtype != want.dtype ? "E_DTYPE" : "E_SHAPE",
                     std::string(what) + " " + std::to_string(i) + " of the plan is " + to_string(want) + "; got a tensor " + to_string(have));
  }
}

template <class F>
void timed(StepProfile& profile, const F& work) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  work();
  profile.nanoseconds += static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count());
  ++profile.runs;
}

}  // namespace

CompiledPlan::CompiledPlan(const std::string& text, const std::vector<uint8_t>& blob, Backend& backend, int threads)
    : backend_(backend), threads_(threads) {
  use_threads(threads_);
  const DecodedPlan plan = decode_plan(text, blob.size());
  lowered_ = lower_plan(plan, backend);
  for (int value : plan.inputs) input_types_.push_back(plan.values[value]);
  for (const auto& output : plan.outputs) {
    output_types_.push_back(plan.values[output.value]);
    aliases_.push_back(output.alias);
  }
  if (backend_.repeats()) decoded_ = std::make_unique<DecodedPlan>(plan);
  stats_.arena_bytes = lowered_.arena_bytes;
  stats_.persistent_bytes = lowered_.persistent_bytes;
  stats_.reorders = lowered_.reorders;
  stats_.text = print_lowered(lowered_);
  for (const Step& step : lowered_.steps) {
    if (step.op == "reorder") continue;
    const std::string kind = step.kernel->kind(), name = kind.empty() ? step.op : step.op + ":" + kind;
    const auto found = std::find_if(stats_.kernels.begin(), stats_.kernels.end(), [&](const auto& k) { return k.first == name; });
    if (found == stats_.kernels.end()) stats_.kernels.emplace_back(name, 1);
    else ++found->second;
  }
  prepare_operands();
  arena_ = Arena::shared(backend_);
  ensure_arena();
  try {
    persistent_ = static_cast<uint8_t*>(backend_.allocate(lowered_.persistent_bytes));
  } catch (const std::bad_alloc&) {
    fail_plan_memory(lowered_, backend_, PlanMemory::Persistent);
  }
  upload_constants(plan, blob);
}

uint8_t* CompiledPlan::ensure_arena() {
  try {
    return arena_->ensure(lowered_.arena_bytes);
  } catch (const std::bad_alloc&) {
    fail_plan_memory(lowered_, backend_, PlanMemory::Arena);
  }
}

CompiledPlan::~CompiledPlan() { backend_.release(persistent_, lowered_.persistent_bytes); }

void CompiledPlan::upload_constants(const DecodedPlan& plan, const std::vector<uint8_t>& blob) {
  versions_.assign(plan.inputs.size(), 0);
  for (const Buffer& b : lowered_.buffers) {
    if (b.kind != Buffer::Constant) continue;
    backend_.copy_in(persistent_ + b.offset, blob.data() + plan.constants[static_cast<size_t>(b.index)].offset, b.bytes);
  }
  for (size_t i = 0; i < plan.constants.size(); ++i) versions_.push_back(next_version());
}

void CompiledPlan::prepare_operands() {
  for (const Step& step : lowered_.steps) {
    operand_start_.push_back(operand_buffers_.size());
    operand_buffers_.insert(operand_buffers_.end(), step.inputs.begin(), step.inputs.end());
    operand_buffers_.insert(operand_buffers_.end(), step.outputs.begin(), step.outputs.end());
  }
  operand_pointers_.assign(operand_buffers_.size(), nullptr);
  operand_versions_.assign(operand_buffers_.size(), 0);
  buffer_pointers_.assign(lowered_.buffers.size(), nullptr);
  cached_.assign(lowered_.steps.size(), 0);
}

void CompiledPlan::check_bindings(const TensorList& inputs, const TensorList& outputs) const {
  check_list(inputs, input_types_, backend_, "input");
  check_list(outputs, output_types_, backend_, "output");
  for (size_t o = 0; o < outputs.size(); ++o) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (outputs[o] != inputs[i] || aliases_[o] == static_cast<int>(i)) continue;
      throw CodedError("E_SHAPE", "output " + std::to_string(o) + " is bound to the tensor of input " + std::to_string(i) +
                                      ", which the plan does not declare as its alias; bind another tensor");
    }
    for (size_t other = 0; other < o; ++other) {
      if (outputs[o] == outputs[other]) {
        throw CodedError("E_SHAPE", "outputs " + std::to_string(other) + " and " + std::to_string(o) + " are bound to the same tensor");
      }
    }
  }
}

void CompiledPlan::bind(const TensorList& inputs, const TensorList& outputs) {
  uint8_t* arena = ensure_arena();
  for (size_t b = 0; b < lowered_.buffers.size(); ++b) {
    const Buffer& buffer = lowered_.buffers[b];
    switch (buffer.kind) {
      case Buffer::Input: buffer_pointers_[b] = inputs[static_cast<size_t>(buffer.index)]->data(); break;
      case Buffer::Output: buffer_pointers_[b] = outputs[static_cast<size_t>(buffer.index)]->data(); break;
      case Buffer::Arena: buffer_pointers_[b] = arena + buffer.offset; break;
      case Buffer::Constant:
      case Buffer::Persistent: buffer_pointers_[b] = persistent_ + buffer.offset; break;
    }
  }
  for (size_t i = 0; i < inputs.size(); ++i) versions_[i] = inputs[i]->version();
  for (size_t i = 0; i < operand_buffers_.size(); ++i) {
    const int b = operand_buffers_[i];
    const int source = lowered_.buffers[static_cast<size_t>(b)].version;
    operand_pointers_[i] = buffer_pointers_[static_cast<size_t>(b)];
    operand_versions_[i] = source < 0 ? 0 : versions_[static_cast<size_t>(source)];
  }
}

uint64_t CompiledPlan::most_kernels() const {
  uint64_t n = static_cast<uint64_t>(stats_.reorders);
  for (const auto& kernel : stats_.kernels) n += static_cast<uint64_t>(kernel.second);
  return n;
}

void CompiledPlan::set_profiling(bool on) {
  profiling_ = on;
  if (on) profile_.assign(lowered_.steps.size(), StepProfile());
}

KernelArgs CompiledPlan::arguments(size_t s, uint8_t* arena) {
  const Step& step = lowered_.steps[s];
  void** operands = operand_pointers_.data() + operand_start_[s];
  return {operands, operands + step.inputs.size(), arena + step.workspace_offset, persistent_ + step.persistent_offset,
          operand_versions_.data() + operand_start_[s]};
}

// Each thread runs every step over its own rows. What is timed is the first thread's part of it.
void CompiledPlan::run_region(const Region& region, uint8_t* arena) {
  const size_t first = static_cast<size_t>(region.first), end = static_cast<size_t>(region.end);
  for (size_t s = first; s < end; ++s) lowered_.steps[s].kernel->begin_rows(arguments(s, arena));
  std::exception_ptr error;
#pragma omp parallel num_threads(region.parts)
  for (int part = omp_get_thread_num(); part < region.parts; part += omp_get_num_threads()) {
    try {
      for (size_t s = first; s < end; ++s) {
        Kernel& kernel = *lowered_.steps[s].kernel;
        KernelArgs args = arguments(s, arena);
        args.workspace = arena + lowered_.steps[first].workspace_offset + region.workspace * static_cast<size_t>(part);
        if (profiling_ && part == 0) timed(profile_[s], [&] { kernel.run_rows(args, part); });
        else kernel.run_rows(args, part);
      }
    } catch (...) {
#pragma omp critical(langevin_region)
      error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

uint64_t CompiledPlan::run(const TensorList& inputs, const TensorList& outputs, const std::atomic<bool>& stop, bool wait) {
  use_threads(threads_);
  bind(inputs, outputs);
  // Whatever happens below, the outputs no longer hold what they held.
  for (const auto& output : outputs) output->touch();
  uint8_t* arena = ensure_arena();
  uint64_t kernels = 0;
  for (size_t s = 0; s < lowered_.steps.size(); ++s) {
    const Step& step = lowered_.steps[s];
    if (stop.load(std::memory_order_relaxed)) throw CodedError("E_CANCELLED", "the run was stopped because its environment is closing");
    if (step.region.first >= 0) {
      run_region(step.region, arena);
      kernels += static_cast<uint64_t>(step.region.end - step.region.first);
      s = static_cast<size_t>(step.region.end) - 1;
      continue;
    }
    const KernelArgs args = arguments(s, arena);
    const uint64_t* versions = args.input_versions;
    if (step.cached >= 0 && cached_[s] == versions[0]) continue;
    if (profiling_) {
      timed(profile_[s], [&] {
        step.kernel->run(args);
        backend_.synchronize();  // a device that queues its work has not done it yet
      });
    } else {
      step.kernel->run(args);
    }
    if (step.cached >= 0) cached_[s] = versions[0];
    ++kernels;
  }
  if (wait) backend_.synchronize();
  return kernels;
}

std::unique_ptr<RepeatedPlan> CompiledPlan::make_repeated(const TensorList& inputs, const TensorList& outputs) const {
  if (!decoded_) return nullptr;
  std::vector<int> carried(outputs.size(), -1);
  bool any = false;
  for (size_t o = 0; o < outputs.size(); ++o) {
    if (aliases_[o] < 0 || outputs[o] != inputs[static_cast<size_t>(aliases_[o])]) continue;
    carried[o] = aliases_[o];
    any = true;
  }
  return any ? backend_.make_repeated(*decoded_, carried) : nullptr;
}

void CompiledPlan::run_repeated(RepeatedPlan& repeated, const TensorList& inputs, uint64_t rounds) const {
  std::vector<void*> memory;
  for (const auto& input : inputs) memory.push_back(input->data());
  memory.resize(inputs.size() + decoded_->constants.size());
  for (const Buffer& b : lowered_.buffers) {
    if (b.kind == Buffer::Constant) memory[inputs.size() + static_cast<size_t>(b.index)] = persistent_ + b.offset;
  }
  repeated.run(memory, rounds);
}

}  // namespace langevin
