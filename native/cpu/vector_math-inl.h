// Float32 vector mathematics over Highway, compiled once a target: exp, log, tanh, sin, erf, pow and their kin.
// Errors are stated in ulp of the float32 result against the exact value, over the whole range including denormals; inf and NaN
// behave as in C. Coefficients are own minimax fits. No loops, no memory here; include inside a foreach_target file.

// Per-target include guard (see hwy/foreach_target.h).
#if defined(LANGEVIN_VECTOR_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LANGEVIN_VECTOR_MATH_INL_H_
#undef LANGEVIN_VECTOR_MATH_INL_H_
#else
#define LANGEVIN_VECTOR_MATH_INL_H_
#endif

#include <cmath>
#include <cstdint>

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace langevin {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// ln 2 split so that n * kLn2High is exact for |n| < 1024.
constexpr float kLn2High = 0.693115234375f;
constexpr float kLn2Low = 3.19461833e-05f;

// 2^n for integer n in -126..127.
template <class D, class VI>
HWY_INLINE hn::Vec<D> power_of_two(D d, VI n) {
  const hn::RebindToSigned<D> di;
  return hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(n, hn::Set(di, 127))));
}

// x limited to [low, high]; NaN stays NaN (Min and Max do not promise that).
template <class D, class V>
HWY_INLINE V limit(D d, V x, float low, float high) {
  const V lo = hn::Set(d, low), hi = hn::Set(d, high);
  return hn::IfThenElse(hn::Gt(x, hi), hi, hn::IfThenElse(hn::Lt(x, lo), lo, x));
}

// e^r - 1 for |r| <= ln(2)/2.
template <class D, class V>
HWY_INLINE V expm1_reduced(D d, V r) {
  V q = hn::Set(d, 1.991370664e-04f);
  q = hn::MulAdd(q, r, hn::Set(d, 1.394111663e-03f));
  q = hn::MulAdd(q, r, hn::Set(d, 8.333274163e-03f));
  q = hn::MulAdd(q, r, hn::Set(d, 4.166635498e-02f));
  q = hn::MulAdd(q, r, hn::Set(d, 1.666666716e-01f));
  q = hn::MulAdd(q, r, hn::Set(d, 0.5f));
  return hn::MulAdd(hn::Mul(r, r), q, r);
}

// x = n ln 2 + r.
template <class D, class V, class VI>
HWY_INLINE V reduce_exp(D d, V x, VI* n) {
  *n = hn::NearestInt(hn::Mul(x, hn::Set(d, 1.44269504f)));
  const V nf = hn::ConvertTo(d, *n);
  return hn::NegMulAdd(nf, hn::Set(d, kLn2Low), hn::NegMulAdd(nf, hn::Set(d, kLn2High), x));
}

// e^x. Error < 1.1 ulp (1.5 in denormals).
template <class D, class V>
HWY_INLINE V exp_f(D d, V x0) {
  const V x = limit(d, x0, -105.0f, 89.5f);
  hn::Vec<hn::RebindToSigned<D>> n;
  const V p = hn::Add(expm1_reduced(d, reduce_exp(d, x, &n)), hn::Set(d, 1.0f));
  const auto half = hn::ShiftRight<1>(n);  // two factors: 2^n itself may be denormal or overflow
  return hn::Mul(hn::Mul(p, power_of_two(d, half)), power_of_two(d, hn::Sub(n, half)));
}

// e^x - 1. Error < 2 ulp.
template <class D, class V>
HWY_INLINE V expm1_f(D d, V x0) {
  const V x = limit(d, x0, -30.0f, 89.5f);
  hn::Vec<hn::RebindToSigned<D>> n;
  const V p = expm1_reduced(d, reduce_exp(d, x, &n));
  const hn::RebindToSigned<D> di;
  const V scale = power_of_two(d, hn::Sub(n, hn::Set(di, 1)));
  const V y = hn::MulAdd(scale, p, hn::Sub(scale, hn::Set(d, 0.5f)));
  const auto direct = hn::RebindMask(d, hn::Eq(n, hn::Zero(di)));
  return hn::IfThenElse(direct, hn::IfThenElse(hn::Eq(x, hn::Zero(d)), x, p), hn::Add(y, y));
}

