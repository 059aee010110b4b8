// See winograd_bf16.h. A tile is 2x2 pixels of the result. Tiles are taken in runs: their 4x4 pieces of the source are transformed to 16
// matrices V [tiles, c], each is multiplied by its matrix of transformed weights, 64 result channels at a time, and the sums are
// transformed back at once, so they never leave the second-level cache. Threads take runs of tiles of their own; where the weights are too
// large for that cache, they transform together and then share out channels instead.
#include "cpu/winograd_bf16.h"

#include <omp.h>

#include <algorithm>
#include <stdexcept>

#include "cpu/bf16_target.h"
#include "cpu/bfloat16.h"
#include "cpu/winograd_taps.h"

namespace langevin {

namespace {

constexpr int64_t kRun = 48;                       // tiles whose sums are kept at a time
constexpr int64_t kOwnWeights = 128 * 128;         // most c * o for which each thread reads all weights
constexpr int64_t kSharedBytes = int64_t{4} << 20;  // of V, where threads share it
constexpr int64_t kP = WinogradBf16::kPositions;

int64_t panels_of(int64_t o) { return (o + kPanelB - 1) / kPanelB; }

#if LANGEVIN_BF16

// One column of four pixels, by Bᵀ = [1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1]. Rows outside are null.
BF16_INLINE void column(const uint16_t* const rows[4], int64_t x, int64_t w, __m512 out[4]) {
  if (x < 0 || x >= w) {
    for (int i = 0; i < 4; ++i) out[i] = _mm512_setzero_ps();
    return;
  }
  __m512 d[4];
  for (int i = 0; i < 4; ++i) d[i] = rows[i] == nullptr ? _mm512_setzero_ps() : load_floats(rows[i] + x * 16, 0xffff);
  out[0] = _mm512_sub_ps(d[0], d[2]);
  out[1] = _mm512_add_ps(d[1], d[2]);
  out[2] = _mm512_sub_ps(d[2], d[1]);
  out[3] = _mm512_sub_ps(d[1], d[3]);
}

// Tiles left..right of one row of tiles, one block of channels. v: of the first tile; the next tile is `tile` elements on, the next position
// `position`.
BF16_CODE void transform_row(const uint16_t* const rows[4], int64_t w, int64_t pad, int64_t left, int64_t right, uint16_t* v, int64_t tile, int64_t position) {
  __m512 a[4], b[4], c[4], d[4];
  column(rows, 2 * left - pad, w, a);
  column(rows, 2 * left - pad + 1, w, b);
  for (int64_t t = left; t < right; ++t, v += tile) {
    column(rows, 2 * t - pad + 2, w, c);
    column(rows, 2 * t - pad + 3, w, d);
    for (int i = 0; i < 4; ++i) {
      __m256i* out = reinterpret_cast<__m256i*>(v + 4 * i * position);
      _mm256_storeu_si256(out, round_floats(_mm512_sub_ps(a[i], c[i])));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(v + (4 * i + 1) * position), round_floats(_mm512_add_ps(b[i], c[i])));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(v + (4 * i + 2) * position), round_floats(_mm512_sub_ps(c[i], b[i])));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(v + (4 * i + 3) * position), round_floats(_mm512_sub_ps(b[i], d[i])));
      a[i] = c[i];
      b[i] = d[i];
    }
  }
}

// The 2x2 results of one tile and 16 channels, Aᵀ M A with Aᵀ = [1 1 1 0; 0 1 -1 -1]; the next position is `position` floats on.
BF16_INLINE void results(const float* m, int64_t position, __m512 bias, __m512 out[4]) {
  __m512 top[4], low[4];
  for (int j = 0; j < 4; ++j) {
    const __m512 m0 = _mm512_loadu_ps(m + j * position), m1 = _mm512_loadu_ps(m + (4 + j) * position);
    const __m512 m2 = _mm512_loadu_ps(m + (8 + j) * position), m3 = _mm512_loadu_ps(m + (12 + j) * position);
    top[j] = _mm512_add_ps(_mm512_add_ps(m0, m1), m2);
    low[j] = _mm512_sub_ps(_mm512_sub_ps(m1, m2), m3);
  }
  out[0] = _mm512_add_ps(bias, _mm512_add_ps(_mm512_add_ps(top[0], top[1]), top[2]));
  out[1] = _mm512_add_ps(bias, _mm512_sub_ps(_mm512_sub_ps(top[1], top[2]), top[3]));
  out[2] = _mm512_add_ps(bias, _mm512_add_ps(_mm512_add_ps(low[0], low[1]), low[2]));
  out[3] = _mm512_add_ps(bias, _mm512_sub_ps(_mm512_sub_ps(low[1], low[2]), low[3]));
}

BF16_INLINE void store(__m512 x, void* result, int64_t pixel, bool half) {
  if (half) _mm256_storeu_si256(reinterpret_cast<__m256i*>(static_cast<uint16_t*>(result) + pixel * 16), round_floats(x));
  else _mm512_storeu_ps(static_cast<float*>(result) + pixel * 16, x);
}

