// See index_simd.h.
#include "cpu/loop_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/index_simd.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#include "cpu/index_simd.h"

HWY_BEFORE_NAMESPACE();
namespace langevin {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

// kCount products at once, two accumulators each to hide the latency of the multiply-add.
template <int kCount>
HWY_INLINE void dots(const float* HWY_RESTRICT row, const float* const* z, size_t n, float* out) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  const float *z0 = z[0], *z1 = z[kCount > 1 ? 1 : 0], *z2 = z[kCount > 2 ? 2 : 0], *z3 = z[kCount > 3 ? 3 : 0];
  V a0 = hn::Zero(d), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  size_t i = 0;
  for (; i + 2 * lanes <= n; i += 2 * lanes) {
    const V x = hn::LoadU(d, row + i), y = hn::LoadU(d, row + i + lanes);
    a0 = hn::MulAdd(x, hn::LoadU(d, z0 + i), a0);
    b0 = hn::MulAdd(y, hn::LoadU(d, z0 + i + lanes), b0);
    if (kCount > 1) a1 = hn::MulAdd(x, hn::LoadU(d, z1 + i), a1);
    if (kCount > 1) b1 = hn::MulAdd(y, hn::LoadU(d, z1 + i + lanes), b1);
    if (kCount > 2) a2 = hn::MulAdd(x, hn::LoadU(d, z2 + i), a2);
    if (kCount > 2) b2 = hn::MulAdd(y, hn::LoadU(d, z2 + i + lanes), b2);
    if (kCount > 3) a3 = hn::MulAdd(x, hn::LoadU(d, z3 + i), a3);
    if (kCount > 3) b3 = hn::MulAdd(y, hn::LoadU(d, z3 + i + lanes), b3);
  }
  out[0] = hn::GetLane(hn::SumOfLanes(d, hn::Add(a0, b0)));
  if (kCount > 1) out[1] = hn::GetLane(hn::SumOfLanes(d, hn::Add(a1, b1)));
  if (kCount > 2) out[2] = hn::GetLane(hn::SumOfLanes(d, hn::Add(a2, b2)));
  if (kCount > 3) out[3] = hn::GetLane(hn::SumOfLanes(d, hn::Add(a3, b3)));
  for (; i < n; ++i) {
    for (int k = 0; k < kCount; ++k) out[k] += row[i] * z[k][i];
  }
}

void dot_rows_of_target(const float* row, const float* const* z, int count, size_t n, float* out) {
  if (count == 4) dots<4>(row, z, n, out);
  else if (count == 3) dots<3>(row, z, n, out);
  else if (count == 2) dots<2>(row, z, n, out);
  else dots<1>(row, z, n, out);
}

void add_into_of_target(const float* HWY_RESTRICT x, size_t n, float* HWY_RESTRICT out) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(hn::Add(hn::LoadU(d, out + i), hn::LoadU(d, x + i)), d, out + i);
  for (; i < n; ++i) out[i] += x[i];
}

}  // namespace

void call_dot_rows(const float* row, const float* const* z, int count, size_t n, float* out) { dot_rows_of_target(row, z, count, n, out); }
void call_add_into(const float* x, size_t n, float* out) { add_into_of_target(x, n, out); }

}  // namespace HWY_NAMESPACE
}  // namespace langevin
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace langevin {

HWY_EXPORT(call_dot_rows);
HWY_EXPORT(call_add_into);

void dot_rows(const float* row, const float* const* z, int count, size_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(call_dot_rows)(row, z, count, n, out);
}
void add_into(const float* x, size_t n, float* out) { HWY_DYNAMIC_DISPATCH(call_add_into)(x, n, out); }

}  // namespace langevin
#endif  // HWY_ONCE
