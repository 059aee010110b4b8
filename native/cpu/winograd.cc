// See winograd.h. A tile is 4x4 pixels of the result. Tiles are taken in runs: their 6x6 pieces of the source are transformed to 36 matrices
// V [tiles, c], each is multiplied by its matrix of transformed weights, up to 64 result channels at a time, and the sums are transformed back
// at once, so they never leave the second-level cache. Small weights are transformed once and kept, and threads take tiles of their own.
// Large ones are read as they are: threads transform tiles together, then each has result channels of its own, and transforms the weights of
// a few source channels at a time into its cache, where they meet all tiles.
#include "cpu/winograd.h"

#include <omp.h>

#include <algorithm>
#include <stdexcept>

#include "cpu/float_tile.h"
#include "cpu/winograd_taps.h"

namespace langevin {

namespace {

constexpr int64_t kP = Winograd::kPositions;
constexpr int64_t kPanel = 64;                    // most result channels at a time
constexpr int64_t kCache = int64_t{768} << 10;    // bytes of V and sums that a thread keeps
constexpr int64_t kKept = int64_t{4} << 20;       // most bytes of transformed weights that are kept
constexpr int64_t kRound = 64;                    // most tiles that threads share
constexpr int64_t kSlice = 16;                    // source channels whose weights are transformed at a time: a block
constexpr int64_t kChain = 128;                   // most source channels summed in a row, for the sake of the error
constexpr int64_t kSkew = 16;                     // floats between matrices, whose rows would else fall on the same lines of the first-level cache

// Result channels in panels of at most 64, as equal as whole blocks of 16 allow; of the blocks first..end.
struct Panels {
  int64_t first, end;
  int64_t count() const { return (end - first + kPanel / 16 - 1) / (kPanel / 16); }
  int64_t start(int64_t p) const { return 16 * (first + (end - first) * p / count()); }
  int64_t width(int64_t p) const { return start(p + 1) - start(p); }
  int64_t of(int64_t block) const { return ((block - first + 1) * count() - 1) / (end - first); }
};

alignas(64) constexpr float kZeros[16] = {};

// Six rows of pixels of one block of channels. Those outside are zeros, the same ones for every column: keep[i] is 0 instead of -1.
struct SourceRows {
  const float* row[6];
  int64_t keep[6];
  int64_t w;

