// See conv_narrow.h. Channels of a block are vector lanes; every pixel accumulates its taps in one vector a result channel and adds the
// lanes up at the end. Four neighbouring pixels share the loads of the weights.
#include "cpu/conv_narrow.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/conv_narrow.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace langevin {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// P pixels (y, x..x+P-1) of image n, R result channels, blocks of B; taps rows i0..i1 and columns j0..j1 lie inside the source for all P.
template <int B, int R, int P>
HWY_INLINE void pixels(const NarrowConv& g, const float* source, const float* packed, const float* bias, float* result, int64_t x, int64_t row,
                       int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
  const hn::CappedTag<float, B> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d)), area = g.sh * g.sw;
  using V = decltype(hn::Zero(d));
  V total[P * R];
  for (int k = 0; k < P * R; ++k) total[k] = hn::Zero(d);
  for (int64_t block = 0; block < g.s / B; ++block) {
    for (int64_t i = i0; i < i1; ++i) {
      const float* from = source + (block * area + (row + i) * g.sw + x + g.offset[1]) * B;
      const float* weights = packed + (block * g.kh + i) * g.kw * R * B;
      for (int64_t j = j0; j < j1; ++j) {
        for (int64_t lane = 0; lane < B; lane += lanes) {
          V w[R];
          for (int c = 0; c < R; ++c) w[c] = hn::LoadU(d, weights + (j * R + c) * B + lane);
          for (int p = 0; p < P; ++p) {
            const V v = hn::LoadU(d, from + (j + p) * B + lane);
            for (int c = 0; c < R; ++c) total[p * R + c] = hn::MulAdd(v, w[c], total[p * R + c]);
          }
        }
      }
    }
  }
  for (int c = 0; c < R; ++c) {
    for (int p = 0; p < P; ++p) result[c * g.rh * g.rw + p] = hn::GetLane(hn::SumOfLanes(d, total[p * R + c])) + (bias == nullptr ? 0.0f : bias[c]);
  }
}

// One row of the result.
template <int B, int R>
void row_of(const NarrowConv& g, const float* source, const float* packed, const float* bias, float* result, int64_t y) {
  const int64_t row = y + g.offset[0];
  const int64_t i0 = std::max<int64_t>(0, -row), i1 = std::min(g.kh, g.sh - row);
  int64_t x = 0;
  while (x < g.rw) {
    const int64_t left = x + g.offset[1];
    const bool inside = left >= 0 && left + 3 + g.kw <= g.sw && x + 4 <= g.rw;
    if (inside) {
      pixels<B, R, 4>(g, source, packed, bias, result + x, x, row, i0, i1, 0, g.kw);
      x += 4;
    } else {
      pixels<B, R, 1>(g, source, packed, bias, result + x, x, row, i0, i1, std::max<int64_t>(0, -left), std::min(g.kw, g.sw - left));
      x += 1;
    }
  }
}

template <int B>
void narrow_row(const NarrowConv& g, const float* source, const float* packed, const float* bias, float* result, int64_t y) {
  switch (g.r) {
    case 1: return row_of<B, 1>(g, source, packed, bias, result, y);
    case 2: return row_of<B, 2>(g, source, packed, bias, result, y);
    case 3: return row_of<B, 3>(g, source, packed, bias, result, y);
    default: return row_of<B, 4>(g, source, packed, bias, result, y);
  }
}

void row_task(const NarrowConv& g, const float* source, const float* packed, const float* bias, float* result, int64_t task) {
  const int64_t n = task / g.rh, y = task % g.rh;
  source += n * g.s * g.sh * g.sw;
  result += n * g.r * g.rh * g.rw + y * g.rw;
  g.block == 16 ? narrow_row<16>(g, source, packed, bias, result, y) : narrow_row<8>(g, source, packed, bias, result, y);
}

}  // namespace HWY_NAMESPACE
}  // namespace langevin
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace langevin {

HWY_EXPORT(row_task);

bool NarrowConv::from(ConvDirection direction, const ConvGeometry& g, Layout source, Layout result, NarrowConv* narrow) {
  const bool forward = direction == ConvDirection::Forward;
  if (direction == ConvDirection::WeightGrad || source == Layout::Plain || result != Layout::Plain || g.empty() || g.groups != 1) return false;
  if (g.stride[0] != 1 || g.stride[1] != 1 || g.dilation[0] != 1 || g.dilation[1] != 1) return false;
  NarrowConv v;
  v.n = g.n, v.kh = g.kh, v.kw = g.kw, v.block = block_of(source), v.input_grad = !forward, v.bias = g.bias;
  if (forward) {
    v.s = g.c, v.sh = g.h, v.sw = g.w, v.r = g.o, v.rh = g.oh, v.rw = g.ow;
    v.offset[0] = -g.pad[0], v.offset[1] = -g.pad[1];
  } else {  // the taps turned round
    v.s = g.o, v.sh = g.oh, v.sw = g.ow, v.r = g.c, v.rh = g.h, v.rw = g.w;
    v.offset[0] = g.pad[0] - g.kh + 1, v.offset[1] = g.pad[1] - g.kw + 1;
  }
  if (v.r > kMost) return false;
  *narrow = v;
  return true;
}

// packed[s / block][i][j][r][s % block]
void NarrowConv::pack(const float* weight, float* packed) const {
  const int64_t taps = kh * kw;
  for (int64_t k = 0; k < s; ++k) {
    for (int64_t c = 0; c < r; ++c) {
      const float* from = weight + (input_grad ? k * r + c : c * s + k) * taps;
      for (int64_t t = 0; t < taps; ++t) packed[((k / block * taps + t) * r + c) * block + k % block] = from[input_grad ? taps - 1 - t : t];
    }
  }
}

void NarrowConv::run(const float* source, const float* packed, const float* bias, float* result) const {
  const int64_t tasks = n * rh, work = tasks * rw * s * r * kh * kw;
#pragma omp parallel for schedule(static) if (work > 200000)
  for (int64_t task = 0; task < tasks; ++task) HWY_DYNAMIC_DISPATCH(row_task)(*this, source, packed, bias, result, task);
}

}  // namespace langevin
#endif
