// See loop_jit_formulas.h. The formulas are those of vector_math-inl.h; temporaries are t_[0..7].
#include "cpu/loop_jit_formulas.h"

#ifdef LANGEVIN_LOOP_CODE

#include <algorithm>
#include <cstring>
#include <limits>

namespace langevin {

namespace {

constexpr uint8_t kEqual = 0, kLess = 17, kLessEqual = 18, kNotEqual = 4, kGreaterEqual = 29, kGreater = 30, kUnordered = 3;  // quiet

bool float_op(LoopOp op) {
  switch (op) {
    case LoopOp::neg_op: case LoopOp::abs_op: case LoopOp::sign_op: case LoopOp::square_op: case LoopOp::exp_op: case LoopOp::expm1_op:
    case LoopOp::log_op: case LoopOp::log1p_op: case LoopOp::sqrt_op: case LoopOp::rsqrt_op: case LoopOp::reciprocal_op: case LoopOp::tanh_op:
    case LoopOp::sigmoid_op: case LoopOp::softplus_op: case LoopOp::relu_op: case LoopOp::leaky_relu_op: case LoopOp::floor_op:
    case LoopOp::ceil_op: case LoopOp::round_op: case LoopOp::is_finite_op: case LoopOp::add_op: case LoopOp::sub_op: case LoopOp::mul_op:
    case LoopOp::div_op: case LoopOp::maximum_op: case LoopOp::minimum_op: case LoopOp::eq_op: case LoopOp::ne_op: case LoopOp::lt_op:
    case LoopOp::le_op: case LoopOp::gt_op: case LoopOp::ge_op: case LoopOp::select_op: case LoopOp::clamp_op: case LoopOp::cast_bool_op:
      return true;
    default: return false;
  }
}

bool int_op(LoopOp op) {
  switch (op) {
    case LoopOp::add_op: case LoopOp::sub_op: case LoopOp::mul_op: case LoopOp::maximum_op: case LoopOp::minimum_op: case LoopOp::clamp_op:
    case LoopOp::eq_op: case LoopOp::ne_op: case LoopOp::lt_op: case LoopOp::le_op: case LoopOp::gt_op: case LoopOp::ge_op:
    case LoopOp::logical_not_op: case LoopOp::logical_and_op: case LoopOp::logical_or_op: case LoopOp::cast_bool_op:
    case LoopOp::cast_float_op: case LoopOp::select_op:
      return true;
    default: return false;
  }
}

}  // namespace

bool LoopFormulas::has(LoopOp op, RegisterType operand) { return operand == RegisterType::F32 ? float_op(op) : int_op(op); }

Xbyak::RegExp LoopFormulas::place(uint32_t bits) {
  auto found = std::find(pool_values_.begin(), pool_values_.end(), bits);
  if (found == pool_values_.end()) found = pool_values_.insert(pool_values_.end(), bits);
  return pool_ + 4 * static_cast<int>(found - pool_values_.begin());
}

uint32_t LoopFormulas::bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

void LoopFormulas::compute(const JitStep& s, const Zmm& y, const Zmm& a, const Zmm& b, const Zmm& c) {
  if (s.operand == RegisterType::F32 && (s.op != LoopOp::select_op)) compute_float(s.op, y, a, b, c);
  else compute_int(s.op, y, a, b, c);
}

void LoopFormulas::compute_float(LoopOp op, const Zmm& y, const Zmm& a, const Zmm& b, const Zmm& c) {
  switch (op) {
    case LoopOp::neg_op: vxorps(y, a, word(0x80000000)); return;
    case LoopOp::abs_op: vandps(y, a, word(0x7fffffff)); return;
    case LoopOp::sign_op: return sign(y, a);
    case LoopOp::square_op: vmulps(y, a, a); return;
    case LoopOp::exp_op: return exponential(y, a, -105.0f, 89.5f);
    case LoopOp::expm1_op: return expm1(y, a);
    case LoopOp::log_op: return logarithm(y, a);
    case LoopOp::log1p_op: return log1p(y, a);
    case LoopOp::sqrt_op: vsqrtps(y, a); return;
    case LoopOp::rsqrt_op: vsqrtps(t_[0], a); load(y, 1.0f); vdivps(y, y, t_[0]); return;
    case LoopOp::reciprocal_op: load(t_[0], 1.0f); vdivps(y, t_[0], a); return;
    case LoopOp::tanh_op: return tanh(y, a);
    case LoopOp::sigmoid_op: return sigmoid(y, a);
    case LoopOp::softplus_op: return softplus(y, a);
    case LoopOp::relu_op: vxorps(t_[0], t_[0], t_[0]); vmaxps(y, t_[0], a); return;  // of a NaN (and of equals) the second
    case LoopOp::leaky_relu_op: leaky_relu(y, a, b); return;
    case LoopOp::floor_op: vrndscaleps(y, a, 9); return;
    case LoopOp::ceil_op: vrndscaleps(y, a, 10); return;
    case LoopOp::round_op: vrndscaleps(y, a, 8); return;
    case LoopOp::is_finite_op:
      vandps(t_[0], a, word(0x7fffffff));
      vcmpps(k_, t_[0], number(3.40282347e+38f), kLessEqual);
      return truth(y);
    case LoopOp::add_op: vaddps(y, a, b); return;
    case LoopOp::sub_op: vsubps(y, a, b); return;
    case LoopOp::mul_op: vmulps(y, a, b); return;
    case LoopOp::div_op: vdivps(y, a, b); return;
    case LoopOp::maximum_op: extreme(y, a, b, true); return;
    case LoopOp::minimum_op: extreme(y, a, b, false); return;
    case LoopOp::eq_op: return compare(y, a, b, kEqual);
    case LoopOp::ne_op: return compare(y, a, b, kNotEqual);
    case LoopOp::lt_op: return compare(y, a, b, kLess);
    case LoopOp::le_op: return compare(y, a, b, kLessEqual);
    case LoopOp::gt_op: return compare(y, a, b, kGreater);
    case LoopOp::ge_op: return compare(y, a, b, kGreaterEqual);
    case LoopOp::clamp_op: vmaxps(y, b, a); vminps(y, c, y); return;
    case LoopOp::cast_bool_op:
      vxorps(t_[0], t_[0], t_[0]);
      return compare(y, a, t_[0], kNotEqual);
    default: throw Xbyak::Error(Xbyak::ERR_INTERNAL);
  }
}

void LoopFormulas::compute_int(LoopOp op, const Zmm& y, const Zmm& a, const Zmm& b, const Zmm& c) {
  switch (op) {
    case LoopOp::add_op: vpaddd(y, a, b); return;
    case LoopOp::sub_op: vpsubd(y, a, b); return;
    case LoopOp::mul_op: vpmulld(y, a, b); return;
    case LoopOp::maximum_op: vpmaxsd(y, a, b); return;
    case LoopOp::minimum_op: vpminsd(y, a, b); return;
    case LoopOp::clamp_op: vpmaxsd(y, a, b); vpminsd(y, y, c); return;
    case LoopOp::eq_op: vpcmpd(k_, a, b, 0); return truth(y);
    case LoopOp::lt_op: vpcmpd(k_, a, b, 1); return truth(y);
    case LoopOp::le_op: vpcmpd(k_, a, b, 2); return truth(y);
    case LoopOp::ne_op: vpcmpd(k_, a, b, 4); return truth(y);
    case LoopOp::ge_op: vpcmpd(k_, a, b, 5); return truth(y);
    case LoopOp::gt_op: vpcmpd(k_, a, b, 6); return truth(y);
    case LoopOp::logical_not_op: vptestnmd(k_, a, a); return truth(y);
    case LoopOp::logical_and_op: vptestmd(k_, a, b); return truth(y);  // both are 0 or 1
    case LoopOp::logical_or_op: vpord(t_[0], a, b); vptestmd(k_, t_[0], t_[0]); return truth(y);
    case LoopOp::cast_bool_op: vptestmd(k_, a, a); return truth(y);
    case LoopOp::cast_float_op: vcvtdq2ps(y, a); return;
    case LoopOp::select_op: vptestmd(k_, a, a); vblendmps(y | k_, c, b); return;
    default: throw Xbyak::Error(Xbyak::ERR_INTERNAL);
  }
}

void LoopFormulas::truth(const Zmm& y) { vpabsd(y | k_ | T_z, minus_one()); }
Xbyak::Zmm LoopFormulas::minus_one() {
  vpternlogd(t_[7], t_[7], t_[7], 0xff);
  return t_[7];
}
void LoopFormulas::compare(const Zmm& y, const Zmm& a, const Zmm& b, uint8_t how) {
  vcmpps(k_, a, b, how);
  truth(y);
}

void LoopFormulas::sign(const Zmm& y, const Zmm& x) {
  vxorps(t_[0], t_[0], t_[0]);
  vmovaps(y, x);
  vcmpps(k_, x, t_[0], kGreater);
  vaddps(y | k_, t_[0], number(1.0f));
  vcmpps(k_, x, t_[0], kLess);
  vaddps(y | k_, t_[0], number(-1.0f));
}

void LoopFormulas::leaky_relu(const Zmm& y, const Zmm& x, const Zmm& slope) {
  vxorps(t_[0], t_[0], t_[0]);
  vcmpps(k_, x, t_[0], kLess);
  vmovaps(y, x);
  vmulps(y | k_, x, slope);
}

// A NaN of either operand stays; of equals the second.
void LoopFormulas::extreme(const Zmm& y, const Zmm& a, const Zmm& b, bool largest) {
  if (largest) vmaxps(y, a, b);
  else vminps(y, a, b);
  vcmpps(k_, a, a, kUnordered);
  vmovaps(y | k_, a);
}

// e^r - 1 for |r| <= ln(2)/2 in r = t0: to t1; uses t2.
void LoopFormulas::expm1_reduced() {
  const Zmm &r = t_[0], &q = t_[1], &square = t_[2];
  load(q, 1.991370664e-04f);
  vfmadd213ps(q, r, number(1.394111663e-03f));
  vfmadd213ps(q, r, number(8.333274163e-03f));
  vfmadd213ps(q, r, number(4.166635498e-02f));
  vfmadd213ps(q, r, number(1.666666716e-01f));
  vfmadd213ps(q, r, number(0.5f));
  vmulps(square, r, r);
  vfmadd213ps(q, square, r);
}

// x in t0 to n ln 2 + r: r in t0, n as a float in t3.
void LoopFormulas::reduce_exp() {
  vmulps(t_[3], t_[0], number(1.44269504f));
  vrndscaleps(t_[3], t_[3], 8);
  vfnmadd231ps(t_[0], t_[3], number(0.693115234375f));
  vfnmadd231ps(t_[0], t_[3], number(3.19461833e-05f));
}

// t0 limited; a NaN stays.
void LoopFormulas::limit(float low, float high) {
  load(t_[1], low);
  vmaxps(t_[0], t_[1], t_[0]);
  if (high <= 0) return;
  load(t_[1], high);
  vminps(t_[0], t_[1], t_[0]);
}

// With high <= 0 the argument is known not to be positive.
void LoopFormulas::exponential(const Zmm& y, const Zmm& x, float low, float high) {
  vmovaps(t_[0], x);
  limit(low, high);
  reduce_exp();
  expm1_reduced();
  vaddps(t_[1], t_[1], number(1.0f));
  vscalefps(y, t_[1], t_[3]);
}

void LoopFormulas::expm1(const Zmm& y, const Zmm& x) {
  vmovaps(t_[0], x);
  limit(-30.0f, 89.5f);
  vmovaps(t_[4], t_[0]);
  reduce_exp();
  expm1_reduced();
  load(t_[5], 1.0f);
  vsubps(t_[6], t_[3], t_[5]);
  vscalefps(t_[5], t_[5], t_[6]);                // 2^(n - 1)
  vsubps(t_[6], t_[5], number(0.5f));
  vfmadd231ps(t_[6], t_[5], t_[1]);
  vaddps(y, t_[6], t_[6]);
  vxorps(t_[5], t_[5], t_[5]);
  vcmpps(k_, t_[3], t_[5], kEqual);              // n = 0: the reduced value itself
  vmovaps(y | k_, t_[1]);
  vcmpps(k_, t_[4], t_[5], kEqual);              // -0 stays
  vmovaps(y | k_, t_[4]);
}

void LoopFormulas::tanh(const Zmm& y, const Zmm& x) {
  vorps(t_[7], x, word(0x80000000));
  vaddps(t_[7], t_[7], t_[7]);
  vmovaps(y, x);  // x may be needed below while y is being written
  expm1(t_[7], t_[7]);
  vaddps(t_[0], t_[7], number(2.0f));
  vdivps(t_[0], t_[7], t_[0]);
  load_word(t_[1], 0x80000000);
  vpternlogd(t_[1], y, t_[0], 0xca);             // the sign of x, the rest of t0
  vmovaps(y, t_[1]);
}

void LoopFormulas::sigmoid(const Zmm& y, const Zmm& x) {
  vorps(t_[4], x, word(0x80000000));
  exponential(t_[4], t_[4], -105.0f, 0.0f);
  load(t_[0], 1.0f);
  vaddps(t_[1], t_[4], t_[0]);
  vpmovd2m(k_, x);                               // the sign; at -0 both branches are 1
  vblendmps(t_[2] | k_, t_[0], t_[4]);
  vdivps(y, t_[2], t_[1]);
}

// log(1 + f) + e ln 2, f in t0, e in t1: to t2; uses t3..t6.
void LoopFormulas::log_reduced() {
  const Zmm &f = t_[0], &e = t_[1], &s = t_[3], &z = t_[4], &r = t_[5], &half = t_[6];
  vaddps(s, f, number(2.0f));
  vdivps(s, f, s);
  vmulps(z, s, s);
  load(r, 2.333344519e-01f);
  vfmadd213ps(r, z, number(2.855069935e-01f));
  vfmadd213ps(r, z, number(4.000012279e-01f));
  vfmadd213ps(r, z, number(6.666666865e-01f));
  vmulps(half, f, f);
  vmulps(half, half, number(0.5f));
  vfmadd213ps(r, z, half);                       // R z + f^2/2
  vmulps(t_[2], e, number(3.19461833e-05f));
  vfmadd231ps(t_[2], s, r);                      // tail
  vsubps(t_[2], t_[2], half);
  vaddps(t_[2], t_[2], f);
  vfmadd231ps(t_[2], e, number(0.693115234375f));
}

// Mantissa of t0 in [sqrt(1/2), sqrt(2)) to t0, exponent to t1 (an integer).
void LoopFormulas::split_exponent() {
  vpsubd(t_[0], t_[0], word(0x3f3504f3));
  vpsrad(t_[1], t_[0], 23);
  vpandd(t_[0], t_[0], word(0x7fffff));
  vpaddd(t_[0], t_[0], word(0x3f3504f3));
}

// y = t2, but -inf for the argument 0, NaN below, itself at inf and NaN.
void LoopFormulas::log_edges(const Zmm& y, const Zmm& argument) {
  load(t_[3], std::numeric_limits<float>::infinity());
  vcmpps(k_, argument, t_[3], kLess);
  vblendmps(t_[2] | k_, argument, t_[2]);
  vxorps(t_[4], t_[4], t_[4]);
  vcmpps(k_, argument, t_[4], kEqual);
  vsubps(t_[2] | k_, t_[4], t_[3]);
  vcmpps(k_, argument, t_[4], kLess);
  load_word(t_[3], 0x7fc00000);
  vblendmps(y | k_, t_[2], t_[3]);
}

void LoopFormulas::logarithm(const Zmm& y, const Zmm& x) {
  vmovaps(t_[7], x);
  vmovaps(t_[0], x);
  load(t_[1], 1.17549435e-38f);
  vcmpps(small_, x, t_[1], kLess);
  vmulps(t_[0] | small_, x, number(33554432.0f));
  split_exponent();
  vcvtdq2ps(t_[1], t_[1]);
  vsubps(t_[1] | small_, t_[1], number(25.0f));
  vsubps(t_[0], t_[0], number(1.0f));
  log_reduced();
  log_edges(y, t_[7]);
}

// As in vector_math-inl.h: the rounding of 1 + x is put back into the reduced argument. x stays in `y` until the end.
void LoopFormulas::log1p(const Zmm& y, const Zmm& x) {
  load(t_[6], 1.0f);
  vaddps(t_[7], x, t_[6]);                       // u
  vmovaps(t_[0], t_[7]);
  vsubps(t_[2], t_[7], x);                       // for x > 1: 1 - (u - x)
  vsubps(t_[2], t_[6], t_[2]);
  vsubps(t_[3], t_[7], t_[6]);                   // else x - (u - 1)
  vsubps(t_[3], x, t_[3]);
  vcmpps(k_, x, t_[6], kGreater);
  vblendmps(t_[2] | k_, t_[3], t_[2]);           // what was lost
  split_exponent();
  vpxord(t_[3], t_[3], t_[3]);
  vpsubd(t_[3], t_[3], t_[1]);
  vpmaxsd(t_[3], t_[3], word(0xffffff82));       // -126
  vpaddd(t_[3], t_[3], word(127));
  vpslld(t_[3], t_[3], 23);                      // 2^-e
  vsubps(t_[0], t_[0], t_[6]);
  vfmadd231ps(t_[0], t_[2], t_[3]);
  vcvtdq2ps(t_[1], t_[1]);
  if (y.getIdx() != x.getIdx()) vmovaps(y, x);
  log_reduced();
  log_edges(t_[2], t_[7]);
  vandps(t_[0], y, word(0x7fffffff));
  vcmpps(k_, t_[0], number(1e-8f), kLess);       // there log(1 + x) = x; NaN is not less
  vblendmps(y | k_, t_[2], y);
}

void LoopFormulas::softplus(const Zmm& y, const Zmm& x) {
  vorps(t_[4], x, word(0x80000000));
  exponential(t_[4], t_[4], -105.0f, 0.0f);
  vmovaps(t_[5], t_[4]);
  log1p(y, t_[5]);
  vxorps(t_[0], t_[0], t_[0]);
  vmaxps(t_[0], t_[0], x);
  vaddps(y, y, t_[0]);
}

}  // namespace langevin

#endif