// `count` tiles of one row of tiles from tile column `x` on, 16 channels; `result`: the image's plane of these channels.
BF16_CODE void untransform_row(const float* m, int64_t tile, int64_t position, int64_t x, int64_t y, int64_t count, int64_t oh, int64_t ow, const float* bias,
                               void* result, bool half) {
  const __m512 b = bias == nullptr ? _mm512_setzero_ps() : _mm512_loadu_ps(bias);
  const bool second = 2 * y + 1 < oh;
  for (int64_t t = 0; t < count; ++t, m += tile) {
    __m512 out[4];
    results(m, position, b, out);
    const int64_t pixel = 2 * y * ow + 2 * (x + t);
    const bool right = 2 * (x + t) + 1 < ow;
    store(out[0], result, pixel, half);
    if (right) store(out[1], result, pixel + 1, half);
    if (second) store(out[2], result, pixel + ow, half);
    if (second && right) store(out[3], result, pixel + ow + 1, half);
  }
}

// G g Gᵀ of 16 result channels, G = [1 0 0; ½ ½ ½; ½ -½ ½; 0 0 1].
BF16_INLINE void transform_weights(const __m512 g[9], __m256i out[16]) {
  const __m512 half = _mm512_set1_ps(0.5f);
  __m512 t[4][3];
  for (int j = 0; j < 3; ++j) {
    const __m512 ends = _mm512_add_ps(g[j], g[6 + j]);
    t[0][j] = g[j];
    t[1][j] = _mm512_mul_ps(half, _mm512_add_ps(ends, g[3 + j]));
    t[2][j] = _mm512_mul_ps(half, _mm512_sub_ps(ends, g[3 + j]));
    t[3][j] = g[6 + j];
  }
  for (int i = 0; i < 4; ++i) {
    const __m512 ends = _mm512_add_ps(t[i][0], t[i][2]);
    out[4 * i] = round_floats(t[i][0]);
    out[4 * i + 1] = round_floats(_mm512_mul_ps(half, _mm512_add_ps(ends, t[i][1])));
    out[4 * i + 2] = round_floats(_mm512_mul_ps(half, _mm512_sub_ps(ends, t[i][1])));
    out[4 * i + 3] = round_floats(t[i][2]);
  }
}

// Result channels r .. r + 15; out: position 0 of the panel, `width` words a pair and `position` words a position.
BF16_CODE void pack_block(const WinogradBf16& conv, const float* weights, int64_t r, uint32_t* out, int64_t width, int64_t position) {
  for (int64_t p = 0; p < conv.c / 2; ++p, out += width) {
    __m512 g[9];
    __m256i even[16], odd[16];
    load_taps(conv, weights, r, 2 * p, g);
    transform_weights(g, even);
    load_taps(conv, weights, r, 2 * p + 1, g);
    transform_weights(g, odd);
    for (int k = 0; k < 16; ++k) _mm512_storeu_si512(out + k * position, interleave(even[k], odd[k]));
  }
}

#else

[[noreturn]] void absent() { throw std::logic_error("internal: bfloat16 kernels were not compiled for this processor"); }
void transform_row(const uint16_t* const*, int64_t, int64_t, int64_t, int64_t, uint16_t*, int64_t, int64_t) { absent(); }
void untransform_row(const float*, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, const float*, void*, bool) { absent(); }
void pack_block(const WinogradBf16&, const float*, int64_t, uint32_t*, int64_t, int64_t) { absent(); }

#endif

}  // namespace

bool WinogradBf16::from(ConvDirection direction, const ConvGeometry& g) {
  return WinogradShape::from(direction, g) && c * o >= 32 * 32 && tiles() >= 16;
}

void WinogradBf16::pack(const float* weights, void* packed) const {
  const int64_t blocks = o / 16;
#pragma omp parallel for schedule(static) num_threads(threads) if (c * o > 64 * 64)
  for (int64_t b = 0; b < blocks; ++b) {
    const int64_t panel = 16 * b / kPanelB, first = panel * kPanelB, width = bf16_panel_width(o, panel, kPanelB);
    uint32_t* out = static_cast<uint32_t*>(packed) + kP * c / 2 * first + (16 * b - first);
    pack_block(*this, weights, 16 * b, out, width, c / 2 * width);
  }
}

bool WinogradBf16::shared() const { return threads > 1 && c * o > kOwnWeights; }
int64_t WinogradBf16::round() const { return std::min(tiles(), std::max<int64_t>(kRun, kSharedBytes / (kP * c * 2))); }

size_t WinogradBf16::workspace() const {
  const int64_t sums = kP * kRun * kPanelB * 4, own = kP * kRun * c * 2;
  return static_cast<size_t>(shared() ? kP * round() * c * 2 + threads * sums : threads * (own + sums));
}

