// Reorders of float32 activations between row-major and channel-blocked layouts. oneDNN's own formats (padded channels, weights) are not
// met here. Between float32 and bfloat16 only the precision changes (Lowering does one thing at a time).
#include <algorithm>

#include "cpu/bfloat16.h"
#include "cpu/strided_copy.h"
#include "ops/registry.h"

namespace langevin {

namespace {

// Strides of [N, C/b, b, H*W] in a layout with blocks of `block` (1: row-major), C seen in pieces of b.
Shape strides_of(const TensorDesc& t, int64_t b) {
  const int64_t area = t.shape[2] * t.shape[3], c = t.shape[1], own = block_of(t.layout);
  if (own == 1) return {c * area, b * area, area, 1};
  if (own == b) return {c * area, b * area, 1, b};
  return {};  // not reached: see make_reorder_kernel
}

class ReorderKernel : public Kernel {
 public:
  explicit ReorderKernel(const StridedCopy& copy) : copy_(copy) {}
  void run(const KernelArgs& args) override { copy_.run(args.inputs[0], args.outputs[0]); }

 private:
  StridedCopy copy_;
};

class PrecisionKernel : public Kernel {
 public:
  PrecisionKernel(int64_t size, bool to_half) : size_(size), to_half_(to_half) {}
  void run(const KernelArgs& args) override {
    const char* from = static_cast<const char*>(args.inputs[0]);
    char* to = static_cast<char*>(args.outputs[0]);
    const int64_t pieces = (size_ + kPiece - 1) / kPiece;
#pragma omp parallel for schedule(static) if (pieces > 4)
    for (int64_t p = 0; p < pieces; ++p) {
      const int64_t start = p * kPiece;
      const size_t n = static_cast<size_t>(std::min(kPiece, size_ - start));
      if (to_half_) bf16_store(from + start * 4, nullptr, nullptr, to + start * 2, n);
      else bf16_load(from + start * 2, nullptr, nullptr, to + start * 4, n);
    }
  }

 private:
  static constexpr int64_t kPiece = 4096;
  int64_t size_;
  bool to_half_;
};

// Between blocks of 8 and 16: [N, C/16, 2, 8, H*W] in both.
StridedCopy between_blocks(const TensorDesc& from, const TensorDesc& to) {
  const int64_t area = from.shape[2] * from.shape[3], c = from.shape[1];
  const Shape box = {from.shape[0], c / 16, 2, 8, area};
  const Shape eight = {c * area, 16 * area, 8 * area, 1, 8}, sixteen = {c * area, 16 * area, 8, 1, 16};
  const bool widen = block_of(from.layout) == 8;
  return StridedCopy(box, widen ? eight : sixteen, widen ? sixteen : eight, bytes_of(to.dtype));
}

}  // namespace

std::unique_ptr<Kernel> make_reorder_kernel(const TensorDesc& from, const TensorDesc& to) {
  const int64_t a = block_of(from.layout), b = block_of(to.layout), block = a > b ? a : b;
  if (from.shape != to.shape || from.dtype != to.dtype || (block > 1 && (from.shape.size() != 4 || from.shape[1] % block != 0))) {
    throw PlanError("internal: no reorder from " + to_string(from) + " to " + to_string(to));
  }
  if (is_half(from.layout) != is_half(to.layout) && full_layout(from.layout) == full_layout(to.layout) && from.dtype == DType::F32) {
    return std::make_unique<PrecisionKernel>(from.size(), is_half(to.layout));
  }
  if (is_half(from.layout) || is_half(to.layout)) throw PlanError("internal: no reorder from " + to_string(from) + " to " + to_string(to));
  const size_t element = bytes_of(from.dtype);
  if (a == b) return std::make_unique<ReorderKernel>(StridedCopy({from.size()}, {1}, {1}, element));
  if (a > 1 && b > 1) return std::make_unique<ReorderKernel>(between_blocks(from, to));
  const Shape box = {from.shape[0], from.shape[1] / block, block, from.shape[2] * from.shape[3]};
  return std::make_unique<ReorderKernel>(StridedCopy(box, strides_of(from, block), strides_of(to, block), element));
}

}  // namespace langevin
