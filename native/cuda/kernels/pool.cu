// Pooling and its gradients, a thread an element of the result. Gradients gather: each element of the input adds the shares of the windows that cover
// it, in the order in which the CPU's loops reach it. What is a maximum stands at the head of native/cpu/pool.cc.
#include "cuda/kernels/args_pool.h"
#include "cuda/kernels/each.cuh"

namespace langevin {

// The part of one window that lies inside the image.
template <class Signed>
struct PoolWindow {
  Signed top, bottom, left, right;
};

template <class Index, class Signed>
LANGEVIN_DEVICE PoolWindow<Signed> pool_window(const PoolArgs<Index>& args, Signed p, Signed q) {
  return {args.rows.begin(p), args.rows.end(p), args.columns.begin(q), args.columns.end(q)};
}

// 1 / number of elements that the mean divides by; 0 for a window without any.
template <class Index, class Signed>
LANGEVIN_DEVICE float pool_mean_weight(const PoolArgs<Index>& args, const PoolWindow<Signed>& v) {
  int64_t count = args.mean_of;
  if (count == 0) {
    const int64_t high = v.bottom - v.top, wide = v.right - v.left;
    count = high > 0 && wide > 0 ? high * wide : 0;
  }
  return count == 0 ? 0.0f : 1.0f / static_cast<float>(count);
}

// Where a visited element stands, and the offset of its image in the input and in the windows' order.
template <class Index>
struct PoolPlace {
  typename SignedIndex<Index>::Type row, column;
  Index inputs, windows, step;
};

template <class Index>
LANGEVIN_DEVICE PoolPlace<Index> pool_place(const PoolArgs<Index>& args, Index i) {
  using Signed = typename SignedIndex<Index>::Type;
  Index a = i;
  const Index b = take_axis(a, args.b), column = take_axis(a, args.width), row = take_axis(a, args.height), step = args.b.divisor;
  const Index image = static_cast<Index>(args.rows.size) * static_cast<Index>(args.columns.size);
  const Index windows = static_cast<Index>(args.rows.windows) * static_cast<Index>(args.columns.windows);
  return {static_cast<Signed>(row), static_cast<Signed>(column), a * image * step + b, a * windows * step + b, step};
}

template <class Index>
LANGEVIN_DEVICE void pool_average(const PoolArgs<Index>& args) {
  using Signed = typename SignedIndex<Index>::Type;
  each_index(args.count, [&](Index e) {
    const PoolPlace<Index> at = pool_place(args, e);
    const PoolWindow<Signed> v = pool_window(args, at.row, at.column);
    float total = 0.0f;
    for (Signed i = v.top; i < v.bottom; ++i) {
      for (Signed j = v.left; j < v.right; ++j) total += args.x[at.inputs + static_cast<Index>(i * args.columns.size + j) * at.step];
    }
    args.out[e] = total * pool_mean_weight(args, v);
  });
}
LANGEVIN_KERNEL_WIDTHS(langevin_pool_average, PoolArgs, pool_average)

template <class Index>
LANGEVIN_DEVICE void pool_average_grad(const PoolArgs<Index>& args) {
  using Signed = typename SignedIndex<Index>::Type;
  each_index(args.count, [&](Index e) {
    const PoolPlace<Index> at = pool_place(args, e);
    const Signed row_end = args.rows.last(at.row), column_begin = args.columns.first(at.column), column_end = args.columns.last(at.column);
    float total = 0.0f;
    for (Signed p = args.rows.first(at.row); p <= row_end; ++p) {
      for (Signed q = column_begin; q <= column_end; ++q) {
        const float weight = pool_mean_weight(args, pool_window(args, p, q));
        total += args.x[at.windows + static_cast<Index>(p * args.columns.windows + q) * at.step] * weight;
      }
    }
    args.out[e] = total;
  });
}
LANGEVIN_KERNEL_WIDTHS(langevin_pool_average_grad, PoolArgs, pool_average_grad)

struct PoolMaximum {
  float value;
  int32_t position;
};

// The maximum of the window at (p, q) of the image at `inputs`.
template <class Index, class Signed>
LANGEVIN_DEVICE PoolMaximum pool_find(const PoolArgs<Index>& args, const PoolPlace<Index>& at, Signed p, Signed q) {
  const PoolWindow<Signed> v = pool_window(args, p, q);
  PoolMaximum best = {-INFINITY, -1};
  for (Signed i = v.top; i < v.bottom; ++i) {
    for (Signed j = v.left; j < v.right; ++j) {
      const Signed here = i * args.columns.size + j;
      const float x = args.x[at.inputs + static_cast<Index>(here) * at.step];
      // Nothing replaces a NaN; a NaN replaces any number; and the first element stands even at -infinity.
      const bool better = best.value == best.value && (x > best.value || x != x || best.position < 0);
      if (better) best = {x, static_cast<int32_t>(here)};
    }
  }
  return best;
}

template <class Index>
LANGEVIN_DEVICE void pool_maximum(const PoolArgs<Index>& args) {
  each_index(args.count, [&](Index e) {
    const PoolPlace<Index> at = pool_place(args, e);
    args.out[e] = pool_find(args, at, at.row, at.column).value;
  });
}
LANGEVIN_KERNEL_WIDTHS(langevin_pool_maximum, PoolArgs, pool_maximum)

template <class Index>
LANGEVIN_DEVICE void pool_select(const PoolArgs<Index>& args) {
  each_index(args.count, [&](Index e) {
    const PoolPlace<Index> at = pool_place(args, e);
    const int32_t position = pool_find(args, at, at.row, at.column).position;
    args.out[e] = position < 0 ? 0.0f : args.other[at.inputs + static_cast<Index>(position) * at.step];
  });
}
LANGEVIN_KERNEL_WIDTHS(langevin_pool_select, PoolArgs, pool_select)

template <class Index>
LANGEVIN_DEVICE void pool_positions(const PoolArgs<Index>& args) {
  each_index(args.count, [&](Index e) {
    const PoolPlace<Index> at = pool_place(args, e);
    args.positions[e] = pool_find(args, at, at.row, at.column).position;
  });
}
LANGEVIN_KERNEL_WIDTHS(langevin_pool_positions, PoolArgs, pool_positions)

template <class Index>
LANGEVIN_DEVICE void pool_maximum_grad(const PoolArgs<Index>& args) {
  using Signed = typename SignedIndex<Index>::Type;
  each_index(args.count, [&](Index e) {
    const PoolPlace<Index> at = pool_place(args, e);
    const int32_t here = static_cast<int32_t>(at.row * args.columns.size + at.column);
    const Signed row_end = args.rows.last(at.row), column_begin = args.columns.first(at.column), column_end = args.columns.last(at.column);
    float total = 0.0f;
    for (Signed p = args.rows.first(at.row); p <= row_end; ++p) {
      for (Signed q = column_begin; q <= column_end; ++q) {
        const Index window = at.windows + static_cast<Index>(p * args.columns.windows + q) * at.step;
        if (args.positions[window] == here) total += args.other[window];
      }
    }
    args.out[e] = total;
  });
}
LANGEVIN_KERNEL_WIDTHS(langevin_pool_maximum_grad, PoolArgs, pool_maximum_grad)

}  // namespace langevin