// log(1 + f) + e ln 2 for 1 + f in [sqrt(1/2), sqrt(2)): with s = f / (2 + f), log(1 + f) = f - f^2/2 + s (f^2/2 + R(s^2)).
template <class D, class V>
HWY_INLINE V log_reduced(D d, V f, V e) {
  const V s = hn::Div(f, hn::Add(f, hn::Set(d, 2.0f)));
  const V z = hn::Mul(s, s);
  V r = hn::Set(d, 2.333344519e-01f);
  r = hn::MulAdd(r, z, hn::Set(d, 2.855069935e-01f));
  r = hn::MulAdd(r, z, hn::Set(d, 4.000012279e-01f));
  r = hn::MulAdd(r, z, hn::Set(d, 6.666666865e-01f));
  const V half_square = hn::Mul(hn::Set(d, 0.5f), hn::Mul(f, f));
  const V tail = hn::MulAdd(s, hn::MulAdd(r, z, half_square), hn::Mul(e, hn::Set(d, kLn2Low)));
  return hn::MulAdd(e, hn::Set(d, kLn2High), hn::Add(hn::Sub(tail, half_square), f));
}

// Splits normal positive x into mantissa in [sqrt(1/2), sqrt(2)) and exponent.
template <class D, class V, class VI>
HWY_INLINE V split_exponent(D d, V x, VI* e) {
  const hn::RebindToSigned<D> di;
  const auto base = hn::Set(di, 0x3f3504f3);  // sqrt(1/2)
  const auto i = hn::Sub(hn::BitCast(di, x), base);
  *e = hn::ShiftRight<23>(i);
  return hn::BitCast(d, hn::Add(hn::And(i, hn::Set(di, 0x7fffff)), base));
}

// What logarithms return outside (0, inf): -inf at zero, NaN below, inf at inf, NaN for NaN.
template <class D, class V>
HWY_INLINE V log_edges(D d, V argument, V y) {
  const V inf = hn::Inf(d);
  y = hn::IfThenElse(hn::Lt(argument, inf), y, argument);  // inf and NaN
  y = hn::IfThenElse(hn::Eq(argument, hn::Zero(d)), hn::Neg(inf), y);
  return hn::IfThenElse(hn::Lt(argument, hn::Zero(d)), hn::NaN(d), y);
}

// Natural logarithm. Error < 1.5 ulp.
template <class D, class V>
HWY_INLINE V log_f(D d, V x) {
  const hn::RebindToSigned<D> di;
  const auto tiny = hn::Lt(x, hn::Set(d, 1.17549435e-38f));
  const V scaled = hn::IfThenElse(tiny, hn::Mul(x, hn::Set(d, 33554432.0f)), x);  // 2^25
  hn::Vec<decltype(di)> e;
  const V m = split_exponent(d, scaled, &e);
  const V ef = hn::Sub(hn::ConvertTo(d, e), hn::IfThenElseZero(tiny, hn::Set(d, 25.0f)));
  return log_edges(d, x, log_reduced(d, hn::Sub(m, hn::Set(d, 1.0f)), ef));
}

// log(1 + x). Error < 2 ulp. The rounding of 1 + x is put back into the reduced argument.
template <class D, class V>
HWY_INLINE V log1p_f(D d, V x) {
  const hn::RebindToSigned<D> di;
  const V one = hn::Set(d, 1.0f);
  const V u = hn::Add(one, x);
  const V lost = hn::IfThenElse(hn::Gt(x, one), hn::Sub(one, hn::Sub(u, x)), hn::Sub(x, hn::Sub(u, one)));
  hn::Vec<decltype(di)> e;
  const V m = split_exponent(d, u, &e);
  const V scale = power_of_two(d, hn::Max(hn::Neg(e), hn::Set(di, -126)));
  const V f = hn::MulAdd(lost, scale, hn::Sub(m, one));
  const V y = log_edges(d, u, log_reduced(d, f, hn::ConvertTo(d, e)));
  return hn::IfThenElse(hn::Lt(hn::Abs(x), hn::Set(d, 1e-8f)), x, y);
}

// Error < 3 ulp.
template <class D, class V>
HWY_INLINE V tanh_f(D d, V x) {
  const V e = expm1_f(d, hn::Mul(hn::Abs(x), hn::Set(d, -2.0f)));
  return hn::CopySign(hn::Div(e, hn::Add(e, hn::Set(d, 2.0f))), x);
}

// 1 / (1 + e^-x), to full relative precision at both ends. Error < 3 ulp.
template <class D, class V>
HWY_INLINE V sigmoid_f(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  const V e = exp_f(d, hn::Neg(hn::Abs(x)));
  return hn::Div(hn::IfThenElse(hn::Lt(x, hn::Zero(d)), e, one), hn::Add(one, e));
}

// log(1 + e^x) = max(x, 0) + log1p(e^-|x|). Error < 3 ulp.
template <class D, class V>
HWY_INLINE V softplus_f(D d, V x) {
  const V positive = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Zero(d), x);
  return hn::Add(positive, log1p_f(d, exp_f(d, hn::Neg(hn::Abs(x)))));
}

