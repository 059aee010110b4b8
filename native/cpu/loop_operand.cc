// See loop_operand.h.
#include "cpu/loop_operand.h"

#include <algorithm>
#include <cstring>

namespace langevin {

namespace {

constexpr size_t kMaxDims = 16;

// Strides along the axes of the iteration shape, 0 where the operand is stretched or absent.
Walk merge(const LoopSpace& space, const std::vector<int64_t>& strides) {
  Walk w;
  for (size_t i = 0; i < space.dims.size(); ++i) {
    if (space.dims[i] == 1) continue;
    const int64_t size = space.dims[i], stride = strides[i];
    if (!w.sizes.empty() && w.strides.back() == stride * size) {
      w.sizes.back() *= size;
      w.strides.back() = stride;
    } else {
      w.sizes.push_back(size);
      w.strides.push_back(stride);
    }
  }
  if (w.sizes.size() == 1 && w.strides[0] == 0) w = Walk();
  return w;
}

template <class S>
void copy_run(const LoopTable& table, const S* from, int64_t stride, int64_t n, uint32_t* out) {
  if (stride == 0) {
    const uint32_t value = *from;
    table.fill(&value, nullptr, nullptr, out, static_cast<size_t>(n));
  } else if (stride == 1) {
    if (sizeof(S) == 4) std::memcpy(out, from, static_cast<size_t>(n) * 4);
    else table.load_bytes(from, nullptr, nullptr, out, static_cast<size_t>(n));
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = from[i * stride];
  }
}

// n elements of the endless repetition of `period` elements, from `phase` on: one period, then copies of what is there.
template <class S>
void repeat_run(const LoopTable& table, const S* from, int64_t stride, int64_t period, int64_t phase, int64_t n, uint32_t* out) {
  const int64_t head = std::min(n, period - phase);
  copy_run(table, from + phase * stride, stride, head, out);
  const int64_t rest = std::min(n - head, phase);
  if (rest > 0) copy_run(table, from, stride, rest, out + head);
  for (int64_t have = period; have < n;) {
    const int64_t more = std::min(have, n - have);
    std::memcpy(out + have, out, static_cast<size_t>(more) * 4);
    have += more;
  }
}

template <class S>
class Expander {
 public:
  Expander(const LoopTable& table, const Walk& walk, const void* base) : table_(table), w_(walk), base_(static_cast<const S*>(base)) {
    // The innermost `inner_` dimensions form one run: a stretch of one stride, possibly repeated.
    const size_t rank = w_.sizes.size();
    period_ = w_.sizes[rank - 1];
    stride_ = w_.strides[rank - 1];
    run_ = period_;
    outer_ = rank - 1;
    if (rank >= 2 && w_.strides[rank - 2] == 0) {
      run_ *= w_.sizes[rank - 2];
      outer_ = rank - 2;
    }
  }

  const void* expand(int64_t start, int64_t n, uint32_t* out, ExpansionCache* cache) {
    uint32_t* const begin = out;
    locate(start);
    if (sizeof(S) == 4 && stride_ == 1 && n <= period_ - position_ % period_) return base_ + offset_ + position_ % period_;
    if (n <= run_ - position_ && (stride_ == 0 || run_ != period_)) {  // within one run of a broadcast: perhaps there already
      const int64_t phase = stride_ == 0 ? 0 : position_ % period_;
      const S* source = base_ + offset_;
      if (cache->source == source && cache->phase == phase && cache->length >= n) return begin;
      *cache = {source, phase, n};
    } else {
      cache->source = nullptr;
    }
    while (n > 0) {
      const int64_t length = std::min(n, run_ - position_);
      if (run_ != period_) repeat_run(table_, base_ + offset_, stride_, period_, position_ % period_, length, out);
      else copy_run(table_, base_ + offset_ + position_ * stride_, stride_, length, out);
      out += length;
      n -= length;
      if (n > 0) next_run();
    }
    return begin;
  }

 private:
  void locate(int64_t start) {
    position_ = start % run_;
    int64_t rest = start / run_;
    offset_ = 0;
    for (size_t i = outer_; i-- > 0;) {
      index_[i] = rest % w_.sizes[i];
      rest /= w_.sizes[i];
      offset_ += index_[i] * w_.strides[i];
    }
  }

  void next_run() {
    position_ = 0;
    for (size_t i = outer_; i-- > 0;) {
      offset_ += w_.strides[i];
      if (++index_[i] < w_.sizes[i]) return;
      offset_ -= w_.sizes[i] * w_.strides[i];
      index_[i] = 0;
    }
  }

  const LoopTable& table_;
  const Walk& w_;
  const S* base_;
  int64_t period_, stride_, run_, position_ = 0, offset_ = 0;
  size_t outer_;
  int64_t index_[kMaxDims];
};

}  // namespace

LoopSpace make_space(const Shape& shape, int block) {
  LoopSpace s;
  s.block = block;
  for (size_t i = 0; i < shape.size(); ++i) {
    s.dims.push_back(block > 1 && i == 1 ? shape[i] / block : shape[i]);
    s.axis_of.push_back(static_cast<int>(i));
  }
  if (block > 1) {
    s.dims.push_back(block);
    s.axis_of.push_back(1);
  }
  for (int64_t d : s.dims) s.total *= d;
  return s;
}

Walk make_walk(const LoopSpace& space, const Shape& shape, const TensorDesc& operand) {
  const size_t rank = shape.size(), own = operand.shape.size();
  const int64_t own_block = block_of(operand.layout);
  std::vector<int64_t> strides(space.dims.size(), 0);
  // Strides of the operand's own axes; for a blocked one (rank 4) those of [N, C/b, H, W, b].
  std::vector<int64_t> own_strides(own, 0);
  int64_t step = own_block;
  for (size_t i = own; i-- > 0;) {
    if (own_block > 1 && i == 1) continue;
    if (own_block > 1 && i == 0) {
      own_strides[1] = step;
      step *= operand.shape[1] / own_block;
    }
    own_strides[i] = step;
    step *= operand.shape[i];
  }
  for (size_t i = 0; i < own; ++i) {
    const size_t axis = rank - own + i;
    if (operand.shape[i] == 1) continue;
    if (space.block > 1 && axis == 1) {
      strides[1] = own_block > 1 ? own_strides[i] : own_strides[i] * space.block;
      strides[4] = own_block > 1 ? 1 : own_strides[i];
    } else {
      strides[axis] = own_strides[i];
    }
  }
  return merge(space, strides);
}

Walk make_iota_walk(const LoopSpace& space, const Shape& shape, int axis) {
  std::vector<int64_t> strides(space.dims.size(), 0);
  if (shape[static_cast<size_t>(axis)] != 1) {
    const bool split = space.block > 1 && axis == 1;
    strides[static_cast<size_t>(axis)] = split ? space.block : 1;
    if (split) strides[4] = 1;
  }
  return merge(space, strides);
}

const void* expand_operand(const LoopTable& table, const Walk& walk, const void* base, int bytes, int64_t start, int64_t n, void* out,
                           ExpansionCache* cache) {
  if (bytes == 4) return Expander<uint32_t>(table, walk, base).expand(start, n, static_cast<uint32_t*>(out), cache);
  return Expander<uint8_t>(table, walk, base).expand(start, n, static_cast<uint32_t*>(out), cache);
}

}  // namespace langevin
