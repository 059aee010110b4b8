// See bfloat16.h. Elsewhere than on x86-64 there is nothing to call.
#include "cpu/bfloat16.h"

#include <algorithm>
#include <stdexcept>

#include "cpu/bf16_target.h"
#include "cpu/dnnl.h"

namespace langevin {

#if LANGEVIN_BF16

bool bf16_available() {
  static const bool can = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512dq") && dnnl_has_bf16();
  return can;
}

namespace {

// 16 elements in bfloat16.
BF16_INLINE __m256i load_halves(const char* from, bool half, __mmask16 mask) {
  if (half) return _mm256_maskz_loadu_epi16(mask, from);
  return round_floats(_mm512_maskz_loadu_ps(mask, from));
}

// 16 columns, from column `first` on, of a matrix as it is.
BF16_CODE void pack_rows(const Bf16Source& s, int64_t k, int64_t first, int64_t valid, int64_t width, uint32_t* out) {
  const __mmask16 mask = first16(valid);
  for (int64_t p = 0; p < bf16_pairs(k); ++p, out += width) {
    const __m256i even = load_halves(s.at(2 * p, first), s.half, mask);
    const __m256i odd = load_halves(s.at(2 * p + 1, first), s.half, 2 * p + 1 < k ? mask : __mmask16(0));
    _mm512_storeu_si512(out, interleave(even, odd));
  }
}

// The same of one that lies turned: 16 of its rows.
BF16_CODE void pack_columns(const Bf16Source& s, int64_t k, int64_t first, int64_t valid, int64_t width, uint32_t* out) {
  for (int64_t p = 0; p < bf16_pairs(k); p += 16) {
    __m512i r[16];
    const int64_t left = k - 2 * p;
    for (int64_t i = 0; i < 16; ++i) {
      const char* from = s.at(first + i, 2 * p);
      const __m256i low = load_halves(from, s.half, i < valid ? first16(left) : __mmask16(0));
      const __m256i high = load_halves(from + (s.half ? 32 : 64), s.half, i < valid ? first16(left - 16) : __mmask16(0));
      r[i] = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
    }
    turn(r);
    const int64_t count = std::min<int64_t>(16, bf16_pairs(k) - p);
    for (int64_t i = 0; i < count; ++i) _mm512_storeu_si512(out + (p + i) * width, r[i]);
  }
}

// M rows of N blocks of 16 columns; the last block has `mask` of its columns.
template <int M, int N>
BF16_CODE void multiply(const uint32_t* a, int64_t row, int64_t pair, const uint32_t* b, int64_t pairs, char* c, int64_t ldc, bool half, __mmask16 mask) {
  __m512 sum[M][N];
  for (int i = 0; i < M; ++i) {
    for (int j = 0; j < N; ++j) sum[i][j] = _mm512_setzero_ps();
  }
  for (int64_t p = 0; p < pairs; ++p, a += pair, b += 16 * N) {
    __m512bh column[N];
    for (int j = 0; j < N; ++j) column[j] = (__m512bh)_mm512_loadu_si512(b + 16 * j);
    for (int i = 0; i < M; ++i) {
      const __m512bh element = (__m512bh)_mm512_set1_epi32(static_cast<int>(a[i * row]));
      for (int j = 0; j < N; ++j) sum[i][j] = _mm512_dpbf16_ps(sum[i][j], column[j], element);
    }
  }
  for (int i = 0; i < M; ++i) {
    for (int j = 0; j < N; ++j) {
      const __mmask16 m = j == N - 1 ? mask : __mmask16(0xffff);
      if (half) _mm256_mask_storeu_epi16(c + (i * ldc + 16 * j) * 2, m, round_floats(sum[i][j]));
      else _mm512_mask_storeu_ps(c + (i * ldc + 16 * j) * 4, m, sum[i][j]);
    }
  }
}

template <int N>
void multiply_rows(const Bf16Tile& t, int64_t i, __mmask16 mask) {
  const uint32_t* a = t.a + i * t.row;
  char* c = static_cast<char*>(t.c) + i * t.ldc * (t.half ? 2 : 4);
  switch (std::min<int64_t>(6, t.m - i)) {
    case 1: return multiply<1, N>(a, t.row, t.pair, t.b, t.pairs, c, t.ldc, t.half, mask);
    case 2: return multiply<2, N>(a, t.row, t.pair, t.b, t.pairs, c, t.ldc, t.half, mask);
    case 3: return multiply<3, N>(a, t.row, t.pair, t.b, t.pairs, c, t.ldc, t.half, mask);
    case 4: return multiply<4, N>(a, t.row, t.pair, t.b, t.pairs, c, t.ldc, t.half, mask);
    case 5: return multiply<5, N>(a, t.row, t.pair, t.b, t.pairs, c, t.ldc, t.half, mask);
    default: return multiply<6, N>(a, t.row, t.pair, t.b, t.pairs, c, t.ldc, t.half, mask);
  }
}

}  // namespace

BF16_CODE void bf16_load(const void* half, const void*, const void*, void* floats, size_t n) {
  const uint16_t* from = static_cast<const uint16_t*>(half);
  float* to = static_cast<float*>(floats);
  size_t i = 0;
  for (; i + 16 <= n; i += 16) _mm512_storeu_ps(to + i, load_floats(from + i, 0xffff));
  if (i < n) {
    const __mmask16 mask = first16(static_cast<int64_t>(n - i));
    _mm512_mask_storeu_ps(to + i, mask, load_floats(from + i, mask));
  }
}

BF16_CODE void bf16_store(const void* floats, const void*, const void*, void* half, size_t n) {
  const float* from = static_cast<const float*>(floats);
  uint16_t* to = static_cast<uint16_t*>(half);
  size_t i = 0;
  for (; i + 16 <= n; i += 16) _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), round_floats(_mm512_loadu_ps(from + i)));
  if (i < n) {
    const __mmask16 mask = first16(static_cast<int64_t>(n - i));
    _mm256_mask_storeu_epi16(to + i, mask, round_floats(_mm512_maskz_loadu_ps(mask, from + i)));
  }
}

