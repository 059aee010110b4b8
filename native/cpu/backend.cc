// The CPU as a backend: memory, and dispatch to the functions of ops/registry.h. The kernels stand in the files beside this one.
#include "runtime/backend.h"

#include <dnnl.h>
#include <hwy/highway.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

#include "cpu/bfloat16.h"
#include "cpu/info.h"
#include "cpu/loop_jit.h"
#include "ops/registry.h"

namespace langevin {

namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugePage = size_t{2} << 20;

// Bytes of the machine's memory; both 0 where it does not tell.
void machine_memory(size_t* free, size_t* total) {
  *free = *total = 0;
#if defined(__linux__)
  const auto pages = sysconf(_SC_PHYS_PAGES), available = sysconf(_SC_AVPHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  if (pages <= 0 || available < 0 || page <= 0) return;
  *free = static_cast<size_t>(available) * static_cast<size_t>(page);
  *total = static_cast<size_t>(pages) * static_cast<size_t>(page);
#endif
}

// More than the machine has is refused here: an overcommitting kernel would grant it and kill the process at first use.
bool fits_machine(size_t bytes) {
  size_t free = 0, total = 0;
  machine_memory(&free, &total);
  return bytes < (total > 0 ? total : size_t{1} << 46);
}

class CpuBackend final : public Backend {
 public:
  const char* name() const override { return "cpu"; }

  // calloc gives large blocks as untouched zero pages, so a new tensor costs nothing until it is written. The block's own
  // address is kept in front of the aligned one.
  void* allocate(size_t bytes) override {
    if (!fits_machine(bytes)) throw std::bad_alloc();
    const size_t alignment = bytes >= 2 * kHugePage ? kHugePage : kAlignment;
    void* block = std::calloc(bytes + alignment + sizeof(void*), 1);
    if (block == nullptr) throw std::bad_alloc();
    const auto start = reinterpret_cast<uintptr_t>(block) + sizeof(void*);
    const auto aligned = (start + alignment - 1) & ~(static_cast<uintptr_t>(alignment) - 1);
    reinterpret_cast<void**>(aligned)[-1] = block;
    const size_t used = used_ += bytes;
    for (size_t peak = peak_; used > peak && !peak_.compare_exchange_weak(peak, used);) {}
#if defined(__linux__)
    if (alignment == kHugePage) madvise(reinterpret_cast<void*>(aligned), bytes & ~(kHugePage - 1), MADV_HUGEPAGE);
#endif
    return reinterpret_cast<void*>(aligned);
  }
  void release(void* memory, size_t bytes) override {
    if (memory == nullptr) return;
    std::free(static_cast<void**>(memory)[-1]);
    used_ -= bytes;
  }
  DeviceMemory memory() override {
    DeviceMemory memory;
    memory.used = used_;
    memory.peak = peak_;
    machine_memory(&memory.free, &memory.total);
    return memory;
  }

  void copy_in(void* device, const void* host, size_t bytes) override { move(device, host, bytes); }
  void copy_out(void* host, const void* device, size_t bytes) override { move(host, device, bytes); }
  void copy(void* to, const void* from, size_t bytes) override { move(to, from, bytes); }
  void synchronize() override {}

  std::string missing_for_bfloat16() override { return bf16_available() ? "" : "AVX512-BF16 (avx512_bf16)"; }
  HalfUse half_use(const Instruction& instruction, int input) override {
    switch (instruction.op) {
      case op_loop: return loop_half_use(instruction, input);
      case op_slice: return slice_half_use(instruction, input);
      case op_matmul: return matmul_half_use(instruction, input);
      case op_conv2d:
      case op_conv2d_input_grad:
      case op_conv2d_weight_grad: return conv_half_use(instruction, input);
      default: return HalfUse::No;
    }
  }
  void choose_layouts(Instruction& instruction) override {
    const bool knows_half = instruction.op == op_loop || instruction.op == op_matmul || instruction.op == op_slice;
    for (TensorDesc& t : instruction.inputs) {
      if (!knows_half) t.layout = full_layout(t.layout);
    }
    op_entry(instruction.op).layout(instruction);
  }
  std::unique_ptr<Kernel> make_kernel(const Instruction& instruction) override { return op_entry(instruction.op).make(instruction); }
  std::unique_ptr<Kernel> make_reorder(const TensorDesc& from, const TensorDesc& to) override { return make_reorder_kernel(from, to); }
  bool in_place(const Instruction& instruction, int input, int output) override {
    return op_entry(instruction.op).in_place(instruction, input, output);
  }

 private:
  static void move(void* to, const void* from, size_t bytes) {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }

  std::atomic<size_t> used_{0}, peak_{0};
};

}  // namespace

Backend& cpu_backend() {
  static CpuBackend* backend = new CpuBackend;  // never destroyed: tensors may outlive static objects
  return *backend;
}

std::string cpu_isa() {
  const auto targets = static_cast<int64_t>(hwy::SupportedTargets());
  return hwy::TargetName(targets & -targets);  // the best supported target has the lowest bit
}

bool machine_code() { return jit_supports(LoopOp::add_op, RegisterType::F32); }

std::string dnnl_version_text() {
  const dnnl_version_t* v = dnnl_version();
  return std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
}

}  // namespace langevin