// sin r and cos r for |r| <= pi/4.
template <class D, class V>
HWY_INLINE V sin_reduced(D d, V r, V z) {
  V p = hn::Set(d, 2.724938895e-06f);
  p = hn::MulAdd(p, z, hn::Set(d, -1.984008268e-04f));
  p = hn::MulAdd(p, z, hn::Set(d, 8.333331905e-03f));
  p = hn::MulAdd(p, z, hn::Set(d, -1.666666716e-01f));
  return hn::MulAdd(hn::Mul(z, r), p, r);
}
template <class D, class V>
HWY_INLINE V cos_reduced(D d, V z) {
  V p = hn::Set(d, -2.730046162e-07f);
  p = hn::MulAdd(p, z, hn::Set(d, 2.480059629e-05f));
  p = hn::MulAdd(p, z, hn::Set(d, -1.388888806e-03f));
  p = hn::MulAdd(p, z, hn::Set(d, 4.166666791e-02f));
  return hn::MulAdd(hn::Mul(z, z), p, hn::NegMulAdd(hn::Set(d, 0.5f), z, hn::Set(d, 1.0f)));
}

// The value of quadrant n (0: sin r, 1: cos r, 2: -sin r, 3: -cos r).
template <class D, class V, class VI>
HWY_INLINE V quadrant(D d, V sine, V cosine, VI n) {
  const hn::RebindToSigned<D> di;
  const auto odd = hn::RebindMask(d, hn::Eq(hn::And(n, hn::Set(di, 1)), hn::Set(di, 1)));
  const V sign = hn::BitCast(d, hn::ShiftLeft<30>(hn::And(n, hn::Set(di, 2))));
  return hn::Xor(hn::IfThenElse(odd, cosine, sine), sign);
}

// sin (offset 0) or cos (offset 1). Error < 2 ulp for |x| <= 10000 away from zeros (absolute 1e-7 elsewhere); beyond, libm a lane.
template <int kOffset, class D, class V>
HWY_INLINE V sin_or_cos(D d, V x) {
  const hn::RebindToSigned<D> di;
  const auto n = hn::NearestInt(hn::Mul(x, hn::Set(d, 0.636619772f)));
  const V nf = hn::ConvertTo(d, n);
  V r = hn::NegMulAdd(nf, hn::Set(d, 1.5703125f), x);  // pi/2 in parts of 11 bits: exact products for |n| < 2^13
  r = hn::NegMulAdd(nf, hn::Set(d, 0.00048375129699707031f), r);
  r = hn::NegMulAdd(nf, hn::Set(d, 7.5495336204767227e-08f), r);
  r = hn::NegMulAdd(nf, hn::Set(d, 2.5633440682570896e-12f), r);
  const V z = hn::Mul(r, r);
  V y = quadrant(d, sin_reduced(d, r, z), cos_reduced(d, z), hn::Add(n, hn::Set(di, kOffset)));
  if (kOffset == 0) y = hn::IfThenElse(hn::Eq(x, hn::Zero(d)), x, y);
  if (HWY_UNLIKELY(!hn::AllTrue(d, hn::Le(hn::Abs(x), hn::Set(d, 10000.0f))))) {
    HWY_ALIGN float in[hn::MaxLanes(d)], out[hn::MaxLanes(d)];
    hn::Store(x, d, in);
    hn::Store(y, d, out);
    for (size_t i = 0; i < hn::Lanes(d); ++i) {
      if (!(std::fabs(in[i]) <= 10000.0f)) out[i] = kOffset == 0 ? std::sin(in[i]) : std::cos(in[i]);
    }
    y = hn::Load(d, out);
  }
  return y;
}

// Error < 2 ulp. |x| < 0.93: x + x P(x^2); above: 1 - e^-G(|x|), G a polynomial fit of -log erfc.
template <class D, class V>
HWY_INLINE V erf_f(D d, V x) {
  const V a = limit(d, hn::Abs(x), 0.0f, 3.95f);
  const V z = hn::Mul(a, a);
  V p = hn::Set(d, 8.316768799e-05f);
  p = hn::MulAdd(p, z, hn::Set(d, -8.130011265e-04f));
  p = hn::MulAdd(p, z, hn::Set(d, 5.199906416e-03f));
  p = hn::MulAdd(p, z, hn::Set(d, -2.685894072e-02f));
  p = hn::MulAdd(p, z, hn::Set(d, 1.128368750e-01f));
  p = hn::MulAdd(p, z, hn::Set(d, -3.761263192e-01f));
  p = hn::MulAdd(p, z, hn::Set(d, 1.283791661e-01f));
  const V small = hn::MulAdd(a, p, a);
  V g = hn::Set(d, 5.223252515e-07f);
  g = hn::MulAdd(g, a, hn::Set(d, 1.430551220e-05f));
  g = hn::MulAdd(g, a, hn::Set(d, -3.966741788e-04f));
  g = hn::MulAdd(g, a, hn::Set(d, 4.053395707e-03f));
  g = hn::MulAdd(g, a, hn::Set(d, -2.489510737e-02f));
  g = hn::MulAdd(g, a, hn::Set(d, 1.080118343e-01f));
  g = hn::MulAdd(g, a, hn::Set(d, 6.335435510e-01f));
  g = hn::MulAdd(g, a, hn::Set(d, 1.129434109e+00f));
  g = hn::MulAdd(g, a, hn::Set(d, -1.603980782e-04f));
  const V one = hn::Set(d, 1.0f);
  const V large = hn::Sub(one, exp_f(d, hn::Neg(g)));
  V y = hn::IfThenElse(hn::Lt(a, hn::Set(d, 0.93f)), small, large);
  y = hn::IfThenElse(hn::Ge(a, hn::Set(d, 3.95f)), one, y);
  return hn::CopySign(y, x);
}

