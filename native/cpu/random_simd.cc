// See random_simd.h. One lane computes one Philox block; the four words of the lanes are interleaved into element order.
#include "cpu/loop_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/random_simd.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#include <algorithm>

#include "cpu/random_simd.h"
#include "cpu/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace langevin {
namespace HWY_NAMESPACE {
namespace {

using U32 = hn::ScalableTag<uint32_t>;
using F32 = hn::ScalableTag<float>;
using VU = hn::Vec<U32>;
using VF = hn::Vec<F32>;

// Low and high words of a * constant, lane for lane.
HWY_INLINE void multiply(VU a, uint32_t constant, VU* low, VU* high) {
  const U32 d;
#if HWY_TARGET == HWY_SCALAR
  const uint64_t product = static_cast<uint64_t>(hn::GetLane(a)) * constant;
  *low = hn::Set(d, static_cast<uint32_t>(product));
  *high = hn::Set(d, static_cast<uint32_t>(product >> 32));
#else
  const hn::Repartition<uint64_t, U32> d64;
  const VU m = hn::Set(d, constant);
  const auto even = hn::MulEven(a, m);
  const auto odd = hn::MulEven(hn::BitCast(d, hn::ShiftRight<32>(hn::BitCast(d64, a))), m);
  *low = hn::OddEven(hn::BitCast(d, hn::ShiftLeft<32>(odd)), hn::BitCast(d, even));
  *high = hn::OddEven(hn::BitCast(d, odd), hn::BitCast(d, hn::ShiftRight<32>(even)));
#endif
}

struct Words {
  VU w0, w1, w2, w3;
};

// Blocks `block`, one a lane.
HWY_INLINE Words philox_lanes(const RandomKey& key, uint32_t stream, VU block) {
  const U32 d;
  VU c0 = block, c1 = hn::Set(d, stream), c2 = hn::Set(d, key.step_low), c3 = hn::Set(d, key.step_high);
  uint32_t k0 = key.seed_low, k1 = key.seed_high;
  for (int round = 0; round < 10; ++round) {
    VU low0, high0, low1, high1;
    multiply(c0, kPhiloxM0, &low0, &high0);
    multiply(c2, kPhiloxM1, &low1, &high1);
    c0 = hn::Xor(hn::Xor(high1, c1), hn::Set(d, k0));
    c1 = low1;
    c2 = hn::Xor(hn::Xor(high0, c3), hn::Set(d, k1));
    c3 = low0;
    k0 += kPhiloxW0;
    k1 += kPhiloxW1;
  }
  return {c0, c1, c2, c3};
}

HWY_INLINE VF uniform_lanes(VU word) {
  const F32 d;
  const hn::RebindToSigned<F32> di;
  const VF f = hn::ConvertTo(d, hn::BitCast(di, hn::ShiftRight<9>(word)));
  return hn::Mul(hn::Add(f, hn::Set(d, 0.5f)), hn::Set(d, 1.1920928955078125e-07f));
}

// sin and cos of 2 pi u for u in (0,1): 4u = q + f with f in [-1/2, 1/2] is exact, so no angle is ever rounded.
HWY_INLINE void sin_cos_turn(VF u, VF* sine, VF* cosine) {
  const F32 d;
  const hn::RebindToSigned<F32> di;
  const VF t = hn::Mul(u, hn::Set(d, 4.0f));
  const VF whole = hn::Round(t);
  const VF f = hn::Sub(t, whole);
  const VF z = hn::Mul(f, f);
  VF s = hn::Set(d, 1.582040568e-04f);  // sin(pi/2 f) / f
  s = hn::MulAdd(s, z, hn::Set(d, -4.681265447e-03f));
  s = hn::MulAdd(s, z, hn::Set(d, 7.969257981e-02f));
  s = hn::MulAdd(s, z, hn::Set(d, -6.459640861e-01f));
  s = hn::Mul(f, hn::MulAdd(s, z, hn::Set(d, 1.570796371e+00f)));
  VF c = hn::Set(d, -2.490881161e-05f);  // (cos(pi/2 f) - 1) / f^2
  c = hn::MulAdd(c, z, hn::Set(d, 9.191961144e-04f));
  c = hn::MulAdd(c, z, hn::Set(d, -2.086347528e-02f));
  c = hn::MulAdd(c, z, hn::Set(d, 2.536695004e-01f));
  c = hn::MulAdd(c, z, hn::Set(d, -1.233700514e+00f));
  c = hn::MulAdd(c, z, hn::Set(d, 1.0f));
  const auto q = hn::ConvertTo(di, whole);
  *sine = quadrant(d, s, c, q);
  *cosine = quadrant(d, s, c, hn::Add(q, hn::Set(di, 1)));
}

// Box-Muller.
HWY_INLINE void normal_lanes(VU w0, VU w1, VF* n0, VF* n1) {
  const F32 d;
  const hn::RebindToSigned<F32> di;
  const VF u = uniform_lanes(w0);
  hn::Vec<decltype(di)> e;
  const VF m = split_exponent(d, u, &e);
  const VF log_u = log_reduced(d, hn::Sub(m, hn::Set(d, 1.0f)), hn::ConvertTo(d, e));
  const VF r = hn::Sqrt(hn::Mul(hn::Set(d, -2.0f), log_u));
  VF sine, cosine;
  sin_cos_turn(uniform_lanes(w1), &sine, &cosine);
  *n0 = hn::Mul(r, cosine);
  *n1 = hn::Mul(r, sine);
}

struct Uniform {
  using Lane = float;
  HWY_INLINE void store(const Words& w, float* out) const {
    hn::StoreInterleaved4(uniform_lanes(w.w0), uniform_lanes(w.w1), uniform_lanes(w.w2), uniform_lanes(w.w3), F32(), out);
  }
};
struct Normal {
  using Lane = float;
  HWY_INLINE void store(const Words& w, float* out) const {
    VF n0, n1, n2, n3;
    normal_lanes(w.w0, w.w1, &n0, &n1);
    normal_lanes(w.w2, w.w3, &n2, &n3);
    hn::StoreInterleaved4(n0, n1, n2, n3, F32(), out);
  }
};
struct Bounded {
  using Lane = int32_t;
  uint32_t bound;
  HWY_INLINE VU of(VU word) const {
    VU low, high;
    multiply(word, bound, &low, &high);
    return high;
  }
  HWY_INLINE void store(const Words& w, int32_t* out) const {
    hn::StoreInterleaved4(of(w.w0), of(w.w1), of(w.w2), of(w.w3), U32(), reinterpret_cast<uint32_t*>(out));
  }
};

template <class Draw>
HWY_INLINE void draw(const Draw& make, const RandomKey& key, uint32_t stream, int64_t first, size_t n, typename Draw::Lane* out) {
  const U32 d;
  const size_t lanes = hn::Lanes(d), step = 4 * lanes;
  VU block = hn::Iota(d, static_cast<uint32_t>(first / 4));
  const VU next = hn::Set(d, static_cast<uint32_t>(lanes));
  size_t i = 0;
  for (; i + step <= n; i += step) {
    make.store(philox_lanes(key, stream, block), out + i);
    block = hn::Add(block, next);
  }
  if (i == n) return;
  HWY_ALIGN typename Draw::Lane rest[4 * hn::MaxLanes(d)];
  make.store(philox_lanes(key, stream, block), rest);
  std::copy(rest, rest + (n - i), out + i);
}

void uniform(const RandomKey& key, uint32_t stream, int64_t first, size_t n, float* out) { draw(Uniform(), key, stream, first, n, out); }
void normal(const RandomKey& key, uint32_t stream, int64_t first, size_t n, float* out) { draw(Normal(), key, stream, first, n, out); }
void bounded_ints(const RandomKey& key, uint32_t stream, int64_t first, size_t n, uint32_t bound, int32_t* out) {
  draw(Bounded{bound}, key, stream, first, n, out);
}

}  // namespace

const RandomTable* random_table_of_target() {
  static const RandomTable table = {uniform, normal, bounded_ints};
  return &table;
}

}  // namespace HWY_NAMESPACE
}  // namespace langevin
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace langevin {

HWY_EXPORT(random_table_of_target);

const RandomTable& random_table() {
  static const RandomTable* table = HWY_DYNAMIC_DISPATCH(random_table_of_target)();
  return *table;
}

}  // namespace langevin
#endif  // HWY_ONCE
