// Folding arrays for the reductions of fused loops (ReduceTable of loop_simd.h). Sums of float32 run in float32 lanes over short
// stretches and in double between them, so that a mean over millions of elements keeps float32 precision.
#include "cpu/loop_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/loop_reduce.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#include <algorithm>
#include <limits>

#include "cpu/loop_simd.h"
#include "ops/functors.h"

HWY_BEFORE_NAMESPACE();
namespace langevin {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

constexpr size_t kStretch = 4096;  // elements folded in float32 before they go to the accumulator
constexpr size_t kRows = 64;       // rows likewise

// What is folded: lane type, accumulator type, the fold of vectors, of lanes, and of a lane into an accumulator.
struct SumFloat {
  using Lane = float;
  using Accumulator = double;
  static constexpr float kNeutral = 0.0f;
  template <class D, class V>
  static HWY_INLINE V fold(D, V a, V x) { return hn::Add(a, x); }
  static HWY_INLINE float fold(float a, float x) { return a + x; }
  static HWY_INLINE double merge(double a, double x) { return a + x; }
};
struct SumInt {
  using Lane = int32_t;
  using Accumulator = int32_t;
  static constexpr int32_t kNeutral = 0;
  template <class D, class V>
  static HWY_INLINE V fold(D, V a, V x) { return hn::Add(a, x); }
  static HWY_INLINE int32_t fold(int32_t a, int32_t x) { return static_cast<int32_t>(static_cast<uint32_t>(a) + static_cast<uint32_t>(x)); }
  static HWY_INLINE int32_t merge(int32_t a, int32_t x) { return fold(a, x); }
};
struct MaxFloat {
  using Lane = float;
  using Accumulator = float;
  static constexpr float kNeutral = -std::numeric_limits<float>::infinity();
  template <class D, class V>
  static HWY_INLINE V fold(D, V a, V x) { return hn::IfThenElse(hn::Or(hn::Gt(x, a), hn::IsNaN(x)), x, a); }
  static HWY_INLINE float fold(float a, float x) { return scalar::maximum(x, a); }
  static HWY_INLINE float merge(float a, float x) { return scalar::maximum(x, a); }
};
struct MinFloat {
  using Lane = float;
  using Accumulator = float;
  static constexpr float kNeutral = std::numeric_limits<float>::infinity();
  template <class D, class V>
  static HWY_INLINE V fold(D, V a, V x) { return hn::IfThenElse(hn::Or(hn::Lt(x, a), hn::IsNaN(x)), x, a); }
  static HWY_INLINE float fold(float a, float x) { return scalar::minimum(x, a); }
  static HWY_INLINE float merge(float a, float x) { return scalar::minimum(x, a); }
};
struct MaxInt {
  using Lane = int32_t;
  using Accumulator = int32_t;
  static constexpr int32_t kNeutral = std::numeric_limits<int32_t>::min();
  template <class D, class V>
  static HWY_INLINE V fold(D, V a, V x) { return hn::Max(a, x); }
  static HWY_INLINE int32_t fold(int32_t a, int32_t x) { return a > x ? a : x; }
  static HWY_INLINE int32_t merge(int32_t a, int32_t x) { return fold(a, x); }
};
struct MinInt {
  using Lane = int32_t;
  using Accumulator = int32_t;
  static constexpr int32_t kNeutral = std::numeric_limits<int32_t>::max();
  template <class D, class V>
  static HWY_INLINE V fold(D, V a, V x) { return hn::Min(a, x); }
  static HWY_INLINE int32_t fold(int32_t a, int32_t x) { return a < x ? a : x; }
  static HWY_INLINE int32_t merge(int32_t a, int32_t x) { return fold(a, x); }
};

// Folds x[0..n), n <= kStretch, into 64 lanes: lane i % 64 takes element i. 64 is a multiple of every vector length here.
template <class F>
HWY_INLINE void fold_lanes(const typename F::Lane* HWY_RESTRICT x, size_t n, typename F::Lane* HWY_RESTRICT lanes64) {
  using T = typename F::Lane;
  const hn::CappedTag<T, 16> d;
  const size_t lanes = hn::Lanes(d);
  const auto neutral = hn::Set(d, F::kNeutral);
  for (size_t part = 0; part < 64; part += 4 * lanes) {  // one pass where a vector has 16 lanes
    auto a0 = neutral, a1 = neutral, a2 = neutral, a3 = neutral;
    for (size_t i = part; i + 4 * lanes <= n; i += 64) {
      a0 = F::fold(d, a0, hn::LoadU(d, x + i));
      a1 = F::fold(d, a1, hn::LoadU(d, x + i + lanes));
      a2 = F::fold(d, a2, hn::LoadU(d, x + i + 2 * lanes));
      a3 = F::fold(d, a3, hn::LoadU(d, x + i + 3 * lanes));
    }
    hn::StoreU(a0, d, lanes64 + part);
    hn::StoreU(a1, d, lanes64 + part + lanes);
    hn::StoreU(a2, d, lanes64 + part + 2 * lanes);
    hn::StoreU(a3, d, lanes64 + part + 3 * lanes);
  }
  const size_t group = 4 * lanes;  // whole groups are in; what is left of the last one goes lane by lane
  for (size_t i = n - n % group; i < n; ++i) lanes64[i % 64] = F::fold(lanes64[i % 64], x[i]);
}

template <class F>
void run(const void* x_, size_t n, void* acc_) {
  using T = typename F::Lane;
  const T* x = static_cast<const T*>(x_);
  typename F::Accumulator acc = *static_cast<typename F::Accumulator*>(acc_);
  if (n < 16) {
    T s = F::kNeutral;
    for (size_t i = 0; i < n; ++i) s = F::fold(s, x[i]);
    acc = F::merge(acc, s);
  } else {
    HWY_ALIGN T lanes64[64];
    for (size_t at = 0; at < n; at += kStretch) {
      fold_lanes<F>(x + at, std::min(kStretch, n - at), lanes64);
      for (size_t width = 32; width > 0; width /= 2) {
        for (size_t i = 0; i < width; ++i) lanes64[i] = F::fold(lanes64[i], lanes64[i + width]);
      }
      acc = F::merge(acc, lanes64[0]);
    }
  }
  *static_cast<typename F::Accumulator*>(acc_) = acc;
}

// Columns j0..j0+count of up to kRows rows, count <= kWidth vectors.
template <class F, size_t kVectors>
HWY_INLINE void fold_columns(const typename F::Lane* HWY_RESTRICT x, size_t rows, size_t width, typename F::Accumulator* HWY_RESTRICT acc) {
  using T = typename F::Lane;
  const hn::CappedTag<T, 16> d;
  const size_t lanes = hn::Lanes(d);
  auto a0 = hn::Set(d, F::kNeutral), a1 = a0, a2 = a0, a3 = a0;
  for (size_t r = 0; r < rows; ++r) {
    const T* row = x + r * width;
    a0 = F::fold(d, a0, hn::LoadU(d, row));
    if (kVectors == 1) continue;
    a1 = F::fold(d, a1, hn::LoadU(d, row + lanes));
    a2 = F::fold(d, a2, hn::LoadU(d, row + 2 * lanes));
    a3 = F::fold(d, a3, hn::LoadU(d, row + 3 * lanes));
  }
  HWY_ALIGN T part[64];
  hn::Store(a0, d, part);
  if (kVectors == 4) {
    hn::Store(a1, d, part + lanes);
    hn::Store(a2, d, part + 2 * lanes);
    hn::Store(a3, d, part + 3 * lanes);
  }
  for (size_t j = 0; j < kVectors * lanes; ++j) acc[j] = F::merge(acc[j], part[j]);
}

template <class F>
void rows(const void* x_, size_t rows_total, size_t width, void* acc_) {
  using T = typename F::Lane;
  using A = typename F::Accumulator;
  const T* x = static_cast<const T*>(x_);
  A* acc = static_cast<A*>(acc_);
  if (rows_total == 1) {
    for (size_t j = 0; j < width; ++j) acc[j] = F::merge(acc[j], x[j]);
    return;
  }
  if (width <= 16 && (width & (width - 1)) == 0) {  // the period divides 64: lanes fold to columns afterwards
    HWY_ALIGN T lanes64[64];
    const size_t n = rows_total * width;
    for (size_t at = 0; at < n; at += kStretch) {
      fold_lanes<F>(x + at, std::min(kStretch, n - at), lanes64);
      for (size_t half = 32; half >= width; half /= 2) {
        for (size_t i = 0; i < half; ++i) lanes64[i] = F::fold(lanes64[i], lanes64[i + half]);
        if (half == width) break;
      }
      for (size_t j = 0; j < width; ++j) acc[j] = F::merge(acc[j], lanes64[j]);
    }
    return;
  }
  const size_t lanes = hn::Lanes(hn::CappedTag<T, 16>());
  for (size_t r0 = 0; r0 < rows_total; r0 += kRows) {
    const size_t count = std::min(kRows, rows_total - r0);
    const T* block = x + r0 * width;
    size_t j = 0;
    for (; j + 4 * lanes <= width; j += 4 * lanes) fold_columns<F, 4>(block + j, count, width, acc + j);
    for (; j + lanes <= width; j += lanes) fold_columns<F, 1>(block + j, count, width, acc + j);
    for (; j < width; ++j) {
      T s = F::kNeutral;
      for (size_t r = 0; r < count; ++r) s = F::fold(s, block[r * width + j]);
      acc[j] = F::merge(acc[j], s);
    }
  }
}

template <class F>
void merge(const void* other, size_t n, void* acc) {
  using A = typename F::Accumulator;
  for (size_t j = 0; j < n; ++j) static_cast<A*>(acc)[j] = F::merge(static_cast<A*>(acc)[j], static_cast<const A*>(other)[j]);
}
template <class F>
void clear(size_t n, void* acc) {
  using A = typename F::Accumulator;
  for (size_t j = 0; j < n; ++j) static_cast<A*>(acc)[j] = static_cast<A>(F::kNeutral);
}
template <class F>
void finish(const void* acc, size_t n, void* out) {
  using T = typename F::Lane;
  for (size_t j = 0; j < n; ++j) static_cast<T*>(out)[j] = static_cast<T>(static_cast<const typename F::Accumulator*>(acc)[j]);
}

template <class F>
constexpr ReduceTable table_of() {
  return {run<F>, rows<F>, merge<F>, clear<F>, finish<F>, sizeof(typename F::Accumulator)};
}

}  // namespace

const ReduceTable* reduce_tables_of_target() {  // [sum, max, min] x [float32, int32]
  static const ReduceTable tables[6] = {table_of<SumFloat>(), table_of<SumInt>(), table_of<MaxFloat>(),
                                        table_of<MaxInt>(),   table_of<MinFloat>(), table_of<MinInt>()};
  return tables;
}

const char* target_name() { return hwy::TargetName(HWY_TARGET); }

}  // namespace HWY_NAMESPACE
}  // namespace langevin
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace langevin {

HWY_EXPORT(reduce_tables_of_target);
HWY_EXPORT(target_name);

const ReduceTable& reduce_table(Reduce reduce, RegisterType type) {
  static const ReduceTable* tables = HWY_DYNAMIC_DISPATCH(reduce_tables_of_target)();
  return tables[2 * (static_cast<int>(reduce) - static_cast<int>(Reduce::Sum)) + (type == RegisterType::F32 ? 0 : 1)];
}

const char* loop_target() { return HWY_DYNAMIC_DISPATCH(target_name)(); }

}  // namespace langevin
#endif  // HWY_ONCE
