// The iteration space of a fused loop as a kernel walks it: its dimensions in memory order, where each operand lies, and which thread of which
// block does which part. No text is written here (loop_code.cc) and nothing of CUDA's is needed.
#pragma once

#include <vector>

#include "ops/loop_program.h"

namespace langevin {

// May the channels of this loop come last? True where a full-shape operand already lies so and the order of memory differs from the plain one.
bool loop_channels_last(const Instruction& instruction, const LoopProgram& program);

// One image shape in both orders at once: a single channel, or a single place.
bool same_in_both_orders(const Shape& shape);

constexpr int64_t kLoopThreads = 256;  // of a block

struct CudaLoopDim {
  int64_t size = 1;
  bool reduced = false;
  int64_t linear = 1;  // elements of the iteration space within one step of it
};

// How the place of an operand follows from the coordinates: elements within one step of each dimension. That of an iota is its value.
struct CudaLoopWalk {
  std::vector<int64_t> stride;
  bool linear = false;   // the same as the iteration space's own
  bool uniform = false;  // one element for all
};

struct CudaLoopSpace {
  // Outermost first, without those of size 1; neighbours are one where that changes no operand's walk.
  std::vector<CudaLoopDim> dims;
  std::vector<CudaLoopWalk> inputs, entries, outputs;  // entries: of iotas only, by position in the program; outputs: of full ones only
  CudaLoopWalk result;                                 // the row-major order of the kept dimensions, of all reductions
  int64_t kept = 1, reduced = 1;                       // elements of a result, and elements folded into one of them
  bool reduces = false;                                // any output is a reduction

  // A thread works on units of `vector` neighbouring elements: of one result's terms where the innermost dimension is reduced (`rows`), else of
  // as many results. A block has `across` threads side by side for different results and `along` threads that share the terms of each.
  bool rows = false;
  int64_t vector = 1, across = 1, along = 1;
  int64_t blocks = 1;              // to cover the results once
  int64_t slices = 1;              // the terms are divided among that many blocks, whose results are folded by a second kernel
  int64_t slice_units = 1;         // units of terms in a slice
  bool wide = false;               // indices need 64 bits
  int64_t result_units() const { return rows ? kept : kept / vector; }
  int64_t term_units() const { return rows ? reduced / vector : reduced; }
};

CudaLoopSpace cuda_loop_space(const Instruction& instruction, const LoopProgram& program);

}  // namespace langevin
