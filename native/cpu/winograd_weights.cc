// See winograd_weights.h. Tiles are taken in rounds: pieces of the source and of the gradient are transformed to matrices V [tiles, c] and
// W [tiles, o] for each position; for 16 channels of the source and a panel of up to 64 of the gradient, all products Vᵀ W are made and
// transformed back to nine taps at once, so that they stay in the second-level cache. Only taps are summed over rounds.
#include "cpu/winograd_weights.h"

#include <omp.h>

#include <algorithm>
#include <stdexcept>

#include "cpu/avx512_target.h"
#include "cpu/float_tile.h"

namespace langevin {

namespace {

constexpr int64_t kOwnSums = 64 * 64;              // most c * o for which each thread sums all channels
constexpr int64_t kOwnBytes = int64_t{768} << 10;  // of V and W, where each thread has its own: most of its second-level cache
constexpr int64_t kSharedBytes = int64_t{8} << 20;
constexpr int64_t kTaps = 9 * 256;                 // floats of the taps of 16 x 16 channels: [c][tap][o]
constexpr int64_t kProducts = 36 * (16 * 64 + 16);

// One axis has 6 sums of products. With stride 2 the last is that of the four source rows of odd number: as many positions of V and W, which
// lie one after another, so that their tiles are summed as if there were four times as many.
constexpr int64_t kSums = 6;
constexpr int64_t repeats(int64_t stride, int64_t a) { return stride == 2 && a == kSums - 1 ? 4 : 1; }
// Where the positions of sum (a, b) begin, and position (v, u), v and u below 6 or 9.
constexpr int64_t first_slot(int64_t stride, int64_t a, int64_t b) { return stride == 1 ? 6 * a + b : 9 * a + b * repeats(2, a); }
constexpr int64_t slot(int64_t stride, int64_t v, int64_t u) {
  const int64_t a = std::min(v, kSums - 1), b = std::min(u, kSums - 1);
  return first_slot(stride, a, b) + (v - a) * repeats(stride, b) + u - b;
}

#if LANGEVIN_AVX512

template <int S>
constexpr int kPatch = S == 1 ? 6 : 9;  // source rows of a tile, and positions

AVX512_INLINE __m512 scaled(float f, __m512 x, __m512 y) { return _mm512_fmadd_ps(_mm512_set1_ps(f), x, y); }  // f x + y

// y ± f x, for the points ±f.
AVX512_INLINE void both(float f, __m512 x, __m512 y, __m512* out) {
  out[0] = _mm512_fmadd_ps(_mm512_set1_ps(f), x, y);
  out[1] = _mm512_fnmadd_ps(_mm512_set1_ps(f), x, y);
}

// The points ±p and ±q and their squares.
template <int S>
struct Points {
  static constexpr float p = S == 1 ? 0.75f : 0.5f, q = 1.5f, pp = p * p, qq = q * q;
};

// The source: for every finite point the polynomial of all others' roots, for infinity that of all.
template <int S>
AVX512_INLINE void source_axis(const __m512* d, __m512* out) {
  using P = Points<S>;
  if (S == 1) {
    out[0] = scaled(P::pp * P::qq, d[0], scaled(-(P::pp + P::qq), d[2], d[4]));
    both(P::p, scaled(-P::qq, d[1], d[3]), scaled(-P::qq, d[2], d[4]), out + 1);
    both(P::q, scaled(-P::pp, d[1], d[3]), scaled(-P::pp, d[2], d[4]), out + 3);
    out[5] = scaled(P::pp * P::qq, d[1], scaled(-(P::pp + P::qq), d[3], d[5]));
  } else {
    both(P::p, scaled(-P::qq, d[0], d[4]), scaled(-P::qq, d[2], d[6]), out);
    both(P::q, scaled(-P::pp, d[0], d[4]), scaled(-P::pp, d[2], d[6]), out + 2);
    out[4] = scaled(P::pp * P::qq, d[0], scaled(-(P::pp + P::qq), d[4], d[8]));
    for (int i = 0; i < 4; ++i) out[5 + i] = d[1 + 2 * i];
  }
}

// The gradient: the values of its four pixels' polynomial at the points.
template <int S>
AVX512_INLINE void gradient_axis(const __m512* g, __m512* out) {
  using P = Points<S>;
  if (S == 1) *out++ = g[0];
  both(P::p, scaled(P::pp, g[3], g[1]), scaled(P::pp, g[2], g[0]), out);
  both(P::q, scaled(P::qq, g[3], g[1]), scaled(P::qq, g[2], g[0]), out + 2);
  out[4] = g[3];
  if (S == 2) {
    for (int i = 0; i < 4; ++i) out[5 + i] = g[i];
  }
}

// Three taps of six sums, each point's divided by the product of its distances from the other points.
template <int S>
AVX512_INLINE void taps_axis(const __m512* m, __m512* out) {
  using P = Points<S>;
  constexpr float between = P::pp - P::qq;
  if (S == 1) {
    constexpr float p = 1 / (2 * P::pp * between), q = -1 / (2 * P::qq * between);
    const __m512 p_sum = _mm512_add_ps(m[1], m[2]), p_difference = _mm512_sub_ps(m[1], m[2]);
    const __m512 q_sum = _mm512_add_ps(m[3], m[4]), q_difference = _mm512_sub_ps(m[3], m[4]);
    out[0] = scaled(1 / (P::pp * P::qq), m[0], scaled(p, p_sum, _mm512_mul_ps(_mm512_set1_ps(q), q_sum)));
    out[1] = scaled(p * P::p, p_difference, _mm512_mul_ps(_mm512_set1_ps(q * P::q), q_difference));
    out[2] = scaled(p * P::pp, p_sum, scaled(q * P::qq, q_sum, m[5]));
  } else {
    constexpr float p = 1 / (2 * P::p * between), q = -1 / (2 * P::q * between);
    out[0] = scaled(p, _mm512_sub_ps(m[0], m[1]), _mm512_mul_ps(_mm512_set1_ps(q), _mm512_sub_ps(m[2], m[3])));
    out[1] = m[5];
    out[2] = scaled(p * P::p, _mm512_add_ps(m[0], m[1]), scaled(q * P::q, _mm512_add_ps(m[2], m[3]), m[4]));
  }
}

// A pixel of 16 channels; zero outside, where `row` is null or x beyond the width.
template <bool kHalf>
AVX512_INLINE __m512 pixel(const void* row, int64_t x, int64_t width) {
  if (row == nullptr || x < 0 || x >= width) return _mm512_setzero_ps();
  if (kHalf) return load_floats(static_cast<const uint16_t*>(row) + x * 16, 0xffff);
  return _mm512_loadu_ps(static_cast<const float*>(row) + x * 16);
}

template <int S, bool kHalf>
AVX512_INLINE void source_column(const void* const* rows, int64_t x, int64_t w, __m512* out) {
  __m512 d[kPatch<S>];
  for (int i = 0; i < kPatch<S>; ++i) d[i] = pixel<kHalf>(rows[i], x, w);
  source_axis<S>(d, out);
}

// `count` tiles of a row of tiles, of 16 channels; x: the first pixel. The next tile is 16 floats on in v, the next position `pitch`.
template <int S, bool kHalf>
AVX512_CODE void source_row(const void* const* rows, int64_t w, int64_t x, int64_t count, float* v, int64_t pitch) {
  constexpr int kP = kPatch<S>, kKept = kP - 4 * S;  // columns that the next tile has too
  __m512 d[kP][kP];
  for (int k = 0; k < kKept; ++k) source_column<S, kHalf>(rows, x + k, w, d[k]);
  for (int64_t t = 0; t < count; ++t, x += 4 * S, v += 16) {
    for (int k = kKept; k < kP; ++k) source_column<S, kHalf>(rows, x + k, w, d[k]);
    for (int i = 0; i < kP; ++i) {
      __m512 line[kP], out[kP];
      for (int k = 0; k < kP; ++k) line[k] = d[k][i];
      source_axis<S>(line, out);
      for (int u = 0; u < kP; ++u) _mm512_storeu_ps(v + slot(S, i, u) * pitch, out[u]);
    }
    for (int k = 0; k < kKept; ++k) {
      for (int i = 0; i < kP; ++i) d[k][i] = d[4 * S + k][i];
    }
  }
}

// The same of the gradient; the next tile is `step` floats on.
template <int S, bool kHalf>
AVX512_CODE void gradient_row(const void* const* rows, int64_t ow, int64_t x, int64_t count, float* v, int64_t step, int64_t pitch) {
  constexpr int kP = kPatch<S>;
  for (int64_t t = 0; t < count; ++t, x += 4, v += step) {
    __m512 d[4][kP];
    for (int k = 0; k < 4; ++k) {
      __m512 g[4];
      for (int i = 0; i < 4; ++i) g[i] = pixel<kHalf>(rows[i], x + k, ow);
      gradient_axis<S>(g, d[k]);
    }
    for (int i = 0; i < kP; ++i) {
      __m512 line[4], out[kP];
      for (int k = 0; k < 4; ++k) line[k] = d[k][i];
      gradient_axis<S>(line, out);
      for (int u = 0; u < kP; ++u) _mm512_storeu_ps(v + slot(S, i, u) * pitch, out[u]);
    }
  }
}

// Nine taps of 16 x 16 channels to `taps`; the next of the first 16 is `step` floats on in m, the next sum of products `pitch`.
template <int S>
AVX512_CODE void untransform(const float* m, int64_t step, int64_t pitch, bool add, float* taps) {
  for (int64_t i = 0; i < 16; ++i, m += step) {
    __m512 t[3][kSums];
    for (int b = 0; b < kSums; ++b) {
      __m512 column[kSums], out[3];
      for (int a = 0; a < kSums; ++a) column[a] = _mm512_loadu_ps(m + (kSums * a + b) * pitch);
      taps_axis<S>(column, out);
      for (int k = 0; k < 3; ++k) t[k][b] = out[k];
    }
    for (int k = 0; k < 3; ++k) {
      __m512 out[3];
      taps_axis<S>(t[k], out);
      for (int j = 0; j < 3; ++j, taps += 16) _mm512_storeu_ps(taps, add ? _mm512_add_ps(out[j], _mm512_loadu_ps(taps)) : out[j]);
    }
  }
}

// The sum of `count` such taps, `pitch` floats apart, to the plain result: 144 neighbours of each of 16 rows, `row` floats apart.
AVX512_CODE void store_taps(const float* taps, int64_t count, int64_t pitch, float* result, int64_t row) {
  for (int64_t q = 0; q < 9; ++q, taps += 256, result += 16) {
    __m512i r[16];
    for (int i = 0; i < 16; ++i) {
      __m512 sum = _mm512_loadu_ps(taps + 16 * i);
      for (int64_t k = 1; k < count; ++k) sum = _mm512_add_ps(sum, _mm512_loadu_ps(taps + k * pitch + 16 * i));
      r[i] = _mm512_castps_si512(sum);
    }
    turn(r);
    for (int i = 0; i < 16; ++i) _mm512_storeu_si512(result + i * row, r[i]);
  }
}

#else

[[noreturn]] void absent() { throw std::logic_error("internal: AVX-512 kernels were not compiled for this processor"); }
template <int S, bool kHalf>
void source_row(const void* const*, int64_t, int64_t, int64_t, float*, int64_t) { absent(); }
template <int S, bool kHalf>
void gradient_row(const void* const*, int64_t, int64_t, int64_t, float*, int64_t, int64_t) { absent(); }
template <int S>
void untransform(const float*, int64_t, int64_t, bool, float*) { absent(); }
void store_taps(const float*, int64_t, int64_t, float*, int64_t) { absent(); }
template <int S>
constexpr int kPatch = S == 1 ? 6 : 9;

#endif

// Rows y .. of a plane of h rows, null where there is none.
void find_rows(const void* plane, int64_t y, int64_t h, int64_t bytes, int64_t count, const void** rows) {
  for (int64_t i = 0; i < count; ++i) rows[i] = y + i < 0 || y + i >= h ? nullptr : static_cast<const char*>(plane) + (y + i) * bytes;
}

}  // namespace

bool WinogradWeights::from(const ConvGeometry& g, bool half_source, bool half_gradient, WinogradWeights* conv) {
  if (!float_tile_available() || g.kh != 3 || g.kw != 3 || g.groups != 1 || g.empty() || g.c % 16 != 0 || g.o % 16 != 0) return false;
  if (g.stride[0] != g.stride[1] || g.stride[0] > 2 || g.dilation[0] != 1 || g.dilation[1] != 1) return false;
  WinogradWeights v;
  v.n = g.n, v.c = g.c, v.h = g.h, v.w = g.w, v.o = g.o, v.oh = g.oh, v.ow = g.ow, v.pad[0] = g.pad[0], v.pad[1] = g.pad[1];
  v.stride = g.stride[0], v.half_source = half_source, v.half_gradient = half_gradient, v.threads = std::max(1, omp_get_max_threads());
  *conv = v;
  return true;
}

// GFLOP/s of direct sums on two Zen 4 cores, oneDNN's better algorithm / this one, float32 and bfloat16 operands:
//   stride 1: 640->640 at 8x8, batch 4            167/490  339/490     16->16 at 32x32, batch 64             200/400  305/435
//             320->320 at 16x16, batch 4          430/710  420/710     64->64 at 4x4, batch 16               190/260  180/300
//             160->160 at 32x32, batch 4          540/710  440/700     640->640 at 8x8, batch 2              150/340  260/360
//             32->32 at 32x32, batch 32           400/590  365/600     64->64 at 7x7 batch 4, at 6x6 batch 64  182/192, 260/300
//             64->64 at 16x16, batch 32           490/630  350/630     64->64 at 5x5, batch 64 (39% full)    220/200  200/220
//             128->128 at 8x8, batch 32           550/670  440/650     128->128 at 2x2, batch 64 (25% full)  180/130  130/140
//   stride 2: 640->640 at 16x16, batch 4          140/285  210/280     320->320 at 32x32, batch 4            200/305  387/315
//             128->128 at 16x16, batch 32         200/290  320/315     64->64 at 32x32, batch 32             210/265  360/280
//             32->64 at 16x16, batch 64           200/250  160/250     64->128 at 8x8, batch 64              188/265  140/265
// With stride 2 and bfloat16 operands oneDNN's direct code gains on large images.
bool WinogradWeights::preferred() const {
  const double filled = static_cast<double>(oh * ow) / static_cast<double>(16 * tile_rows() * tile_columns());
  if (stride == 2 && (half_source || half_gradient) && oh * ow >= 16 * 16) return false;
  return filled >= 0.5 && tiles() >= 8;
}

bool WinogradWeights::apart() const { return c * o <= kOwnSums && tiles() >= 8 * threads; }

int64_t WinogradWeights::round() const {
  const int64_t tile = slots() * (c + o) * 4, own = apart() ? kOwnBytes : kSharedBytes;
  return std::min(tiles(), std::max<int64_t>(8, own / tile));
}

// For each thread: V and W (one of all, where they share), the products of one block and panel, and taps.
struct WinogradWeights::Places {
  float *v, *w, *sums, *taps;
  static constexpr int64_t kOwnTaps = 4 * kTaps;
};

WinogradWeights::Places WinogradWeights::places(int thread, void* workspace) const {
  const int64_t v = slots() * round() * c, w = slots() * round() * o, all = c / 16 * (o / 16) * kTaps;
  float* at = static_cast<float*>(workspace);
  if (apart()) {
    at += thread * (v + w + kProducts + all);
    return {at, at + v, at + v + w, at + v + w + kProducts};
  }
  float* own = at + v + w + thread * kProducts;
  float* taps = at + v + w + threads * kProducts;
  return {at, at + v, own, round() < tiles() ? taps : taps + thread * Places::kOwnTaps};
}

size_t WinogradWeights::workspace() const {
  const int64_t matrices = slots() * round() * (c + o), all = c / 16 * (o / 16) * kTaps;
  if (apart()) return static_cast<size_t>(threads * (matrices + kProducts + all)) * 4;
  return static_cast<size_t>(matrices + threads * kProducts + (round() < tiles() ? all : threads * Places::kOwnTaps)) * 4;
}

// Tiles first..end, which are of a round of `all` from tile `origin` on, to V [block][position][all][16] and W [panel][position][all][width].
void WinogradWeights::transform(const void* source, const void* gradient, int64_t origin, int64_t first, int64_t end, int64_t all, const Places& at) const {
  const auto source_tiles = half_source ? (stride == 1 ? source_row<1, true> : source_row<2, true>) : stride == 1 ? source_row<1, false> : source_row<2, false>;
  const auto gradient_tiles =
      half_gradient ? (stride == 1 ? gradient_row<1, true> : gradient_row<2, true>) : stride == 1 ? gradient_row<1, false> : gradient_row<2, false>;
  const int64_t across = tile_columns(), down = tile_rows(), x_pixel = half_source ? 32 : 64, g_pixel = half_gradient ? 32 : 64;
  const void* rows[9];
  for (int64_t t = first; t < end;) {
    const int64_t image = t / (across * down), y = t / across % down, left = t % across, count = std::min(across - left, end - t);
    for (int64_t b = 0; b < c / 16; ++b) {
      const char* plane = static_cast<const char*>(source) + (image * c / 16 + b) * h * w * x_pixel;
      find_rows(plane, 4 * stride * y - pad[0], h, w * x_pixel, stride == 1 ? kPatch<1> : kPatch<2>, rows);
      source_tiles(rows, w, 4 * stride * left - pad[1], count, at.v + (b * slots() * all + t - origin) * 16, all * 16);
    }
    for (int64_t p = 0; p < panels(); ++p) {
      const int64_t begin = panel_block(p), stop = panel_block(p + 1), width = 16 * (stop - begin);
      for (int64_t b = begin; b < stop; ++b) {
        const char* plane = static_cast<const char*>(gradient) + (image * o / 16 + b) * oh * ow * g_pixel;
        find_rows(plane, 4 * y, oh, ow * g_pixel, 4, rows);
        float* to = at.w + 16 * begin * slots() * all + (t - origin) * width + 16 * (b - begin);
        gradient_tiles(rows, ow, 4 * left, count, to, width, all * width);
      }
    }
    t += count;
  }
}

// The taps of 16 source channels and a panel, from a round of `all` tiles.
void WinogradWeights::products(const Places& at, int64_t block, int64_t panel, int64_t all, float* taps, bool add) const {
  const int64_t begin = panel_block(panel), blocks = panel_block(panel + 1) - begin, width = 16 * blocks, pitch = 16 * width + 16;
  FloatTile tile;
  tile.row = 1, tile.step = 16, tile.ldb = width, tile.ldc = width, tile.m = 16, tile.n = width, tile.add = false;
  for (int64_t a = 0; a < kSums; ++a) {
    for (int64_t b = 0; b < kSums; ++b) {
      const int64_t first = first_slot(stride, a, b);
      tile.k = all * repeats(stride, a) * repeats(stride, b);
      tile.a = at.v + (block * slots() + first) * all * 16;
      tile.b = at.w + (16 * begin * slots() + first * width) * all;
      tile.c = at.sums + (kSums * a + b) * pitch;
      float_multiply(tile);
    }
  }
  for (int64_t j = 0; j < blocks; ++j) {
    if (stride == 1) untransform<1>(at.sums + 16 * j, width, pitch, add, taps + j * kTaps);
    else untransform<2>(at.sums + 16 * j, width, pitch, add, taps + j * kTaps);
  }
}

// Called by every thread of a team; they meet once, to add what each has summed.
void WinogradWeights::run_apart(int thread, const void* source, const void* gradient, float* result, void* workspace) const {
  const Places at = places(thread, workspace), first = places(0, workspace);
  const int64_t begin = tiles() * thread / threads, end = tiles() * (thread + 1) / threads, across = o / 16, blocks = c / 16 * across;
  for (int64_t t = begin; t < end; t += round()) {
    const int64_t all = std::min(round(), end - t);
    transform(source, gradient, t, t, t + all, all, at);
    for (int64_t p = 0; p < panels(); ++p) {
      for (int64_t b = 0; b < c / 16; ++b) products(at, b, p, all, at.taps + (b * across + panel_block(p)) * kTaps, t > begin);
    }
  }
#pragma omp barrier
  for (int64_t i = blocks * thread / threads; i < blocks * (thread + 1) / threads; ++i) {
    float* to = result + (i % across * c + i / across) * 16 * 9;
    store_taps(first.taps + i * kTaps, threads, places(1, workspace).taps - first.taps, to, c * 9);
  }
}

// The same; they meet between transforming and multiplying.
void WinogradWeights::run_shared(int thread, const void* source, const void* gradient, float* result, void* workspace) const {
  const Places at = places(thread, workspace);
  const int64_t across = o / 16, down = c / 16;
  for (int64_t t = 0; t < tiles(); t += round()) {
    const int64_t all = std::min(round(), tiles() - t);
    transform(source, gradient, t, t + all * thread / threads, t + all * (thread + 1) / threads, all, at);
#pragma omp barrier
    for (int64_t p = 0; p < panels(); ++p) {
      const int64_t begin = panel_block(p), blocks = panel_block(p + 1) - begin;
      for (int64_t b = 0; b < down; ++b) {
        // Item (p, b) belongs to the thread in whose share of all pairs of blocks it begins.
        if ((begin * down + b * blocks) * threads / (across * down) != thread) continue;
        float* taps = round() < tiles() ? at.taps + (b * across + begin) * kTaps : at.taps;
        products(at, b, p, all, taps, t > 0);
        if (t + all < tiles()) continue;
        for (int64_t j = 0; j < blocks; ++j) store_taps(taps + j * kTaps, 1, 0, result + ((begin + j) * c + b) * 16 * 9, c * 9);
      }
    }
#pragma omp barrier
  }
}

void WinogradWeights::run(const void* source, const void* gradient, float* result, void* workspace) const {
  const bool alone = apart();
#pragma omp parallel num_threads(threads)
  {
    const int t = omp_get_thread_num();
    if (alone) run_apart(t, source, gradient, result, workspace);
    else run_shared(t, source, gradient, result, workspace);
  }
}

}  // namespace langevin
