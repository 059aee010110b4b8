// What a device must provide: memory, a layout choice an instruction, and kernels. The CPU implements it in native/cpu;
// a CUDA plugin implements the same interface in a library of its own.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "runtime/tensor.h"

namespace langevin {

// What bfloat16 is to an operand: it needs float32; it reads either; it is what a product wants, which makes storing it so worth while.
enum class HalfUse : uint8_t { No, May, Wanted };

// A parameter in a form of a kernel's own, which kernels of one plan that read the same value share: the first makes it.
struct PackedParameter {
  uint64_t version = 0;  // 0: not made yet
  const void* memory = nullptr;
};
using PackedParameters = std::map<std::string, std::weak_ptr<PackedParameter>>;

// One decoded and checked instruction of a plan (ops.def lists the ops; docs/architecture.md their attributes).
struct Instruction {
  int op = 0;  // index into ops.def
  std::string name;
  std::vector<TensorDesc> inputs;   // layouts are final when the kernel is made
  std::vector<TensorDesc> outputs;
  nlohmann::json attr;
  std::vector<bool> input_is_parameter;  // the value is a plan input or a constant (its contents keep a version, see KernelArgs)
  std::vector<int> input_values;                // which values of the plan the inputs are
  std::shared_ptr<PackedParameters> parameters;  // of the plan; its instructions run in the order in which their kernels are made
  bool bfloat16 = false;              // the plan's precision
  std::vector<HalfUse> half_outputs;  // with bfloat16: No where any reader of that output says so, else Wanted where any does
};

struct KernelArgs {
  const void* const* inputs;
  void* const* outputs;
  void* workspace;                 // Kernel::workspace() bytes, undefined contents, 64-byte aligned
  void* persistent;                // Kernel::persistent() bytes, zero at first, that keep their contents between runs
  const uint64_t* input_versions;  // for parameters: changes whenever the contents may have changed; 0 for other values
};

// How an instruction can be divided by the rows (axis 0) of its results, so that several in a row run without waiting for one another:
// part p of P makes rows R p / P to R (p + 1) / P of every output, from the same rows of some inputs and from the whole of the others.
struct RowSplit {
  int64_t rows = 0;           // R; 0 where it cannot be divided so
  int parts = 1;              // P
  std::vector<bool> by_rows;  // by input: only the part's own rows are read
  size_t workspace = 0;       // of one part, which has it to itself
};

// One instruction made ready for given shapes and layouts. run() allocates nothing and is called from one thread at a time.
class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual size_t workspace() const { return 0; }
  virtual size_t persistent() const { return 0; }
  virtual void run(const KernelArgs& args) = 0;
  // Instead of run(): begin_rows() once, then run_rows() for each part, from any threads, with the part's own workspace.
  virtual RowSplit row_split() const { return {}; }
  virtual void begin_rows(const KernelArgs&) {}
  virtual void run_rows(const KernelArgs&, int /*part*/) {}
  // Appended to the op's name in statistics, for what must be seen to be used: "bf16".
  virtual const char* kind() const { return ""; }
};

// Work that a device has written down while it was given, to be done again over the same memory.
class Recording {
 public:
  virtual ~Recording() = default;
  virtual void replay() = 0;
};

// Many rounds of one plan as one piece of work. Memory: the plan's inputs by position, then its constants. A round overwrites the inputs that it was made
// to carry, and the next one reads them; what else the plan computes is left out.
class RepeatedPlan {
 public:
  virtual ~RepeatedPlan() = default;
  virtual void prepare() = 0;  // before the first run and outside of recordings: compiles code, takes memory. Again: does nothing
  virtual void run(const std::vector<void*>& memory, uint64_t rounds) = 0;
  virtual uint64_t kernels() const = 0;  // of one run
};

struct DecodedPlan;

struct DeviceMemory {
  size_t used = 0, peak = 0;   // bytes that this process has asked for, now and at most so far
  size_t free = 0, total = 0;  // of the device; 0 where it does not tell
};

// All functions but allocate, release, memory, name and make_repeated are called on the worker thread only.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual const char* name() const = 0;  // "cpu", "cuda:0"

  virtual void* allocate(size_t bytes) = 0;  // zeros, 64-byte aligned at least; throws std::bad_alloc
  virtual void release(void* memory, size_t bytes) = 0;
  virtual DeviceMemory memory() = 0;
  virtual void copy_in(void* device, const void* host, size_t bytes) = 0;
  virtual void copy_out(void* host, const void* device, size_t bytes) = 0;
  virtual void copy(void* to, const void* from, size_t bytes) = 0;
  // n float32 scalars of different places: one wait for all, where waiting costs.
  virtual void copy_out_scalars(float* host, const void* const* device, size_t n) {
    for (size_t i = 0; i < n; ++i) copy_out(host + i, device[i], sizeof(float));
  }
  virtual void synchronize() = 0;  // returns when all work is done; a failure of that work is thrown here, or by a copy_out

  // A device that queues its work (kernels, copy()) can record what it is given between these two instead of doing it. Neither waiting nor
  // copy_in/copy_out may stand between them. end_recording() returns null where the device refuses; nothing has then been done.
  virtual bool records() const { return false; }
  virtual void begin_recording() {}
  virtual std::unique_ptr<Recording> end_recording() { return nullptr; }

  // carried: by output, the input whose memory it overwrites in each round, or -1. Null where the device would rather run the plan again and again, which
  // depends on the plan alone. Any thread. Devices that never do so say so at once.
  virtual bool repeats() const { return false; }
  virtual std::unique_ptr<RepeatedPlan> make_repeated(const DecodedPlan&, const std::vector<int>& /*carried*/) { return nullptr; }

  // Given the layouts in which the inputs exist (in `instruction.inputs[i].layout`), sets there the layouts the kernel wants
  // and in `instruction.outputs[i].layout` those it will produce. The runtime inserts reorders where wanted and existing differ.
  virtual void choose_layouts(Instruction& instruction) = 0;
  virtual std::unique_ptr<Kernel> make_kernel(const Instruction& instruction) = 0;
  virtual std::unique_ptr<Kernel> make_reorder(const TensorDesc& from, const TensorDesc& to) = 0;
  // Called after the last kernel of a plan has been made: what they have in common is done here (code compiled at once, ...).
  virtual void finish_kernels() {}
  // The processor feature that bfloat16 needs and this device lacks; empty where it can.
  virtual std::string missing_for_bfloat16() = 0;
  // May this input (layouts plain, `bfloat16` set) come as bfloat16?
  virtual HalfUse half_use(const Instruction& instruction, int input) = 0;
  // True where the kernel may write outputs[o] over inputs[i] (element for element in place).
  virtual bool in_place(const Instruction& instruction, int input, int output) = 0;
};

Backend& cpu_backend();

}  // namespace langevin
