// Only for the files that hold AVX-512 code: the intrinsics, the attributes of functions that use them, and the few vector functions those
// files share. LANGEVIN_AVX512 is set where they can be compiled; whether the processor has them is asked at run time (float_tile.h).
#pragma once

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define LANGEVIN_AVX512 1
#if !defined(__clang__)  // GCC 12's own header reads what it calls undefined
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>

#include <cstdint>

#define AVX512_CODE __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma")))
#define AVX512_INLINE __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma"), always_inline)) inline

// Before loops over arrays of vectors: GCC otherwise unrolls them too late to keep the arrays out of memory (a register tile wrote all its sums
// twice, the second time to the stack).
#if defined(__clang__)
#define AVX512_UNROLL _Pragma("unroll")
#else
#define AVX512_UNROLL _Pragma("GCC unroll 36")
#endif

namespace langevin {

inline __mmask16 first16(int64_t n) { return n >= 16 ? __mmask16(0xffff) : n <= 0 ? __mmask16(0) : static_cast<__mmask16>((1u << n) - 1); }

// 16 bfloat16 values, those beyond `mask` zero, as float32.
AVX512_INLINE __m512 load_floats(const void* half, __mmask16 mask) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, half)), 16));
}

// Words of 16 columns from two rows: column j of both in word j.
AVX512_INLINE __m512i interleave(__m256i even, __m256i odd) {
  return _mm512_or_si512(_mm512_cvtepu16_epi32(even), _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16));
}

// 16 x 16 words, turned.
AVX512_INLINE void turn(__m512i r[16]) {
  __m512i t[16];
  AVX512_UNROLL
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  AVX512_UNROLL
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  AVX512_UNROLL
  for (int i = 0; i < 4; ++i) {  // r[4 b + i] holds columns i, 4 + i, 8 + i, 12 + i of rows 4 b .. 4 b + 3
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  AVX512_UNROLL
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

}  // namespace langevin
#endif
