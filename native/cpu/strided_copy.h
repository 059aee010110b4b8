// Copies an n-dimensional box between two strided arrays: what transpose, slice, pad, concat and the reorders are made of.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/tensor.h"

namespace langevin {

// Strides are in elements and may be any positive number; the box may be empty. Elements are 1 or 4 bytes.
class StridedCopy {
 public:
  static constexpr int kMaxRank = 9;

  StridedCopy() = default;
  StridedCopy(const Shape& box, const Shape& from_strides, const Shape& to_strides, size_t element_bytes);

  void run(const void* from, void* to) const;

 private:
  enum class Kind : uint8_t { Empty, Rows, Tiles, Scattered };

  template <class T>
  void run_typed(const T* from, T* to) const;
  template <class T>
  void copy_item(int64_t item, const T* from, T* to) const;

  // After construction: axes of size 1 dropped, neighbours merged, and the inner axes last. Axis rank_-1 is contiguous in `to` where any is;
  // for Tiles axis rank_-2 is contiguous in `from`.
  int rank_ = 0;
  int64_t box_[kMaxRank] = {}, from_[kMaxRank] = {}, to_[kMaxRank] = {};
  size_t element_ = 4;
  Kind kind_ = Kind::Empty;
  int64_t items_ = 0;  // units of work, shared out among threads: rows, pieces of a long row, or bands of tiles
  int64_t pieces_ = 1, piece_ = 0;
  int64_t total_ = 0;
};

// Strides of a row-major array of this shape.
Shape row_major_strides(const Shape& shape);

// Fills `count` elements of 1 or 4 bytes with the pattern in `value`.
void fill_elements(void* to, int64_t count, uint32_t value, size_t element_bytes);

}  // namespace langevin
