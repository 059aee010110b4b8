// Only for the files that hold Winograd kernels' AVX-512 code: the taps of 16 result channels as vectors.
#pragma once

#include "cpu/avx512_target.h"
#include "cpu/winograd_shape.h"

#if LANGEVIN_AVX512

namespace langevin {

// The nine taps of result channels r .. r + 15 for source channel s, row by row.
AVX512_INLINE void load_taps(const WinogradShape& shape, const float* weights, int64_t r, int64_t s, __m512 g[9]) {
  __m512i rows[16];
  AVX512_UNROLL
  for (int i = 0; i < 16; ++i) rows[i] = _mm512_maskz_loadu_epi32(0x1ff, shape.taps(weights, r + i, s));
  turn(rows);
  AVX512_UNROLL
  for (int k = 0; k < 9; ++k) g[k] = _mm512_castsi512_ps(rows[shape.turned ? 8 - k : k]);
}

}  // namespace langevin
#endif
