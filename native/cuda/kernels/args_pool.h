// Parameters of kernels/pool.cu and kernels/resize.cu, and the arithmetic of both that host and device share.
//
// An image's element is (a, y, x, b), b fastest: a = (image, channel) and one b where rows are plain; a = image and b = channel where channels come last.
// So one kernel serves both orders.
#pragma once

#include "cuda/kernels/args_index.h"

namespace langevin {

// Windows along one axis of an image: window p covers p stride - pad .. p stride - pad + kernel, inside 0..size.
template <class Index>
struct WindowAxis {
  using Signed = typename SignedIndex<Index>::Type;
  Signed kernel = 1, pad = 0, size = 0, windows = 0;
  Divisor<Index> stride;

  LANGEVIN_HD Signed begin(Signed p) const {
    const Signed at = p * static_cast<Signed>(stride.divisor) - pad;
    return at < 0 ? 0 : at;
  }
  LANGEVIN_HD Signed end(Signed p) const {
    const Signed at = p * static_cast<Signed>(stride.divisor) - pad + kernel;
    return at < size ? at : size;
  }
  // The windows that cover element y: first(y)..last(y), both included; none where first is greater.
  LANGEVIN_HD Signed first(Signed y) const {
    const Signed at = y + pad - kernel;  // the last element before which a window must not end
    return at < 0 ? 0 : static_cast<Signed>(stride.divide(static_cast<Index>(at))) + 1;
  }
  LANGEVIN_HD Signed last(Signed y) const {
    const Signed at = static_cast<Signed>(stride.divide(static_cast<Index>(y + pad)));
    return at < windows ? at : windows - 1;
  }
};

template <class Index>
struct PoolArgs {
  const float *x = nullptr, *other = nullptr;  // x, or dy of the mean; other: t of a selection, dy of a maximum
  float* out = nullptr;
  int32_t* positions = nullptr;  // row-major in the image, of each window's maximum; -1: none
  Index count = 0;               // elements that are visited: windows, or the input's
  Divisor<Index> b, width, height;  // of what is visited
  WindowAxis<Index> rows, columns;
  int64_t mean_of = 0;  // what a mean divides by; 0: the elements of its window that are inside the image
};

// What output element i of a resized axis reads: low_weight x[low] + high_weight x[high].
template <class Index>
struct ResizeTap {
  Index low, high;
  float low_weight, high_weight;
};

// An axis of `in` elements that becomes `out`: element i stands at (scale i + shift) / unit, clamped to 0..in - 1, all of them whole numbers: so
// nothing is rounded but the weights.
template <class Index>
struct ResizeAxis {
  using Signed = typename SignedIndex<Index>::Type;
  Signed in = 0, out = 0, scale = 0, shift = 0;
  Divisor<Index> unit;
  Signed bilinear = 0;  // or 1

  LANGEVIN_HD ResizeTap<Index> tap(Index i) const {
    const Signed own = scale * static_cast<Signed>(i) + shift, most = (in - 1) * static_cast<Signed>(unit.divisor);
    const Index at = static_cast<Index>(own < 0 ? 0 : own < most ? own : most), low = unit.divide(at), rest = at - low * unit.divisor;
    if (bilinear == 0) return {low, low, 1.0f, 0.0f};
    const Index high = low + 1 < static_cast<Index>(in) ? low + 1 : low;
    const float whole = static_cast<float>(unit.divisor);
    return {low, high, static_cast<float>(unit.divisor - rest) / whole, static_cast<float>(rest) / whole};
  }
  // The first output element whose `low` is v or more; `out` where there is none.
  LANGEVIN_HD Signed first(Signed v) const {
    if (v <= 0) return 0;
    if (v >= in || scale == 0) return out;
    const Signed distance = v * static_cast<Signed>(unit.divisor) - shift;
    const Signed at = distance <= 0 ? 0 : (distance + scale - 1) / scale;
    return at < out ? at : out;
  }
};

template <class Index>
struct ResizeArgs {
  const float* from = nullptr;
  float* to = nullptr;
  Index count = 0;
  Divisor<Index> b, width, height;  // of what is visited: the result
  ResizeAxis<Index> rows, columns;
};

}  // namespace langevin