// |x|^y in double through log and exp, for |x| finite and positive; the result overflows to inf and underflows through denormals.
template <class DD, class VD>
HWY_INLINE VD pow_positive(DD dd, VD x, VD y) {
  const VD t = hn::Mul(y, hn::Log(dd, x));
  const VD low = hn::Set(dd, -120.0), high = hn::Set(dd, 100.0);
  const VD limited = hn::IfThenElse(hn::Gt(t, high), high, hn::IfThenElse(hn::Lt(t, low), low, t));
  return hn::Exp(dd, limited);
}

// x^y for finite nonzero magnitudes `a`, evaluated in double. Lane for lane on HWY_SCALAR, halves elsewhere.
template <class D, class V>
HWY_INLINE V pow_magnitude(D d, V a, V y) {
#if HWY_TARGET == HWY_SCALAR
  return hn::Set(d, static_cast<float>(std::pow(static_cast<double>(hn::GetLane(a)), static_cast<double>(hn::GetLane(y)))));
#else
  const hn::Half<D> dh;
  const hn::Repartition<double, D> dd;
  const auto low = pow_positive(dd, hn::PromoteTo(dd, hn::LowerHalf(dh, a)), hn::PromoteTo(dd, hn::LowerHalf(dh, y)));
  const auto high = pow_positive(dd, hn::PromoteTo(dd, hn::UpperHalf(dh, a)), hn::PromoteTo(dd, hn::UpperHalf(dh, y)));
  return hn::Combine(d, hn::DemoteTo(dh, high), hn::DemoteTo(dh, low));
#endif
}

// x^y with the edge cases of C's powf. Error < 1 ulp.
template <class D, class V>
HWY_INLINE V pow_f(D d, V x, V y) {
  const V zero = hn::Zero(d), one = hn::Set(d, 1.0f), inf = hn::Inf(d);
  const V a = hn::Abs(x);
  const auto ordinary = hn::And(hn::Gt(a, zero), hn::Lt(a, inf));
  V r = pow_magnitude(d, hn::IfThenElse(ordinary, a, one), y);
  // Magnitude 0 or inf: 0 or inf by the sign of y; NaN stays.
  const V edge = hn::IfThenElse(hn::Eq(a, zero), hn::IfThenElse(hn::Lt(y, zero), inf, zero),
                                hn::IfThenElse(hn::Lt(y, zero), zero, a));
  r = hn::IfThenElse(ordinary, r, hn::IfThenElse(hn::IsNaN(y), y, edge));
  // |x| = 1 with infinite y.
  r = hn::IfThenElse(hn::And(hn::Eq(a, one), hn::Eq(hn::Abs(y), inf)), one, r);
  const auto integer = hn::Eq(hn::Floor(y), y);
  const V half = hn::Mul(y, hn::Set(d, 0.5f));
  const auto odd = hn::AndNot(hn::Eq(hn::Floor(half), half), integer);
  const V sign = hn::And(x, hn::SignBit(d));
  r = hn::IfThenElse(odd, hn::Or(hn::Abs(r), sign), r);
  const auto undefined = hn::And(hn::And(hn::Lt(x, zero), hn::Lt(a, inf)), hn::Not(hn::Or(integer, hn::IsNaN(y))));
  r = hn::IfThenElse(undefined, hn::NaN(d), r);
  r = hn::IfThenElse(hn::IsNaN(x), x, hn::IfThenElse(hn::IsNaN(y), y, r));
  return hn::IfThenElse(hn::Or(hn::Eq(y, zero), hn::Eq(x, one)), one, r);
}

}  // namespace HWY_NAMESPACE
}  // namespace langevin
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
