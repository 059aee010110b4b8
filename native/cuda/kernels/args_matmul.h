// What the kernels of matmul.cu are called with; shared by host and device. Plain data.
#pragma once

#include <cstdint>

namespace langevin {

constexpr int kMatmulAxes = 8;  // batch axes: more than the rank of any operand leaves
constexpr int kMatmulThreads = 256;

// result[batch..., i, j] = sum over e of a[batch_a... + i a_row + e a_inner] b[batch_b... + e b_inner + j b_column]; strides in elements.
struct MatmulArgs {
  const void* a;
  const void* b;
  void* result;
  int64_t m, n, k;
  int64_t a_row, a_inner, b_inner, b_column;
  int64_t count;  // of results: the batch times m times n
  int32_t axes;
  int64_t size[kMatmulAxes], a_step[kMatmulAxes], b_step[kMatmulAxes];  // of the batch axes, outermost first; a step of 0 repeats
  int32_t a_half, b_half, result_half;                                  // bfloat16?
  // langevin_matmul_lanes: so many threads, a power of two up to kMatmulThreads, share a sum; and whether neighbouring threads are of one sum
  // (the sum runs along memory) or of neighbouring results.
  int32_t lanes, along_sum;
};

}  // namespace langevin
