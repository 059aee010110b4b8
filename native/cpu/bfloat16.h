// bfloat16 on processors with AVX512-BF16: conversions, and the matrix product of matmul_bf16.cc. A bfloat16 is the upper half of a float32,
// rounded to the nearest (ties to even; subnormal numbers count as zero, as the processor's instructions take them). Products of two are
// summed in float32. No tensors here.
#pragma once

#include <cstddef>
#include <cstdint>

namespace langevin {

// Has the processor (and oneDNN, which may be held to less by ONEDNN_MAX_CPU_ISA) the instructions? Nothing else here may be called without.
bool bf16_available();

// n elements; signatures of a loop's functions (loop_simd.h), operands beyond the first are ignored.
void bf16_load(const void* half, const void*, const void*, void* floats, size_t n);
void bf16_store(const void* floats, const void*, const void*, void* half, size_t n);

// A matrix in float32 or bfloat16; `ld` elements from row to row.
struct Bf16Source {
  const void* data;
  int64_t ld;
  bool half;
  const char* at(int64_t row, int64_t column) const { return static_cast<const char*>(data) + (row * ld + column) * (half ? 2 : 4); }
};

// The packed form of one factor: panels of `width` columns (48: rows of A, 64: columns of B), each holding pairs of neighbours along the
// summed axis: [panel][k / 2, rounded up][width][2], the last panel only as wide as it needs, in steps of 16; missing elements are zero.
constexpr int64_t kPanelA = 48, kPanelB = 64;
inline int64_t bf16_pairs(int64_t k) { return (k + 1) / 2; }
inline int64_t bf16_panel_width(int64_t columns, int64_t panel, int64_t width) {
  const int64_t left = columns - panel * width;
  return left >= width ? width : (left + 15) / 16 * 16;
}
inline size_t bf16_packed_bytes(int64_t k, int64_t columns) { return static_cast<size_t>(bf16_pairs(k) * ((columns + 15) / 16 * 16)) * 4; }

// Packs panel `panel` of the k x columns matrix that lies in `source` as it is, or turned (columns x k).
void bf16_pack(const Bf16Source& source, bool turned, int64_t k, int64_t columns, int64_t width, int64_t panel, void* packed);

// Rows of float32 to bfloat16, each padded with zeros to pairs.
void bf16_rows(const Bf16Source& source, int64_t rows, int64_t k, void* out);

// c[0..m) x [0..n) = A B for one panel of B. A's pair p of row r is the 4-byte word a[r * row + p * pair].
struct Bf16Tile {
  const uint32_t* a;
  int64_t row, pair;
  const uint32_t* b;  // the packed panel
  int64_t pairs, m, n;
  void* c;
  int64_t ldc;  // elements
  bool half;    // of c
};
void bf16_multiply(const Bf16Tile& tile);

}  // namespace langevin
