// The float32 matrix product of the kernels written for AVX-512: sums in registers, one factor read element by element, the other in rows.
// No blocking for caches and no threads: who calls it hands over pieces of the size it can keep. No tensors here.
#pragma once

#include <cstdint>

namespace langevin {

// Has the processor the instructions (AVX-512 F, DQ, BW, VL), and were they compiled? Nothing else here may be called without.
bool float_tile_available();

// c[0..m) x [0..n) = the sum over k of a(i, k) b(k, j), or with `add` that much more.
struct FloatTile {
  const float* a;  // a(i, k) = a[i * row + k * step]
  int64_t row, step;
  const float* b;  // b(k, j) = b[k * ldb + j]
  int64_t ldb;
  float* c;
  int64_t ldc;
  int64_t m, n, k;  // n: 16, 32, 48 or 64
  bool add;
};
void float_multiply(const FloatTile& tile);

}  // namespace langevin
