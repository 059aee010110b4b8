// See strided_copy.h. Three inner loops: rows contiguous on both sides (memcpy), transposed tiles (one axis contiguous in the source,
// another in the destination: tiles of 32 x 32 keep both in cache lines), and scattered elements.
#include "cpu/strided_copy.h"

#include <algorithm>
#include <cstring>
#include <vector>

#ifdef __SSE2__
#include <xmmintrin.h>
#endif

namespace langevin {

namespace {

constexpr int64_t kTile = 32;
constexpr int64_t kParallelFrom = 32768;  // elements; below, a team costs more than it gives
constexpr int64_t kPiece = 16384;         // elements of a long row that one thread takes at a time

struct Axis {
  int64_t size, from, to;
};

// Drops axes of size 1 and merges those that run on: in both arrays the outer stride is the inner one's extent.
std::vector<Axis> collapse(const Shape& box, const Shape& from, const Shape& to) {
  std::vector<Axis> axes;
  for (size_t i = 0; i < box.size(); ++i) {
    if (box[i] == 1) continue;
    const Axis next{box[i], from[i], to[i]};
    if (!axes.empty() && axes.back().from == next.from * next.size && axes.back().to == next.to * next.size) {
      axes.back() = {axes.back().size * next.size, next.from, next.to};
    } else {
      axes.push_back(next);
    }
  }
  return axes;
}

// Transposes one tile: rows x columns, rows contiguous in `from`, columns contiguous in `to`.
template <class T>
inline void transpose_tile(const T* from, T* to, int64_t rows, int64_t columns, int64_t from_stride, int64_t to_stride) {
  for (int64_t r = 0; r < rows; ++r) {
    T* out = to + r * to_stride;
    const T* in = from + r;
    for (int64_t c = 0; c < columns; ++c) out[c] = in[c * from_stride];
  }
}

#ifdef __SSE2__
// Four-byte elements: 4 x 4 blocks in registers.
inline void transpose_tile(const uint32_t* from, uint32_t* to, int64_t rows, int64_t columns, int64_t from_stride, int64_t to_stride) {
  const int64_t whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
  for (int64_t r = 0; r < whole_rows; r += 4) {
    for (int64_t c = 0; c < whole_columns; c += 4) {
      const auto load = [&](int64_t i) { return _mm_loadu_ps(reinterpret_cast<const float*>(from + r + (c + i) * from_stride)); };
      const auto store = [&](int64_t i, __m128 v) { _mm_storeu_ps(reinterpret_cast<float*>(to + (r + i) * to_stride + c), v); };
      __m128 a0 = load(0), a1 = load(1), a2 = load(2), a3 = load(3);
      _MM_TRANSPOSE4_PS(a0, a1, a2, a3);
      store(0, a0), store(1, a1), store(2, a2), store(3, a3);
    }
  }
  transpose_tile<uint32_t>(from + whole_columns * from_stride, to + whole_columns, rows, columns - whole_columns, from_stride, to_stride);
  transpose_tile<uint32_t>(from + whole_rows, to + whole_rows * to_stride, rows - whole_rows, whole_columns, from_stride, to_stride);
}
#endif

}  // namespace

StridedCopy::StridedCopy(const Shape& box, const Shape& from_strides, const Shape& to_strides, size_t element_bytes) : element_(element_bytes) {
  total_ = size_of(box);
  if (total_ == 0) return;
  std::vector<Axis> axes = collapse(box, from_strides, to_strides);
  if (axes.empty()) axes.push_back({1, 1, 1});
  // The axis that is contiguous in `to` goes last (a box cut from the middle may have none), the one contiguous in `from` before it.
  const auto move_last = [&](auto contiguous, size_t behind) {
    for (size_t i = 0; i + behind < axes.size(); ++i) {
      if (!contiguous(axes[i])) continue;
      const Axis axis = axes[i];
      axes.erase(axes.begin() + static_cast<std::ptrdiff_t>(i));
      axes.insert(axes.end() - static_cast<std::ptrdiff_t>(behind), axis);
      return true;
    }
    return false;
  };
  const bool rows = move_last([](const Axis& a) { return a.to == 1 && a.from == 1; }, 0);
  const bool last = rows || move_last([](const Axis& a) { return a.to == 1; }, 0);
  const bool tiles = !rows && last && move_last([](const Axis& a) { return a.from == 1; }, 1);
  kind_ = rows ? Kind::Rows : tiles ? Kind::Tiles : Kind::Scattered;

  rank_ = static_cast<int>(axes.size());
  for (int i = 0; i < rank_; ++i) {
    box_[i] = axes[static_cast<size_t>(i)].size;
    from_[i] = axes[static_cast<size_t>(i)].from;
    to_[i] = axes[static_cast<size_t>(i)].to;
  }
  const int inner = kind_ == Kind::Tiles ? 2 : 1;
  const int64_t split = box_[rank_ - inner];  // the axis that is cut into pieces: the row, or the tiles' bands
  piece_ = kind_ == Kind::Tiles ? kTile : std::min(split, kPiece);
  pieces_ = (split + piece_ - 1) / piece_;
  items_ = pieces_;
  for (int i = 0; i < rank_ - inner; ++i) items_ *= box_[i];
}

template <class T>
void StridedCopy::copy_item(int64_t item, const T* from, T* to) const {
  const int inner = kind_ == Kind::Tiles ? 2 : 1;
  const int64_t begin = item % pieces_ * piece_;
  int64_t outer = item / pieces_;
  for (int axis = rank_ - inner - 1; axis >= 0; --axis) {
    const int64_t i = outer % box_[axis];
    outer /= box_[axis];
    from += i * from_[axis];
    to += i * to_[axis];
  }
  const int cut = rank_ - inner;
  const int64_t length = std::min(piece_, box_[cut] - begin);
  from += begin * from_[cut];
  to += begin * to_[cut];
  switch (kind_) {
    case Kind::Empty: return;
    case Kind::Rows: std::memcpy(to, from, static_cast<size_t>(length) * sizeof(T)); return;
    case Kind::Scattered:
      for (int64_t i = 0; i < length; ++i) to[i * to_[cut]] = from[i * from_[cut]];
      return;
    case Kind::Tiles:
      for (int64_t c = 0; c < box_[cut + 1]; c += kTile) {
        transpose_tile(from + c * from_[cut + 1], to + c, length, std::min(kTile, box_[cut + 1] - c), from_[cut + 1], to_[cut]);
      }
      return;
  }
}

template <class T>
void StridedCopy::run_typed(const T* from, T* to) const {
#pragma omp parallel for schedule(static) if (total_ >= kParallelFrom && items_ > 1)
  for (int64_t item = 0; item < items_; ++item) copy_item(item, from, to);
}

void StridedCopy::run(const void* from, void* to) const {
  if (element_ == 1) {
    run_typed(static_cast<const uint8_t*>(from), static_cast<uint8_t*>(to));
  } else {
    run_typed(static_cast<const uint32_t*>(from), static_cast<uint32_t*>(to));
  }
}

Shape row_major_strides(const Shape& shape) {
  Shape strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

void fill_elements(void* to, int64_t count, uint32_t value, size_t element_bytes) {
  if (element_bytes == 1) {
    std::memset(to, static_cast<int>(value & 0xff), static_cast<size_t>(count));
    return;
  }
  uint32_t* out = static_cast<uint32_t*>(to);
#pragma omp parallel for schedule(static) if (count >= 4 * kParallelFrom)
  for (int64_t i = 0; i < count; ++i) out[i] = value;
}

}  // namespace langevin
