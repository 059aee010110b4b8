// Parameters of kernels/move.cu. Offsets and strides count units: elements, or groups of neighbours that move together (16 bytes).
#pragma once

#include "cuda/kernels/args_index.h"

namespace langevin {

constexpr int kMoveRank = 8;
constexpr int kMoveTile = 32;     // elements on a side of what a block transposes at a time
constexpr int kMoveTileRows = 8;  // rows of it that the block's threads read at once: 256 threads

// A box between two strided arrays, visited with its last axis fastest. Axes are used from the end: axis kMoveRank - 1 is the innermost; the first
// kMoveRank - rank are absent.
template <class Index>
struct MoveArgs {
  const void* from = nullptr;
  void* to = nullptr;
  Index count = 0;
  Index rank = 0;
  Divisor<Index> size[kMoveRank];
  Index from_stride[kMoveRank] = {}, to_stride[kMoveRank] = {};
};

// Rows contiguous in `from` (their elements are `along` steps), columns contiguous in `to`: matrices [columns, rows] that become [rows, columns],
// one for each position of the outer axes.
template <class Index>
struct TransposeArgs {
  const void* from = nullptr;
  void* to = nullptr;
  Index tiles = 0;
  Index rows = 0, columns = 0;
  Index from_column = 0, to_row = 0;  // strides: of a column's step in `from`, of a row's step in `to`
  Divisor<Index> row_tiles, column_tiles;
  Index rank = 0;  // of the outer axes
  Divisor<Index> size[kMoveRank];
  Index from_stride[kMoveRank] = {}, to_stride[kMoveRank] = {};
};

// Every element of the result: one of `from`, or the value.
template <class Index>
struct PadArgs {
  const void* from = nullptr;
  void* to = nullptr;
  uint64_t value = 0;  // its bits
  Index count = 0, rank = 0;
  Divisor<Index> size[kMoveRank], step[kMoveRank];  // of the result; interior + 1
  Index low[kMoveRank] = {}, inside[kMoveRank] = {}, from_stride[kMoveRank] = {};  // inside: the input's size
};

}  // namespace langevin
