// Fused loops on CUDA: the layouts they want, and the kernel that launches what loop_code.cc wrote.
//
// Layouts: all full-shape images of a loop lie in one order, that of the first one which is there with the channels last. Operands that broadcast
// are read as they lie. A shape with one channel, or one place, is the same in both orders, and nothing is moved for it.
#include <algorithm>

#include "cuda/half_use.h"
#include "cuda/kernels/args_loop.h"
#include "cuda/launch.h"
#include "cuda/loop_code.h"
#include "cuda/loop_space.h"
#include "cuda/ops.h"

namespace langevin {

namespace {

bool is_full(const TensorDesc& t, const LoopProgram& p) { return t.shape == p.shape; }

// The order of a loop's full-shape images.
bool wants_channels_last(const Instruction& in, const LoopProgram& p) {
  if (p.shape.size() != 4) return false;
  bool any = false, all = true;
  for (const TensorDesc& t : in.inputs) {
    if (!is_full(t, p)) continue;
    if (t.dtype != DType::F32) return false;
    if (is_channels_last(t.layout)) any = true;
    else all = false;
  }
  for (size_t i = 0; i < p.outputs.size(); ++i) {
    if (p.outputs[i].reduce == Reduce::None && in.outputs[i].dtype != DType::F32) return false;
  }
  return same_in_both_orders(p.shape) ? any && all : any;
}

Layout order(bool channels_last) { return channels_last ? Layout::ChannelsLast : Layout::Plain; }

struct LoopPointers {
  void* at[kMostLoopPointers];
};

class CudaLoopKernel : public Kernel {
 public:
  CudaLoopKernel(const Instruction& in, const LoopProgram& program, CudaDevice& device)
      : device_(device), code_(cuda_loop_code(in, program)), inputs_(in.inputs.size()), outputs_(in.outputs.size()) {
    if (code_.blocks > 0) device_.add_source(code_.name, code_.text);
    if (code_.by_table) pointers_.resize(inputs_ + outputs_ + 1);
    else pointers_.resize(kMostLoopPointers);
    table_ = (code_.workspace + 63) / 64 * 64;
  }

  size_t workspace() const override { return code_.by_table ? table_ + pointers_.size() * sizeof(void*) : code_.workspace; }

  void run(const KernelArgs& args) override {
    if (code_.blocks > 0) main_stage(args);
    if (code_.results == 0) return;
    for (size_t first = 0; first < code_.folds.size(); first += kFolds) second_stage(args, first);
  }

 private:
  void main_stage(const KernelArgs& args) {
    if (function_ == nullptr) function_ = device_.source_kernel(code_.name);
    for (size_t i = 0; i < inputs_; ++i) pointers_[i] = const_cast<void*>(args.inputs[i]);
    for (size_t i = 0; i < outputs_; ++i) pointers_[inputs_ + i] = args.outputs[i];
    pointers_[inputs_ + outputs_] = args.workspace;
    const Extent grid{static_cast<unsigned>(code_.blocks)}, block{static_cast<unsigned>(kLoopThreads)};
    if (code_.by_table) {
      void* const table = write_table(args);
      return launch(device_, function_, grid, block, code_.shared, table);
    }
    // The driver reads as many of them as the kernel declares.
    launch(device_, function_, grid, block, code_.shared, *reinterpret_cast<const LoopPointers*>(pointers_.data()));
  }

  void* write_table(const KernelArgs& args) {
    if (table_function_ == nullptr) table_function_ = device_.kernel("langevin_loop_table");
    void** const table = reinterpret_cast<void**>(static_cast<char*>(args.workspace) + table_);
    for (size_t first = 0; first < pointers_.size(); first += kTablePart) {
      LoopTableArgs part{};
      part.to = table + first;
      part.count = static_cast<int64_t>(std::min<size_t>(kTablePart, pointers_.size() - first));
      std::copy_n(pointers_.begin() + static_cast<std::ptrdiff_t>(first), part.count, part.at);
      launch(device_, table_function_, Extent{}, Extent{kTablePart}, 0, part);
    }
    return table;
  }

  static FoldKind kind_of(const LoopFold& f) {
    const bool real = f.type == RegisterType::F32;
    if (f.reduce == Reduce::Sum) return real ? FoldKind::SumFloat : FoldKind::SumInt;
    if (f.reduce == Reduce::Max) return real ? FoldKind::MaxFloat : FoldKind::MaxInt;
    return real ? FoldKind::MinFloat : FoldKind::MinInt;
  }

  void second_stage(const KernelArgs& args, size_t first) {
    if (fold_function_ == nullptr) fold_function_ = device_.kernel("langevin_loop_fold");
    const size_t count = std::min<size_t>(kFolds, code_.folds.size() - first);
    LoopFoldArgs fold{};
    fold.results = code_.results;
    fold.slices = code_.slices;
    fold.across = 1;
    while (fold.across < 32 && fold.across < code_.results) fold.across *= 2;
    fold.blocks = (code_.results + fold.across - 1) / fold.across;
    for (size_t i = 0; i < count; ++i) {
      const LoopFold& f = code_.folds[first + i];
      fold.folds[i] = {static_cast<const char*>(args.workspace) + f.offset, args.outputs[f.output], kind_of(f)};
    }
    const Extent grid{static_cast<unsigned>(fold.blocks * static_cast<int64_t>(count))};
    launch(device_, fold_function_, grid, Extent{kBlockThreads}, kBlockThreads * sizeof(double), fold);
  }

  CudaDevice& device_;
  const CudaLoopCode code_;
  const size_t inputs_, outputs_;
  size_t table_ = 0;  // where in the workspace the table of pointers is
  std::vector<void*> pointers_;
  CUfunction function_ = nullptr, table_function_ = nullptr, fold_function_ = nullptr;  // found at the first run
};

}  // namespace

void cuda_layout_loop(Instruction& in) {
  const LoopProgram p = decode_loop(in);
  const bool last = wants_channels_last(in, p), either = same_in_both_orders(p.shape);
  for (TensorDesc& t : in.inputs) {
    const bool moves = is_full(t, p) && !either && is_channels_last(t.layout) != last;
    if (moves) t.layout = order(last);
    else if (!is_full(t, p)) t.layout = full_layout(t.layout);
  }
  for (size_t i = 0; i < in.outputs.size(); ++i) {
    Layout& layout = in.outputs[i].layout;
    const bool full = p.outputs[i].reduce == Reduce::None;
    layout = order(full && last);
    const bool half = full && in.bfloat16 && in.outputs[i].dtype == DType::F32 && in.half_outputs[i] == HalfUse::Wanted;
    if (half) layout = half_layout(layout);
  }
}

HalfUse cuda_loop_half_use(const Instruction& in, int input) { return loop_half_use(in, input); }

// A thread reads all operands of its elements before it writes any result of them, and each element is one thread's.
bool cuda_in_place_loop(const Instruction& in, int input, int output) {
  const LoopProgram p = decode_loop(in);
  const TensorDesc& a = in.inputs[static_cast<size_t>(input)];
  const TensorDesc& b = in.outputs[static_cast<size_t>(output)];
  if (p.outputs[static_cast<size_t>(output)].reduce != Reduce::None || a.dtype != b.dtype || !is_full(a, p)) return false;
  return is_half(a.layout) == is_half(b.layout) && (a.layout == b.layout || same_in_both_orders(p.shape));
}

std::unique_ptr<Kernel> cuda_make_loop(const Instruction& instruction, CudaDevice& device) {
  return std::make_unique<CudaLoopKernel>(instruction, decode_loop(instruction), device);
}

}  // namespace langevin
