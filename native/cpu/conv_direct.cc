// See conv_direct.h. Each task owns one output plane and adds in a fixed order, so results do not depend on the number of threads.
#include "cpu/conv_direct.h"

#include <algorithm>

namespace langevin {

namespace {

// Outputs p (first <= p < last) whose tap `offset` (kernel index times dilation, minus padding) falls inside 0..length-1.
struct Range {
  int64_t first, last;
};
Range inside(int64_t outputs, int64_t stride, int64_t offset, int64_t length) {
  const int64_t first = offset >= 0 ? 0 : (-offset + stride - 1) / stride;
  const int64_t room = length - offset;  // p * stride < room
  const int64_t last = room <= 0 ? 0 : (room + stride - 1) / stride;
  return {std::min(first, outputs), std::max(std::min(first, outputs), std::min(last, outputs))};
}

// Calls row(x row, y row, first, last, column offset) for every output row that kernel tap (i, j) reaches.
template <class Row>
void each_row(const ConvGeometry& g, int64_t i, int64_t j, Row row) {
  const int64_t down = i * g.dilation[0] - g.pad[0], right = j * g.dilation[1] - g.pad[1];
  const Range rows = inside(g.oh, g.stride[0], down, g.h), columns = inside(g.ow, g.stride[1], right, g.w);
  if (columns.first >= columns.last) return;
  for (int64_t p = rows.first; p < rows.last; ++p) row((p * g.stride[0] + down) * g.w + right, p * g.ow, columns.first, columns.last);
}

bool large(const ConvGeometry& g) { return g.flops() > 1e5; }

}  // namespace

void conv_direct(const ConvGeometry& g, const float* x, const float* w, const float* bias, float* y) {
  const int64_t cg = g.c / g.groups, og = g.o / g.groups, step = g.stride[1];
#pragma omp parallel for schedule(static) if (large(g))
  for (int64_t task = 0; task < g.n * g.o; ++task) {
    const int64_t n = task / g.o, o = task % g.o;
    float* out = y + task * g.oh * g.ow;
    std::fill(out, out + g.oh * g.ow, bias ? bias[o] : 0.0f);
    for (int64_t c = 0; c < cg; ++c) {
      const float* in = x + (n * g.c + o / og * cg + c) * g.h * g.w;
      for (int64_t tap = 0; tap < g.kh * g.kw; ++tap) {
        const float weight = w[(o * cg + c) * g.kh * g.kw + tap];
        each_row(g, tap / g.kw, tap % g.kw, [&](int64_t from, int64_t to, int64_t first, int64_t last) {
          for (int64_t q = first; q < last; ++q) out[to + q] += weight * in[from + q * step];
        });
      }
    }
  }
}

void conv_direct_input_grad(const ConvGeometry& g, const float* dy, const float* w, float* dx) {
  const int64_t cg = g.c / g.groups, og = g.o / g.groups, step = g.stride[1];
#pragma omp parallel for schedule(static) if (large(g))
  for (int64_t task = 0; task < g.n * g.c; ++task) {
    const int64_t n = task / g.c, c = task % g.c, group = c / cg;
    float* out = dx + task * g.h * g.w;
    std::fill(out, out + g.h * g.w, 0.0f);
    for (int64_t o = group * og; o < (group + 1) * og; ++o) {
      const float* in = dy + (n * g.o + o) * g.oh * g.ow;
      for (int64_t tap = 0; tap < g.kh * g.kw; ++tap) {
        const float weight = w[(o * cg + c % cg) * g.kh * g.kw + tap];
        each_row(g, tap / g.kw, tap % g.kw, [&](int64_t to, int64_t from, int64_t first, int64_t last) {
          for (int64_t q = first; q < last; ++q) out[to + q * step] += weight * in[from + q];
        });
      }
    }
  }
}

void conv_direct_weight_grad(const ConvGeometry& g, const float* x, const float* dy, float* dw) {
  const int64_t cg = g.c / g.groups, og = g.o / g.groups, step = g.stride[1];
#pragma omp parallel for schedule(static) if (large(g))
  for (int64_t task = 0; task < g.o * cg; ++task) {
    const int64_t o = task / cg, c = o / og * cg + task % cg;
    for (int64_t tap = 0; tap < g.kh * g.kw; ++tap) {
      double total = 0;  // over batch and image: long sums
      for (int64_t n = 0; n < g.n; ++n) {
        const float* in = x + (n * g.c + c) * g.h * g.w;
        const float* out = dy + (n * g.o + o) * g.oh * g.ow;
        each_row(g, tap / g.kw, tap % g.kw, [&](int64_t from, int64_t to, int64_t first, int64_t last) {
          for (int64_t q = first; q < last; ++q) total += static_cast<double>(in[from + q * step]) * out[to + q];
        });
      }
      dw[task * g.kh * g.kw + tap] = static_cast<float>(total);
    }
  }
}

}  // namespace langevin