// Tiles first..end to v[position][tile - first][c]; `stride` elements from position to position.
void WinogradBf16::transform(const void* source, int64_t first, int64_t end, int64_t stride, void* v) const {
  const int64_t across = tile_columns(), down = tile_rows();
  for (int64_t t = first; t < end;) {
    const int64_t image = t / (across * down), y = t / across % down, left = t % across, count = std::min(across - left, end - t);
    for (int64_t block = 0; block < c / 16; ++block) {
      const uint16_t* plane = static_cast<const uint16_t*>(source) + (image * c / 16 + block) * h * w * 16;
      const uint16_t* rows[4];
      for (int64_t i = 0; i < 4; ++i) {
        const int64_t row = 2 * y - pad[0] + i;
        rows[i] = row < 0 || row >= h ? nullptr : plane + row * w * 16;
      }
      transform_row(rows, w, pad[1], left, left + count, static_cast<uint16_t*>(v) + (t - first) * c + block * 16, c, stride);
    }
    t += count;
  }
}

// m[position][tile][panel's width] of `count` tiles from v on.
void WinogradBf16::products(const void* v, int64_t stride, const void* packed, int64_t panel, int64_t count, float* m) const {
  const int64_t first = panel * kPanelB, width = bf16_panel_width(o, panel, kPanelB);
  Bf16Tile tile;
  tile.row = c / 2, tile.pair = 1, tile.pairs = c / 2, tile.m = count, tile.n = width, tile.ldc = width, tile.half = false;
  for (int64_t k = 0; k < kP; ++k) {
    tile.a = reinterpret_cast<const uint32_t*>(static_cast<const uint16_t*>(v) + k * stride);
    tile.b = static_cast<const uint32_t*>(packed) + c / 2 * (kP * first + k * width);
    tile.c = m + k * kRun * width;
    bf16_multiply(tile);
  }
}

void WinogradBf16::untransform(const float* m, int64_t panel, int64_t first, int64_t count, const float* bias, void* result) const {
  const int64_t across = tile_columns(), down = tile_rows(), channel = panel * kPanelB, width = bf16_panel_width(o, panel, kPanelB);
  for (int64_t t = first; t < first + count;) {
    const int64_t image = t / (across * down), y = t / across % down, left = t % across, row = std::min(across - left, first + count - t);
    for (int64_t j = 0; j < width; j += 16) {
      char* plane = static_cast<char*>(result) + (image * o + channel + j) * oh * ow * (half ? 2 : 4);
      untransform_row(m + (t - first) * width + j, width, kRun * width, left, y, row, oh, ow, bias == nullptr ? nullptr : bias + channel + j, plane, half);
    }
    t += row;
  }
}

void WinogradBf16::run_apart(int thread, const void* source, const void* packed, const float* bias, void* result, char* workspace) const {
  const int64_t sums = kP * kRun * kPanelB * 4, own = kP * kRun * c * 2;
  char* v = workspace + thread * (own + sums);
  float* m = reinterpret_cast<float*>(v + own);
  const int64_t end = tiles() * (thread + 1) / threads;
  for (int64_t t = tiles() * thread / threads; t < end; t += kRun) {
    const int64_t count = std::min(kRun, end - t);
    transform(source, t, t + count, kRun * c, v);
    for (int64_t p = 0; p < panels_of(o); ++p) {
      products(v, kRun * c, packed, p, count, m);
      untransform(m, p, t, count, bias, result);
    }
  }
}

// Called by every thread of a team; they meet between transforming and multiplying.
void WinogradBf16::run_shared(int thread, const void* source, const void* packed, const float* bias, void* result, char* workspace) const {
  const int64_t all = round(), stride = all * c;
  uint16_t* v = reinterpret_cast<uint16_t*>(workspace);
  float* m = reinterpret_cast<float*>(workspace + kP * stride * 2) + thread * kP * kRun * kPanelB;
  for (int64_t first = 0; first < tiles(); first += all) {
    const int64_t count = std::min(all, tiles() - first), mine = count * thread / threads;
    transform(source, first + mine, first + count * (thread + 1) / threads, stride, v + mine * c);
#pragma omp barrier
    const int64_t runs = (count + kRun - 1) / kRun;
    for (int64_t p = 0; p < panels_of(o); ++p) {
      for (int64_t r = 0; r < runs; ++r) {
        // Item (p, r) belongs to the thread in whose share of all channels times runs it begins.
        if ((p * kPanelB * runs + r * bf16_panel_width(o, p, kPanelB)) * threads / (o * runs) != thread) continue;
        const int64_t t = r * kRun, some = std::min(kRun, count - t);
        products(v + t * c, stride, packed, p, some, m);
        untransform(m, p, first + t, some, bias, result);
      }
    }
#pragma omp barrier
  }
}

void WinogradBf16::run(const void* source, const void* packed, const float* bias, void* result, void* workspace) const {
  char* place = static_cast<char*>(workspace);
  if (threads == 1) return run_apart(0, source, packed, bias, result, place);
  const bool together = shared();
#pragma omp parallel num_threads(threads)
  {
    const int t = omp_get_thread_num();
    if (together) run_shared(t, source, packed, bias, result, place);
    else run_apart(t, source, packed, bias, result, place);
  }
}

}  // namespace langevin
