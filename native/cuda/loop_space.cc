// See loop_space.h.
#include "cuda/loop_space.h"

#include <algorithm>

namespace langevin {

namespace {

constexpr int64_t kEnoughBlocks = 1024;   // that fill any present device; a constant, so that sums do not depend on the device
constexpr int64_t kLeastTerms = 8;        // units of terms a thread should have before more blocks share them
constexpr int64_t kNarrow = 32;           // threads side by side that read whole lines of memory
constexpr size_t kHeavyBody = 256;        // instructions or operands from which a thread has enough to do with one element

int64_t up(int64_t n, int64_t d) { return (n + d - 1) / d; }

int64_t power_of_two(int64_t n) {  // the least that is not below n
  int64_t p = 1;
  while (p < n) p *= 2;
  return p;
}

class Mapper {
 public:
  Mapper(const Instruction& in, const LoopProgram& p) : in_(in), p_(p) {}

  CudaLoopSpace map() {
    order();
    walks();
    merge();
    finish_walks();
    choose_vector();
    divide();
    return std::move(s_);
  }

 private:
  // All axes in memory order, size 1 included: walks() fills strides by axis, merge() leaves what is needed.
  void order() {
    const int rank = static_cast<int>(p_.shape.size());
    axes_.resize(p_.shape.size());
    for (int i = 0; i < rank; ++i) axes_[static_cast<size_t>(i)] = i;
    if (loop_channels_last(in_, p_)) axes_ = {0, 2, 3, 1};
    int64_t linear = 1;
    s_.dims.resize(axes_.size());
    for (size_t d = axes_.size(); d-- > 0;) {
      const int axis = axes_[d];
      s_.dims[d].size = p_.shape[static_cast<size_t>(axis)];
      s_.dims[d].reduced = std::binary_search(p_.axes.begin(), p_.axes.end(), axis);
      s_.dims[d].linear = linear;
      linear *= s_.dims[d].size;
      (s_.dims[d].reduced ? s_.reduced : s_.kept) *= s_.dims[d].size;
    }
    for (const LoopOutput& o : p_.outputs) s_.reduces = s_.reduces || o.reduce != Reduce::None;
    if (!s_.reduces) {
      s_.kept = linear;
      s_.reduced = 1;
      for (CudaLoopDim& d : s_.dims) d.reduced = false;
    }
    s_.wide = linear >= int64_t{1} << 31;
  }

  // By dimension, from strides by axis of the loop's shape.
  CudaLoopWalk walk(const Shape& by_axis) const {
    CudaLoopWalk w;
    for (int axis : axes_) w.stride.push_back(by_axis[static_cast<size_t>(axis)]);
    return w;
  }

  CudaLoopWalk operand_walk(const TensorDesc& t) const {
    const size_t rank = t.shape.size(), offset = p_.shape.size() - rank;
    std::vector<size_t> memory(rank);
    for (size_t i = 0; i < rank; ++i) memory[i] = i;
    if (is_channels_last(t.layout)) memory = {0, 2, 3, 1};
    Shape stride(p_.shape.size(), 0);
    int64_t n = 1;
    for (size_t i = rank; i-- > 0;) {
      const size_t axis = memory[i];
      if (t.shape[axis] != 1) stride[offset + axis] = n;
      n *= t.shape[axis];
    }
    return walk(stride);
  }

  void walks() {
    for (const TensorDesc& t : in_.inputs) s_.inputs.push_back(operand_walk(t));
    for (const LoopEntry& e : p_.entries) {
      Shape stride(p_.shape.size(), 0);
      if (e.op == LoopOp::iota) stride[static_cast<size_t>(e.int_value)] = 1;
      s_.entries.push_back(walk(stride));
    }
    for (size_t i = 0; i < p_.outputs.size(); ++i) {
      const bool full = p_.outputs[i].reduce == Reduce::None;
      s_.outputs.push_back(full ? operand_walk(in_.outputs[i]) : walk(Shape(p_.shape.size(), 0)));
    }
    Shape stride(p_.shape.size(), 0);
    int64_t n = 1;
    for (size_t axis = p_.shape.size(); axis-- > 0;) {
      if (!s_.reduces || std::binary_search(p_.axes.begin(), p_.axes.end(), static_cast<int>(axis))) continue;
      stride[axis] = n;
      n *= p_.shape[axis];
    }
    s_.result = walk(stride);
  }