  SourceRows(const float* plane, int64_t first, int64_t h, int64_t width) : w(width) {
    for (int64_t i = 0; i < 6; ++i) {
      const bool inside = first + i >= 0 && first + i < h;
      row[i] = inside ? plane + (first + i) * w * 16 : kZeros;
      keep[i] = inside ? -1 : 0;
    }
  }
};

struct ResultRows {
  float* plane;  // of the image and block of channels
  int64_t oh, ow;
};

#if LANGEVIN_AVX512

// The points ±a and ±b, and what follows from them.
constexpr float a1 = 0.625f, b1 = 1.5f, a2 = a1 * a1, b2 = b1 * b1, kSum = a2 + b2, kProduct = a2 * b2;
constexpr float k0 = 1 / kProduct, ka = 1 / (2 * a2 * (a2 - b2)), kb = 1 / (2 * b2 * (b2 - a2));  // factors of G's rows

AVX512_INLINE __m512 mul(float x, __m512 y) { return _mm512_mul_ps(_mm512_set1_ps(x), y); }
AVX512_INLINE __m512 add(float x, __m512 y, __m512 z) { return _mm512_fmadd_ps(_mm512_set1_ps(x), y, z); }       // x y + z
AVX512_INLINE __m512 subtract(float x, __m512 y, __m512 z) { return _mm512_fnmadd_ps(_mm512_set1_ps(x), y, z); }  // z - x y

// Bᵀ of six values, rows 0..2 (points 0, a, -a) from values 0..4, and rows 3..5 (b, -b, infinity) from values 1..5. In halves, for want of registers.
AVX512_INLINE void forward_low(const __m512 d[5], __m512 out[3]) {
  const __m512 even = subtract(b2, d[2], d[4]), odd = subtract(b2, d[1], d[3]);
  out[0] = add(kProduct, d[0], subtract(kSum, d[2], d[4]));
  out[1] = add(a1, odd, even);
  out[2] = subtract(a1, odd, even);
}
AVX512_INLINE void forward_high(const __m512 d[5], __m512 out[3]) {
  const __m512 even = subtract(a2, d[1], d[3]), odd = subtract(a2, d[0], d[2]);
  out[0] = add(b1, odd, even);
  out[1] = subtract(b1, odd, even);
  out[2] = add(kProduct, d[0], subtract(kSum, d[2], d[4]));
}

// Rows 3 Half .. 3 Half + 2 of the transformed tile whose left column of pixels is x, for one block of channels; positions are `position` floats apart.
template <int Half>
AVX512_CODE __attribute__((noinline)) void transform_half(const SourceRows& rows, int64_t x, float* v, int64_t position) {
  __m512 s[3][6];
  AVX512_UNROLL
  for (int j = 0; j < 6; ++j) {
    if (x + j < 0 || x + j >= rows.w) {
      AVX512_UNROLL
      for (int i = 0; i < 3; ++i) s[i][j] = _mm512_setzero_ps();
      continue;
    }
    const int64_t at = (x + j) * 16;
    __m512 d[5], out[3];
    AVX512_UNROLL
    for (int i = 0; i < 5; ++i) d[i] = _mm512_loadu_ps(rows.row[i + Half] + (at & rows.keep[i + Half]));
    if (Half == 0) forward_low(d, out);
    else forward_high(d, out);
    AVX512_UNROLL
    for (int i = 0; i < 3; ++i) s[i][j] = out[i];
  }
  v += 18 * Half * position;
  AVX512_UNROLL
  for (int i = 0; i < 3; ++i) {
    __m512 out[6];
    forward_low(s[i], out);
    forward_high(s[i] + 1, out + 3);
    AVX512_UNROLL
    for (int j = 0; j < 6; ++j, v += position) _mm512_storeu_ps(v, out[j]);
  }
}

void transform_tile(const SourceRows& rows, int64_t x, float* v, int64_t position) {
  transform_half<0>(rows, x, v, position);
  transform_half<1>(rows, x, v, position);
}

// Aᵀ of six values, rows 0 and 2, and rows 1 and 3.
AVX512_INLINE void back_even(const __m512 m[6], __m512 out[2]) {
  const __m512 first = _mm512_add_ps(m[1], m[2]), second = _mm512_add_ps(m[3], m[4]);
  out[0] = add(ka, first, add(kb, second, mul(k0, m[0])));
  out[1] = add(ka * a2, first, mul(kb * b2, second));
}
AVX512_INLINE void back_odd(const __m512 m[6], __m512 out[2]) {
  const __m512 first = _mm512_sub_ps(m[1], m[2]), second = _mm512_sub_ps(m[3], m[4]);
  out[0] = add(ka * a1, first, mul(kb * b1, second));
  out[1] = add(ka * a2 * a1, first, add(kb * b2 * b1, second, m[5]));
}

// Rows Odd and Odd + 2 of a tile's 4x4 results, from pixel (y, x) on.
template <int Odd>
AVX512_INLINE void untransform_half(const float* m, int64_t position, const ResultRows& r, int64_t y, int64_t x, __m512 bias) {
  __m512 s[2][6];
  AVX512_UNROLL
  for (int j = 0; j < 6; ++j) {
    __m512 column[6], out[2];
    AVX512_UNROLL
    for (int i = Odd; i < 5 + Odd; ++i) column[i] = _mm512_loadu_ps(m + (6 * i + j) * position);
    if (Odd == 0) back_even(column, out);
    else back_odd(column, out);
    AVX512_UNROLL
    for (int i = 0; i < 2; ++i) s[i][j] = out[i];
  }
  AVX512_UNROLL
  for (int i = 0; i < 2; ++i) {
    const int64_t row = y + Odd + 2 * i;
    if (row >= r.oh) return;
    __m512 even[2], odd[2];
    back_even(s[i], even);
    back_odd(s[i], odd);
    float* to = r.plane + (row * r.ow + x) * 16;
    _mm512_storeu_ps(to, _mm512_add_ps(even[0], bias));
    if (x + 1 < r.ow) _mm512_storeu_ps(to + 16, _mm512_add_ps(odd[0], bias));
    if (x + 2 < r.ow) _mm512_storeu_ps(to + 32, _mm512_add_ps(even[1], bias));
    if (x + 3 < r.ow) _mm512_storeu_ps(to + 48, _mm512_add_ps(odd[1], bias));
  }
}

// `count` tiles of one row of tiles from pixel (y, x) on, 16 channels.
AVX512_CODE void untransform_row(const float* m, int64_t tile, int64_t position, int64_t count, const ResultRows& r, int64_t y, int64_t x, const float* bias) {
  const __m512 b = bias == nullptr ? _mm512_setzero_ps() : _mm512_loadu_ps(bias);
  for (int64_t t = 0; t < count; ++t, m += tile, x += 4) {
    untransform_half<0>(m, position, r, y, x, b);
    untransform_half<1>(m, position, r, y, x, b);
  }
}

// G of three values, but for the factors of its rows, which Aᵀ has instead.
AVX512_INLINE void transform_taps(__m512 g0, __m512 g1, __m512 g2, __m512 out[6]) {
  const __m512 even_a = add(a2, g2, g0), even_b = add(b2, g2, g0);
  out[0] = g0;
  out[1] = add(a1, g1, even_a);
  out[2] = subtract(a1, g1, even_a);
  out[3] = add(b1, g1, even_b);
  out[4] = subtract(b1, g1, even_b);
  out[5] = g2;
}

// Result channels r .. r + 15 of source channels first..end; out: position 0, `width` floats a source channel and `position` floats a position.
AVX512_CODE void pack_block(const Winograd& conv, const float* weights, int64_t r, int64_t first, int64_t end, float* out, int64_t width, int64_t position) {
  for (int64_t s = first; s < end; ++s, out += width) {
    __m512 g[9], t[3][6];
    load_taps(conv, weights, r, s, g);
    AVX512_UNROLL
    for (int j = 0; j < 3; ++j) transform_taps(g[j], g[3 + j], g[6 + j], t[j]);
    AVX512_UNROLL
    for (int i = 0; i < 6; ++i) {
      __m512 u[6];
      transform_taps(t[0][i], t[1][i], t[2][i], u);
      AVX512_UNROLL
      for (int j = 0; j < 6; ++j) _mm512_storeu_ps(out + (6 * i + j) * position, u[j]);
    }
  }
}

#else

[[noreturn]] void absent() { throw std::logic_error("internal: AVX-512 kernels were not compiled for this processor"); }
void transform_tile(const SourceRows&, int64_t, float*, int64_t) { absent(); }
void untransform_row(const float*, int64_t, int64_t, int64_t, const ResultRows&, int64_t, int64_t, const float*) { absent(); }
void pack_block(const Winograd&, const float*, int64_t, int64_t, int64_t, float*, int64_t, int64_t) { absent(); }

#endif

int64_t up(int64_t x, int64_t step) { return (x + step - 1) / step * step; }

}  // namespace

bool Winograd::from(ConvDirection direction, const ConvGeometry& g) {
  return float_tile_available() && WinogradShape::from(direction, g);
}

// Direct-equivalent GFLOP/s (forward / input gradient) on two Zen 4 cores, oneDNN's choice -> ours, small weights packed already; the best of
// three runs, by turns, on a busy machine:
//   batch 4:   640->640 at 8x8    258/251 -> 515/547   320->320 at 16x16  484/490 -> 673/655   160->160 at 32x32  563/542 -> 770/779
//   batch 16:  640->640 at 8x8    536/482 -> 625/666   256->256 at 8x8    443/413 -> 721/699   128->256 at 8x8    423/425 -> 722/699
//   batch 32:  32->32 at 32x32    451/440 -> 580/649   64->64 at 16x16    583/591 -> 763/760   128->128 at 8x8    523/519 -> 839/841
//              16->32 at 32x32    239/350 -> 603/613   32->64 at 32x32    540/484 -> 665/651   64->128 at 16x16   656/621 -> 799/799
//   batch 64:  16->16 at 32x32    171/236 -> 525/538   64->64 at 4x4      446/453 -> 771/770   32->32 at 6x6      293/294 -> 392/390
//   batch 1:   64->64 at 8x8      259/261 -> 522/515   16->16 at 8x8      127/128 -> 185/185   256->256 at 8x8    276/277 -> 368/365
// and where it is not taken (batch 64, of an earlier build): 128->128 at 2x2 292/316 -> 203/211, 32->32 at 5x5 304/301 -> 271/270.
// So: more than a few tiles, and at least half full.
bool Winograd::preferred() const {
  const double filled = static_cast<double>(n * oh * ow) / static_cast<double>(kTile * kTile * tiles());
  return tiles() >= 4 && filled >= 0.55;
}

size_t Winograd::packed_bytes() const {
  const int64_t bytes = kP * (c * o + kSkew * Panels{0, o / 16}.count()) * 4;
  return bytes <= kKept ? static_cast<size_t>(bytes) : 0;
}

// [panel][position][c][panel's width], kSkew floats from position to position.
void Winograd::pack(const float* weights, void* packed) const {
  const Panels panels{0, o / 16};
#pragma omp parallel for schedule(static) num_threads(threads) if (c * o > 32 * 32)
  for (int64_t block = 0; block < o / 16; ++block) {
    const int64_t p = panels.of(block), start = panels.start(p), width = panels.width(p);
    float* out = static_cast<float*>(packed) + kP * (c * start + kSkew * p) + 16 * block - start;
    pack_block(*this, weights, 16 * block, 0, c, out, width, c * width + kSkew);
  }
}

int64_t Winograd::limit() const {
  if (packed_bytes() == 0) return std::min(tiles(), kRound);
  return std::clamp<int64_t>(kCache / (kP * 4 * (c + std::min(o, kPanel))) / 12 * 12, 12, 96);
}

size_t Winograd::workspace() const {
  const int64_t v = kP * (limit() * c + kSkew * c / kSlice), m = kP * (limit() * std::min(o, kPanel) + kSkew), u = kP * (kSlice * kPanel + kSkew);
  return static_cast<size_t>(packed_bytes() == 0 ? v + threads * (m + u) : threads * (v + m)) * 4;
}

// Tiles first..end to v; tiles, blocks of 16 channels and positions are so many floats apart.
void Winograd::transform(const float* source, int64_t first, int64_t end, float* v, int64_t tile, int64_t block_step, int64_t position) const {
  const int64_t across = tile_columns(), down = tile_rows();
  for (int64_t t = first; t < end;) {
    const int64_t image = t / (across * down), y = t / across % down, left = t % across, count = std::min(across - left, end - t);
    for (int64_t block = 0; block < c / 16; ++block) {
      const float* plane = source + (image * c / 16 + block) * h * w * 16;
      const SourceRows rows(plane, kTile * y - pad[0], h, w);
      float* to = v + (t - first) * tile + block * block_step;
      for (int64_t i = 0; i < count; ++i) transform_tile(rows, kTile * (left + i) - pad[1], to + i * tile, position);
    }
    t += count;
  }
}

// Sums of result channels channel..channel + width.
void Winograd::untransform(const float* m, int64_t channel, int64_t width, int64_t position, int64_t first, int64_t count, const float* bias,
                           float* result) const {
  const int64_t across = tile_columns(), down = tile_rows();
  for (int64_t t = first; t < first + count;) {
    const int64_t image = t / (across * down), y = t / across % down, left = t % across, row = std::min(across - left, first + count - t);
    for (int64_t j = 0; j < width; j += 16) {
      const ResultRows rows{result + (image * o + channel + j) * oh * ow, oh, ow};
      untransform_row(m + (t - first) * width + j, width, position, row, rows, 4 * y, 4 * left, bias == nullptr ? nullptr : bias + channel + j);
    }
    t += row;
  }
}

void Winograd::run_apart(int thread, const float* source, const float* packed, const float* bias, float* result, float* workspace) const {
  const int64_t most = limit(), v_position = most * c + kSkew, m_size = kP * (most * std::min(o, kPanel) + kSkew);
  float* v = workspace + thread * (kP * v_position + m_size);
  float* m = v + kP * v_position;
  const int64_t begin = tiles() * thread / threads, end = tiles() * (thread + 1) / threads, runs = (end - begin + most - 1) / most;
  const int64_t step = runs == 0 ? 0 : std::min(most, up((end - begin + runs - 1) / runs, 6));
  const Panels panels{0, o / 16};
  for (int64_t t = begin; t < end; t += step) {
    const int64_t count = std::min(step, end - t);
    transform(source, t, t + count, v, c, 16, v_position);
    for (int64_t p = 0; p < panels.count(); ++p) {
      const int64_t start = panels.start(p), width = panels.width(p), m_position = count * width + kSkew;
      for (int64_t s = 0; s < c; s += kChain) {
        const float* u = packed + kP * (c * start + kSkew * p) + s * width;
        FloatTile tile{v + s, c, 1, u, width, m, width, count, width, std::min(kChain, c - s), s > 0};
        for (int64_t k = 0; k < kP; ++k, tile.a += v_position, tile.b += c * width + kSkew, tile.c += m_position) float_multiply(tile);
      }
      untransform(m, start, width, m_position, t, count, bias, result);
    }
  }
}

// Called by every thread of a team; they meet between transforming and multiplying. V is [c / 16][position][tile][16]: a slice of it is contiguous.
void Winograd::run_shared(int thread, const float* source, const float* weights, const float* bias, float* result, float* workspace) const {
  const int64_t most = limit(), v_position = most * kSlice + kSkew, v_slice = kP * v_position, m_size = kP * (most * std::min(o, kPanel) + kSkew);
  float *v = workspace, *m = v + c / kSlice * v_slice + thread * (m_size + kP * (kSlice * kPanel + kSkew)), *u = m + m_size;
  const Panels panels{o / 16 * thread / threads, o / 16 * (thread + 1) / threads};
  for (int64_t first = 0; first < tiles(); first += most) {
    const int64_t count = std::min(most, tiles() - first), mine = count * thread / threads;
    transform(source, first + mine, first + count * (thread + 1) / threads, v + mine * kSlice, kSlice, v_slice, v_position);
#pragma omp barrier
    for (int64_t p = 0; p < panels.count(); ++p) {
      const int64_t start = panels.start(p), width = panels.width(p), u_position = kSlice * width + kSkew, m_position = count * width + kSkew;
      for (int64_t s = 0; s < c; s += kSlice) {
        for (int64_t j = 0; j < width; j += 16) pack_block(*this, weights, start + j, s, s + kSlice, u + j, width, u_position);
        FloatTile tile{v + s / kSlice * v_slice, kSlice, 1, u, width, m, width, count, width, kSlice, s > 0};
        for (int64_t k = 0; k < kP; ++k, tile.a += v_position, tile.b += u_position, tile.c += m_position) float_multiply(tile);
      }
      untransform(m, start, width, m_position, first, count, bias, result);
    }
#pragma omp barrier
  }
}

void Winograd::run(const void* source, const void* weights, const float* bias, void* result, void* workspace) const {
  const auto one = [&](int thread) {
    const float *from = static_cast<const float*>(source), *w = static_cast<const float*>(weights);
    float *to = static_cast<float*>(result), *place = static_cast<float*>(workspace);
    if (packed_bytes() == 0) run_shared(thread, from, w, bias, to, place);
    else run_apart(thread, from, w, bias, to, place);
  };
  if (threads == 1) return one(0);
#pragma omp parallel num_threads(threads)
  one(omp_get_thread_num());
}

}  // namespace langevin
