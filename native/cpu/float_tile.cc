// See float_tile.h. A register tile is M rows of N vectors, up to 24 sums: more than the processor has multiplications under way, so that it
// waits for none, and the loads (N vectors and M elements for M * N multiplications) stay behind them. Measured on Zen 4, k = 64 or more, both
// factors in the first caches: 97 to 112 GFLOP/s of 115; k = 16: 83.
#include "cpu/float_tile.h"

#include <algorithm>
#include <stdexcept>

#include "cpu/avx512_target.h"

namespace langevin {

#if LANGEVIN_AVX512

bool float_tile_available() {
  static const bool can = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
  return can;
}

namespace {

// What is added to comes last: sums of pieces, added up, are closer than one long sum.
template <int M, int N, bool Add>
AVX512_CODE void multiply(const FloatTile& t, int64_t first) {
  const int64_t row = t.row, step = t.step, ldb = t.ldb;
  const float *a = t.a + first * row, *b = t.b;
  float* c = t.c + first * t.ldc;
  __m512 sum[M][N];
  AVX512_UNROLL
  for (int i = 0; i < M; ++i) {
    AVX512_UNROLL
    for (int j = 0; j < N; ++j) sum[i][j] = _mm512_setzero_ps();
  }
  for (int64_t k = 0; k < t.k; ++k, a += step, b += ldb) {
    __m512 column[N];
    AVX512_UNROLL
    for (int j = 0; j < N; ++j) column[j] = _mm512_loadu_ps(b + 16 * j);
    AVX512_UNROLL
    for (int i = 0; i < M; ++i) {
      const __m512 element = _mm512_set1_ps(a[i * row]);
      AVX512_UNROLL
      for (int j = 0; j < N; ++j) sum[i][j] = _mm512_fmadd_ps(element, column[j], sum[i][j]);
    }
  }
  AVX512_UNROLL
  for (int i = 0; i < M; ++i) {
    AVX512_UNROLL
    for (int j = 0; j < N; ++j) {
      float* to = c + i * t.ldc + 16 * j;
      _mm512_storeu_ps(to, Add ? _mm512_add_ps(_mm512_loadu_ps(to), sum[i][j]) : sum[i][j]);
    }
  }
}

// `rows` rows, at most M.
template <int M, int N>
void multiply_rows(const FloatTile& t, int64_t first, int64_t rows) {
  if (rows == M) return t.add ? multiply<M, N, true>(t, first) : multiply<M, N, false>(t, first);
  if constexpr (M > 1) multiply_rows<M - 1, N>(t, first, rows);
}

// Six rows for narrow panels too: of more rows, addresses no longer fit the registers.
template <int N>
void multiply_all(const FloatTile& t) {
  for (int64_t i = 0; i < t.m; i += 6) multiply_rows<6, N>(t, i, std::min<int64_t>(6, t.m - i));
}

}  // namespace

void float_multiply(const FloatTile& t) {
  switch (t.n / 16) {
    case 1: return multiply_all<1>(t);
    case 2: return multiply_all<2>(t);
    case 3: return multiply_all<3>(t);
    default: return multiply_all<4>(t);
  }
}

#else

bool float_tile_available() { return false; }
void float_multiply(const FloatTile&) { throw std::logic_error("internal: AVX-512 kernels were not compiled for this processor"); }

#endif

}  // namespace langevin