  std::vector<CudaLoopWalk*> all_walks() {
    std::vector<CudaLoopWalk*> all = {&s_.result};
    for (auto* list : {&s_.inputs, &s_.entries, &s_.outputs}) {
      for (CudaLoopWalk& w : *list) all.push_back(&w);
    }
    return all;
  }

  void merge() {
    const std::vector<CudaLoopWalk*> all = all_walks();
    const std::vector<CudaLoopDim> dims = std::move(s_.dims);
    std::vector<std::vector<int64_t>> from;
    for (CudaLoopWalk* w : all) from.push_back(std::move(w->stride));
    s_.dims.clear();
    for (CudaLoopWalk* w : all) w->stride.clear();
    for (size_t d = 0; d < dims.size(); ++d) {
      if (dims[d].size == 1) continue;
      bool joins = !s_.dims.empty() && s_.dims.back().reduced == dims[d].reduced;
      for (size_t w = 0; joins && w < all.size(); ++w) joins = all[w]->stride.back() == from[w][d] * dims[d].size;
      if (joins) {
        s_.dims.back().size *= dims[d].size;
        s_.dims.back().linear = dims[d].linear;
      } else {
        s_.dims.push_back(dims[d]);
      }
      for (size_t w = 0; w < all.size(); ++w) {
        if (joins) all[w]->stride.back() = from[w][d];
        else all[w]->stride.push_back(from[w][d]);
      }
    }
  }

  void finish_walks() {
    for (CudaLoopWalk* w : all_walks()) {
      w->linear = w->uniform = true;
      for (size_t d = 0; d < s_.dims.size(); ++d) {
        w->linear = w->linear && w->stride[d] == s_.dims[d].linear;
        w->uniform = w->uniform && w->stride[d] == 0;
      }
      if (w->uniform) w->linear = false;
    }
  }

  void choose_vector() {
    s_.rows = !s_.dims.empty() && s_.dims.back().reduced;
    const bool heavy = p_.entries.size() >= kHeavyBody || in_.inputs.size() + in_.outputs.size() >= kHeavyBody;
    if (heavy || s_.dims.empty()) return;
    for (int64_t v : {4, 2}) {
      if (s_.dims.back().size % v != 0) continue;
      s_.vector = v;
      return;
    }
  }

  // Which threads do what, for kLoopThreads in a block. Depends on shapes alone.
  void divide() {
    const int64_t results = s_.result_units(), terms = s_.term_units();
    if (results == 0 || terms == 0) {
      s_.blocks = 0;
      return;
    }
    const int64_t share = power_of_two(up(terms, 4));  // a few units a thread where there are few
    const int64_t most = s_.rows ? kLoopThreads : kLoopThreads / std::min(kNarrow, power_of_two(results));
    s_.along = std::min(share, most);
    s_.across = kLoopThreads / s_.along;
    s_.blocks = up(results, s_.across);
    const int64_t slices = std::min(kEnoughBlocks / s_.blocks, terms / (s_.along * kLeastTerms));
    s_.slice_units = slices > 1 ? up(terms, slices) : terms;
    s_.slices = up(terms, s_.slice_units);
  }

  const Instruction& in_;
  const LoopProgram& p_;
  std::vector<int> axes_;  // of the loop's shape, in memory order
  CudaLoopSpace s_;
};

}  // namespace

bool same_in_both_orders(const Shape& shape) { return shape.size() == 4 && (shape[1] == 1 || shape[2] * shape[3] == 1); }

bool loop_channels_last(const Instruction& in, const LoopProgram& p) {
  if (p.shape.size() != 4 || same_in_both_orders(p.shape)) return false;
  const auto last = [&](const TensorDesc& t) { return t.shape == p.shape && is_channels_last(t.layout); };
  return std::any_of(in.inputs.begin(), in.inputs.end(), last) || std::any_of(in.outputs.begin(), in.outputs.end(), last);
}

CudaLoopSpace cuda_loop_space(const Instruction& instruction, const LoopProgram& program) { return Mapper(instruction, program).map(); }

}  // namespace langevin
