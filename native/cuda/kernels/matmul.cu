// Products that are too small or too thin for cuBLASLt to be worth its start, and any that it refuses. Each sum has one fixed order.
#include "cuda/kernels/args_matmul.h"
#include "cuda/kernels/precision.cuh"

namespace langevin {

struct MatmulPlace {
  int64_t a, b;  // of the first terms
};

// Where the terms of result r are.
LANGEVIN_DEVICE MatmulPlace matmul_place(const MatmulArgs& args, int64_t r) {
  const int64_t j = r % args.n, i = r / args.n % args.m;
  int64_t batch = r / args.n / args.m;
  MatmulPlace place = {i * args.a_row, j * args.b_column};
  for (int axis = args.axes - 1; axis >= 0; --axis) {
    const int64_t at = batch % args.size[axis];
    batch /= args.size[axis];
    place.a += at * args.a_step[axis];
    place.b += at * args.b_step[axis];
  }
  return place;
}

// Terms first, first + step, ... of a sum.
LANGEVIN_DEVICE float matmul_sum(const MatmulArgs& args, const MatmulPlace& place, int64_t first, int64_t step) {
  float sum = 0.0f;
  for (int64_t e = first; e < args.k; e += step) {
    sum += load_number(args.a, place.a + e * args.a_inner, args.a_half) * load_number(args.b, place.b + e * args.b_inner, args.b_half);
  }
  return sum;
}

// A thread a result: short sums.
LANGEVIN_KERNEL(langevin_matmul_elements, MatmulArgs, args) {
  for (int64_t r = block_index() * block_size() + thread_index(); r < args.count; r += block_size() * grid_size()) {
    store_number(args.result, r, args.result_half, matmul_sum(args, matmul_place(args, r), 0, 1));
  }
}

// args.lanes threads a result, whose sums are added as a tree. Blocks of kMatmulThreads; a float of shared memory a thread.
LANGEVIN_KERNEL(langevin_matmul_lanes, MatmulArgs, args) {
  LANGEVIN_SHARED(float, partial);
  const int64_t results = block_size() / args.lanes, t = thread_index();
  const int64_t own = args.along_sum ? t / args.lanes : t % results, lane = args.along_sum ? t % args.lanes : t / results;
  float* sums = partial + own * args.lanes;
  for (int64_t base = block_index() * results; base < args.count; base += grid_size() * results) {
    const int64_t r = base + own;
    sums[lane] = r < args.count ? matmul_sum(args, matmul_place(args, r), lane, args.lanes) : 0.0f;
    block_barrier();
    for (int64_t width = args.lanes / 2; width > 0; width /= 2) {
      if (lane < width) sums[lane] += sums[lane + width];
      block_barrier();
    }
    if (lane == 0 && r < args.count) store_number(args.result, r, args.result_half, sums[0]);
    block_barrier();
  }
}

}  // namespace langevin