void bf16_pack(const Bf16Source& source, bool turned, int64_t k, int64_t columns, int64_t width, int64_t panel, void* packed) {
  const int64_t first = panel * width, own = bf16_panel_width(columns, panel, width);
  uint32_t* out = static_cast<uint32_t*>(packed) + bf16_pairs(k) * first;
  for (int64_t j = 0; j < own; j += 16) {
    const int64_t valid = std::min<int64_t>(16, columns - first - j);
    if (turned) pack_columns(source, k, first + j, valid, own, out + j);
    else pack_rows(source, k, first + j, valid, own, out + j);
  }
}

BF16_CODE void bf16_rows(const Bf16Source& source, int64_t rows, int64_t k, void* out) {
  const int64_t padded = 2 * bf16_pairs(k);
  uint16_t* to = static_cast<uint16_t*>(out);
  for (int64_t r = 0; r < rows; ++r, to += padded) {
    for (int64_t j = 0; j < padded; j += 16) {
      _mm256_mask_storeu_epi16(to + j, first16(padded - j), load_halves(source.at(r, j), source.half, first16(k - j)));
    }
  }
}

void bf16_multiply(const Bf16Tile& t) {
  const int64_t blocks = (t.n + 15) / 16;
  const auto mask = static_cast<__mmask16>((1u << (t.n - 16 * (blocks - 1))) - 1);
  for (int64_t i = 0; i < t.m; i += 6) {
    switch (blocks) {
      case 1: multiply_rows<1>(t, i, mask); break;
      case 2: multiply_rows<2>(t, i, mask); break;
      case 3: multiply_rows<3>(t, i, mask); break;
      default: multiply_rows<4>(t, i, mask); break;
    }
  }
}

#else

namespace {
[[noreturn]] void absent() { throw std::logic_error("internal: bfloat16 kernels were not compiled for this processor"); }
}  // namespace

bool bf16_available() { return false; }
void bf16_load(const void*, const void*, const void*, void*, size_t) { absent(); }
void bf16_store(const void*, const void*, const void*, void*, size_t) { absent(); }
void bf16_pack(const Bf16Source&, bool, int64_t, int64_t, int64_t, int64_t, void*) { absent(); }
void bf16_rows(const Bf16Source&, int64_t, int64_t, void*) { absent(); }
void bf16_multiply(const Bf16Tile&) { absent(); }

#endif

}  // namespace langevin
