// resize2d and its gradient, a thread an element of the result. The gradient gathers: each element adds, in the order of the CPU's loops, the shares of
// the outputs that read it, which are neighbours (ResizeAxis::first).
#include "cuda/kernels/args_pool.h"
#include "cuda/kernels/each.cuh"

namespace langevin {

template <class Index>
LANGEVIN_DEVICE void resize_elements(const ResizeArgs<Index>& args) {
  each_index(args.count, [&](Index e) {
    Index a = e;
    const Index b = take_axis(a, args.b), j = take_axis(a, args.width), i = take_axis(a, args.height), step = args.b.divisor;
    const Index width = static_cast<Index>(args.columns.in);
    const float* x = args.from + a * static_cast<Index>(args.rows.in) * width * step + b;
    const ResizeTap<Index> r = args.rows.tap(i), c = args.columns.tap(j);
    const float *low = x + r.low * width * step, *high = x + r.high * width * step;
    const Index left = c.low * step, right = c.high * step;
    if (args.rows.bilinear == 0) {
      args.to[e] = low[left];
    } else {
      args.to[e] = r.low_weight * (c.low_weight * low[left] + c.high_weight * low[right]) +
                   r.high_weight * (c.low_weight * high[left] + c.high_weight * high[right]);
    }
  });
}
LANGEVIN_KERNEL_WIDTHS(langevin_resize, ResizeArgs, resize_elements)

// Output (p, q) gives its weight to up to four corners; those that are this element, in the corners' order.
template <class Index>
LANGEVIN_DEVICE float resize_share(float total, float dy, const ResizeTap<Index>& r, const ResizeTap<Index>& c, Index i, Index j, bool bilinear) {
  const float upper = r.low_weight * dy, lower = r.high_weight * dy;
  if (r.low == i && c.low == j) total += c.low_weight * upper;
  if (!bilinear) return total;
  if (r.low == i && c.high == j) total += c.high_weight * upper;
  if (r.high == i && c.low == j) total += c.low_weight * lower;
  if (r.high == i && c.high == j) total += c.high_weight * lower;
  return total;
}

template <class Index>
LANGEVIN_DEVICE void resize_grad_elements(const ResizeArgs<Index>& args) {
  using Signed = typename SignedIndex<Index>::Type;
  each_index(args.count, [&](Index e) {
    Index a = e;
    const Index b = take_axis(a, args.b), j = take_axis(a, args.width), i = take_axis(a, args.height), step = args.b.divisor;
    const Index width = static_cast<Index>(args.columns.out);
    const float* dy = args.from + a * static_cast<Index>(args.rows.out) * width * step + b;
    const bool bilinear = args.rows.bilinear != 0;
    const Signed before = bilinear ? 1 : 0, row = static_cast<Signed>(i), column = static_cast<Signed>(j);
    const Signed row_end = args.rows.first(row + 1), column_begin = args.columns.first(column - before), column_end = args.columns.first(column + 1);
    float total = 0.0f;
    for (Signed p = args.rows.first(row - before); p < row_end; ++p) {
      const ResizeTap<Index> r = args.rows.tap(static_cast<Index>(p));
      for (Signed q = column_begin; q < column_end; ++q) {
        const Index at = static_cast<Index>(p) * width + static_cast<Index>(q);
        total = resize_share(total, dy[at * step], r, args.columns.tap(static_cast<Index>(q)), i, j, bilinear);
      }
    }
    args.to[e] = total;
  });
}
LANGEVIN_KERNEL_WIDTHS(langevin_resize_grad, ResizeArgs, resize_grad_elements)

}  // namespace langevin
