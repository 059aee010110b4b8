// What the kernels of loop.cu and reorder.cu are called with; shared by host and device. Plain data.
#pragma once

#include <cstdint>

namespace langevin {

enum class FoldKind : int32_t { SumFloat, SumInt, MaxFloat, MaxInt, MinFloat, MinInt };

// Partial results [slices, results] of several reductions (double for sums of float32, else of the type of the result) into results.
constexpr int kFolds = 16;
struct LoopFoldArgs {
  struct One {
    const void* partial;
    void* to;
    FoldKind kind;
  };
  int64_t results, slices, across, blocks;  // blocks for one reduction, of `across` results each; they take the reductions one after another
  One folds[kFolds];
};

// Writes a table of pointers into device memory.
constexpr int kTablePart = 256;
struct LoopTableArgs {
  void** to;
  int64_t count;
  void* at[kTablePart];
};

// [rows, columns] into [columns, rows], `images` times; the sizes are those of what is read.
struct TransposeArgs {
  const float* from;
  float* to;
  int64_t images, rows, columns;
};

// Between float32 and bfloat16, in the same order.
struct ConvertArgs {
  const void* from;
  void* to;
  int64_t count;
};

}  // namespace langevin
