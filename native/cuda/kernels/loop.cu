// What stands beside the text of fused loops (loop_code.cc): the second stage of reductions whose terms several blocks share, and the table of
// pointers of loops with very many operands.
#include "cuda/kernels/args_loop.h"
#include "cuda/kernels/device.cuh"

namespace langevin {

struct FoldSumFloat {
  using Partial = double;
  using Result = float;
  static LANGEVIN_DEVICE double neutral() { return 0.0; }
  static LANGEVIN_DEVICE double fold(double a, double x) { return a + x; }
};
struct FoldSumInt {
  using Partial = int32_t;
  using Result = int32_t;
  static LANGEVIN_DEVICE int32_t neutral() { return 0; }
  static LANGEVIN_DEVICE int32_t fold(int32_t a, int32_t x) { return scalar::add(a, x); }
};
struct FoldMaxFloat {
  using Partial = float;
  using Result = float;
  static LANGEVIN_DEVICE float neutral() { return float_of(0xff80); }
  static LANGEVIN_DEVICE float fold(float a, float x) { return scalar::maximum(x, a); }
};
struct FoldMaxInt {
  using Partial = int32_t;
  using Result = int32_t;
  static LANGEVIN_DEVICE int32_t neutral() { return -2147483647 - 1; }
  static LANGEVIN_DEVICE int32_t fold(int32_t a, int32_t x) { return scalar::maximum(x, a); }
};
struct FoldMinFloat {
  using Partial = float;
  using Result = float;
  static LANGEVIN_DEVICE float neutral() { return float_of(0x7f80); }
  static LANGEVIN_DEVICE float fold(float a, float x) { return scalar::minimum(x, a); }
};
struct FoldMinInt {
  using Partial = int32_t;
  using Result = int32_t;
  static LANGEVIN_DEVICE int32_t neutral() { return 2147483647; }
  static LANGEVIN_DEVICE int32_t fold(int32_t a, int32_t x) { return scalar::minimum(x, a); }
};

// `across` threads side by side for different results, the others for slices of them; then a tree over the latter.
template <class F>
LANGEVIN_DEVICE void fold_slices(const LoopFoldArgs& args, const LoopFoldArgs::One& one, int64_t block) {
  using Partial = typename F::Partial;
  LANGEVIN_SHARED(Partial, shared);
  const int64_t t = thread_index(), along = block_size() / args.across, share = t / args.across;
  const int64_t k = block * args.across + t % args.across;
  Partial sum = F::neutral();
  if (k < args.results) {
    for (int64_t s = share; s < args.slices; s += along) sum = F::fold(sum, static_cast<const Partial*>(one.partial)[s * args.results + k]);
  }
  shared[t] = sum;
  for (int64_t half = along / 2; half > 0; half /= 2) {
    block_barrier();
    if (share < half) shared[t] = F::fold(shared[t], shared[t + half * args.across]);
  }
  if (share == 0 && k < args.results) static_cast<typename F::Result*>(one.to)[k] = static_cast<typename F::Result>(shared[t]);
}

LANGEVIN_KERNEL(langevin_loop_fold, LoopFoldArgs, args) {
  const LoopFoldArgs::One& one = args.folds[block_index() / args.blocks];
  const int64_t block = block_index() % args.blocks;
  switch (one.kind) {
    case FoldKind::SumFloat: return fold_slices<FoldSumFloat>(args, one, block);
    case FoldKind::SumInt: return fold_slices<FoldSumInt>(args, one, block);
    case FoldKind::MaxFloat: return fold_slices<FoldMaxFloat>(args, one, block);
    case FoldKind::MaxInt: return fold_slices<FoldMaxInt>(args, one, block);
    case FoldKind::MinFloat: return fold_slices<FoldMinFloat>(args, one, block);
    case FoldKind::MinInt: return fold_slices<FoldMinInt>(args, one, block);
  }
}

LANGEVIN_KERNEL(langevin_loop_table, LoopTableArgs, args) {
  const int64_t t = thread_index();
  if (t < args.count) args.to[t] = args.at[t];
}

}  // namespace langevin
