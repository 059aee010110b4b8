// The elementwise functions of loop_simd.h: each op as a struct over vectors, driven over arrays by the templates at the end.
// The meaning of each op is that of ops/functors.h.
#include "cpu/loop_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/loop_simd.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#include "cpu/loop_simd.h"
#include "cpu/vector_math-inl.h"
#include "ops/functors.h"

HWY_BEFORE_NAMESPACE();
namespace langevin {
namespace HWY_NAMESPACE {
namespace {

using F32 = hn::ScalableTag<float>;
using I32 = hn::ScalableTag<int32_t>;
using VF = hn::Vec<F32>;
using VI = hn::Vec<I32>;

template <class D, class M>
HWY_INLINE VI truth(D, M mask) {
  const I32 di;
  return hn::IfThenElseZero(hn::RebindMask(di, mask), hn::Set(di, 1));
}
HWY_INLINE hn::Mask<I32> is_true(VI v) { return hn::Ne(v, hn::Zero(I32())); }

// One operand, float32.
#define LANGEVIN_UNARY(name, expression)                    \
  struct name##_fn {                                        \
    static HWY_INLINE VF apply(F32 d, VF x) { return expression; } \
  };
LANGEVIN_UNARY(neg, ((void)d, hn::Neg(x)))
LANGEVIN_UNARY(abs, ((void)d, hn::Abs(x)))
LANGEVIN_UNARY(sign, hn::IfThenElse(hn::Gt(x, hn::Zero(d)), hn::Set(d, 1.0f), hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Set(d, -1.0f), x)))
LANGEVIN_UNARY(square, ((void)d, hn::Mul(x, x)))
LANGEVIN_UNARY(exp, exp_f(d, x))
LANGEVIN_UNARY(expm1, expm1_f(d, x))
LANGEVIN_UNARY(log, log_f(d, x))
LANGEVIN_UNARY(log1p, log1p_f(d, x))
LANGEVIN_UNARY(sqrt, ((void)d, hn::Sqrt(x)))
LANGEVIN_UNARY(rsqrt, hn::Div(hn::Set(d, 1.0f), hn::Sqrt(x)))
LANGEVIN_UNARY(reciprocal, hn::Div(hn::Set(d, 1.0f), x))
LANGEVIN_UNARY(sin, sin_or_cos<0>(d, x))
LANGEVIN_UNARY(cos, sin_or_cos<1>(d, x))
LANGEVIN_UNARY(tanh, tanh_f(d, x))
LANGEVIN_UNARY(sigmoid, sigmoid_f(d, x))
LANGEVIN_UNARY(softplus, softplus_f(d, x))
LANGEVIN_UNARY(relu, hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Zero(d), x))
LANGEVIN_UNARY(erf, erf_f(d, x))
LANGEVIN_UNARY(floor, ((void)d, hn::Floor(x)))
LANGEVIN_UNARY(ceil, ((void)d, hn::Ceil(x)))
LANGEVIN_UNARY(round, ((void)d, hn::Round(x)))
LANGEVIN_UNARY(cast_float, ((void)d, x))
#undef LANGEVIN_UNARY

// One operand, int32 (or bool).
#define LANGEVIN_UNARY_INT(name, expression)                \
  struct name##_int_fn {                                    \
    static HWY_INLINE VI apply(I32 d, VI x) { return expression; } \
  };
LANGEVIN_UNARY_INT(neg, hn::Sub(hn::Zero(d), x))
LANGEVIN_UNARY_INT(abs, hn::IfThenElse(hn::Lt(x, hn::Zero(d)), hn::Sub(hn::Zero(d), x), x))
LANGEVIN_UNARY_INT(sign, hn::IfThenElse(hn::Gt(x, hn::Zero(d)), hn::Set(d, 1), hn::ShiftRight<31>(x)))
LANGEVIN_UNARY_INT(square, ((void)d, hn::Mul(x, x)))
LANGEVIN_UNARY_INT(logical_not, truth(d, hn::Eq(x, hn::Zero(d))))
LANGEVIN_UNARY_INT(cast_int, ((void)d, x))
LANGEVIN_UNARY_INT(cast_bool, truth(d, is_true(x)))
LANGEVIN_UNARY_INT(cast_byte, hn::Max(hn::Zero(d), hn::Min(hn::Set(d, 255), x)))
#undef LANGEVIN_UNARY_INT

// Between types.
struct is_finite_fn {
  static HWY_INLINE VI apply(F32 d, VF x) { return truth(d, hn::Le(hn::Abs(x), hn::Set(d, 3.40282347e+38f))); }
};
struct float_to_int_fn {  // truncates; saturates (float32 holds no integer between 2^31 - 128 and 2^31); NaN gives 0
  static HWY_INLINE VI apply(F32 d, VF x) {
    const I32 di;
    const auto high = hn::RebindMask(di, hn::Ge(x, hn::Set(d, 2147483648.0f)));
    const auto low = hn::RebindMask(di, hn::Lt(x, hn::Set(d, -2147483648.0f)));
    const VF ordinary = hn::IfThenElseZero(hn::Lt(hn::Abs(x), hn::Set(d, 2147483648.0f)), x);
    const VI i = hn::ConvertTo(di, ordinary);
    const auto least = hn::RebindMask(di, hn::Eq(x, hn::Set(d, -2147483648.0f)));
    return hn::IfThenElse(high, hn::Set(di, INT32_MAX), hn::IfThenElse(hn::Or(low, least), hn::Set(di, INT32_MIN), i));
  }
};
struct float_to_byte_fn {
  static HWY_INLINE VI apply(F32 d, VF x) { return cast_byte_int_fn::apply(I32(), float_to_int_fn::apply(d, x)); }
};
struct float_to_bool_fn {
  static HWY_INLINE VI apply(F32 d, VF x) { return truth(d, hn::Not(hn::Eq(x, hn::Zero(d)))); }
};
struct int_to_float_fn {
  static HWY_INLINE VF apply(I32, VI x) { return hn::ConvertTo(F32(), x); }
};

// Two operands, float32.
#define LANGEVIN_BINARY(name, expression)                         \
  struct name##_fn {                                              \
    static HWY_INLINE VF apply(F32 d, VF a, VF b) { return expression; } \
  };
LANGEVIN_BINARY(add, ((void)d, hn::Add(a, b)))
LANGEVIN_BINARY(sub, ((void)d, hn::Sub(a, b)))
LANGEVIN_BINARY(mul, ((void)d, hn::Mul(a, b)))
LANGEVIN_BINARY(div, ((void)d, hn::Div(a, b)))
LANGEVIN_BINARY(pow, pow_f(d, a, b))
LANGEVIN_BINARY(maximum, ((void)d, hn::IfThenElse(hn::Or(hn::Gt(a, b), hn::IsNaN(a)), a, b)))
LANGEVIN_BINARY(minimum, ((void)d, hn::IfThenElse(hn::Or(hn::Lt(a, b), hn::IsNaN(a)), a, b)))
LANGEVIN_BINARY(leaky_relu, hn::IfThenElse(hn::Lt(a, hn::Zero(d)), hn::Mul(a, b), a))
#undef LANGEVIN_BINARY

// Two operands, int32 (or bool).
#define LANGEVIN_BINARY_INT(name, expression)                     \
  struct name##_int_fn {                                          \
    static HWY_INLINE VI apply(I32 d, VI a, VI b) { return expression; } \
  };
LANGEVIN_BINARY_INT(add, ((void)d, hn::Add(a, b)))
LANGEVIN_BINARY_INT(sub, ((void)d, hn::Sub(a, b)))
LANGEVIN_BINARY_INT(mul, ((void)d, hn::Mul(a, b)))
LANGEVIN_BINARY_INT(maximum, ((void)d, hn::Max(a, b)))
LANGEVIN_BINARY_INT(minimum, ((void)d, hn::Min(a, b)))
LANGEVIN_BINARY_INT(logical_and, truth(d, is_true(hn::And(a, b))))
LANGEVIN_BINARY_INT(logical_or, truth(d, is_true(hn::Or(a, b))))
#undef LANGEVIN_BINARY_INT

// Comparisons of either type.
#define LANGEVIN_COMPARE(name, Function)                                        \
  struct name##_fn {                                                            \
    template <class D, class V>                                                 \
    static HWY_INLINE VI apply(D d, V a, V b) { return truth(d, hn::Function(a, b)); } \
  };
LANGEVIN_COMPARE(eq, Eq)
LANGEVIN_COMPARE(lt, Lt)
LANGEVIN_COMPARE(gt, Gt)
#undef LANGEVIN_COMPARE
struct ne_fn {  // true for NaN, which Highway's Ne does not promise
  template <class D, class V>
  static HWY_INLINE VI apply(D d, V a, V b) { return truth(d, hn::Not(hn::Eq(a, b))); }
};
struct le_fn {  // Highway 1.0 has no integer Le and Ge
  static HWY_INLINE VI apply(F32 d, VF a, VF b) { return truth(d, hn::Le(a, b)); }
  static HWY_INLINE VI apply(I32 d, VI a, VI b) { return hn::Sub(hn::Set(d, 1), truth(d, hn::Gt(a, b))); }
};
struct ge_fn {
  static HWY_INLINE VI apply(F32 d, VF a, VF b) { return truth(d, hn::Ge(a, b)); }
  static HWY_INLINE VI apply(I32 d, VI a, VI b) { return hn::Sub(hn::Set(d, 1), truth(d, hn::Lt(a, b))); }
};

struct clamp_fn {
  template <class D, class V>
  static HWY_INLINE V apply(D, V x, V low, V high) {
    return hn::IfThenElse(hn::Lt(x, low), low, hn::IfThenElse(hn::Gt(x, high), high, x));
  }
};
template <class D>
struct select_fn {
  static HWY_INLINE hn::Vec<D> apply(D d, VI condition, hn::Vec<D> a, hn::Vec<D> b) {
    return hn::IfThenElse(hn::RebindMask(d, is_true(condition)), a, b);
  }
};

// Drivers: whole vectors, then the rest through a vector on the stack.
template <class Fn, class TA, class TR>
void unary(const void* a_, const void*, const void*, void* out_, size_t n) {
  const hn::ScalableTag<TA> d;
  const hn::ScalableTag<TR> dr;
  const TA* a = static_cast<const TA*>(a_);
  TR* out = static_cast<TR*>(out_);
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(Fn::apply(d, hn::LoadU(d, a + i)), dr, out + i);
  if (i == n) return;
  HWY_ALIGN TA ta[hn::MaxLanes(d)] = {};
  HWY_ALIGN TR tr[hn::MaxLanes(d)];
  for (size_t j = i; j < n; ++j) ta[j - i] = a[j];
  hn::Store(Fn::apply(d, hn::Load(d, ta)), dr, tr);
  for (size_t j = i; j < n; ++j) out[j] = tr[j - i];
}

// The last n - i elements, padded.
template <bool kOne, class D, class T>
HWY_INLINE hn::Vec<D> operand_rest(D d, const T* x, size_t i, size_t n) {
  if (kOne) return hn::Set(d, x[0]);
  HWY_ALIGN T rest[hn::MaxLanes(d)] = {};
  for (size_t j = i; j < n; ++j) rest[j - i] = x[j];
  return hn::Load(d, rest);
}

template <class Fn, class TA, class TR, int kVariant>
void binary(const void* a_, const void* b_, const void*, void* out_, size_t n) {
  constexpr bool kOneA = (kVariant & 1) != 0, kOneB = (kVariant & 2) != 0;
  const hn::ScalableTag<TA> d;
  const hn::ScalableTag<TR> dr;
  const TA* a = static_cast<const TA*>(a_);
  const TA* b = static_cast<const TA*>(b_);
  TR* out = static_cast<TR*>(out_);
  const size_t lanes = hn::Lanes(d);
  const hn::Vec<decltype(d)> va = hn::Set(d, kOneA ? a[0] : TA(0)), vb = hn::Set(d, kOneB ? b[0] : TA(0));
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(Fn::apply(d, kOneA ? va : hn::LoadU(d, a + i), kOneB ? vb : hn::LoadU(d, b + i)), dr, out + i);
  }
  if (i == n) return;
  HWY_ALIGN TR rest[hn::MaxLanes(d)];
  hn::Store(Fn::apply(d, operand_rest<kOneA>(d, a, i, n), operand_rest<kOneB>(d, b, i, n)), dr, rest);
  for (size_t j = i; j < n; ++j) out[j] = rest[j - i];
}

template <class Fn, class TA, class T, int kVariant>
void ternary(const void* a_, const void* b_, const void* c_, void* out_, size_t n) {
  constexpr bool kOneB = (kVariant & 2) != 0, kOneC = (kVariant & 4) != 0;
  const hn::ScalableTag<TA> da;
  const hn::ScalableTag<T> d;
  const TA* a = static_cast<const TA*>(a_);
  const T* b = static_cast<const T*>(b_);
  const T* c = static_cast<const T*>(c_);
  T* out = static_cast<T*>(out_);
  const size_t lanes = hn::Lanes(d);
  const hn::Vec<decltype(d)> vb = hn::Set(d, kOneB ? b[0] : T(0)), vc = hn::Set(d, kOneC ? c[0] : T(0));
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    hn::StoreU(Fn::apply(d, hn::LoadU(da, a + i), kOneB ? vb : hn::LoadU(d, b + i), kOneC ? vc : hn::LoadU(d, c + i)), d, out + i);
  }
  if (i == n) return;
  HWY_ALIGN T rest[hn::MaxLanes(d)];
  hn::Store(Fn::apply(d, operand_rest<false>(da, a, i, n), operand_rest<kOneB>(d, b, i, n), operand_rest<kOneC>(d, c, i, n)), d, rest);
  for (size_t j = i; j < n; ++j) out[j] = rest[j - i];
}

// Lane by lane: integer division and powers, which no vector unit has.
template <int32_t (*kFunction)(int32_t, int32_t)>
void scalar_int(const void* a_, const void* b_, const void*, void* out, size_t n) {
  const int32_t *a = static_cast<const int32_t*>(a_), *b = static_cast<const int32_t*>(b_);
  for (size_t i = 0; i < n; ++i) static_cast<int32_t*>(out)[i] = kFunction(a[i], b[i]);
}

void load_bytes(const void* a, const void*, const void*, void* out, size_t n) {
  for (size_t i = 0; i < n; ++i) static_cast<int32_t*>(out)[i] = static_cast<const uint8_t*>(a)[i];
}
void store_bytes(const void* a, const void*, const void*, void* out, size_t n) {
  for (size_t i = 0; i < n; ++i) static_cast<uint8_t*>(out)[i] = static_cast<uint8_t>(static_cast<const int32_t*>(a)[i]);
}

void fill(const void* a, const void*, const void*, void* out_, size_t n) {
  const I32 d;
  const int32_t value = *static_cast<const int32_t*>(a);
  int32_t* out = static_cast<int32_t*>(out_);
  const VI v = hn::Set(d, value);
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(v, d, out + i);
  for (; i < n; ++i) out[i] = value;
}

using Variants = LoopFunction[kVariants];

template <class Fn, class TA, class TR>
void set_binary(Variants& v) {
  v[0] = binary<Fn, TA, TR, 0>;
  v[1] = binary<Fn, TA, TR, 1>;
  v[2] = binary<Fn, TA, TR, 2>;
}
template <class Fn, class T>
void set_select(Variants& v) {
  v[0] = ternary<Fn, int32_t, T, 0>;
  v[2] = ternary<Fn, int32_t, T, 2>;
  v[4] = ternary<Fn, int32_t, T, 4>;
}
template <class T>
void set_clamp(Variants& v) {
  v[0] = ternary<clamp_fn, T, T, 0>;
  v[6] = ternary<clamp_fn, T, T, 6>;
}

LoopTable make_table() {
  LoopTable t{};
  constexpr int kF = static_cast<int>(RegisterType::F32), kI = static_cast<int>(RegisterType::I32);
  constexpr int kB = static_cast<int>(RegisterType::Bool);
  const auto row = [&t](LoopOp op) { return t.functions[static_cast<int>(op)]; };
#define LANGEVIN_F(name) row(LoopOp::name##_op)[kF][0] = unary<name##_fn, float, float>;
#define LANGEVIN_I(name) row(LoopOp::name##_op)[kI][0] = unary<name##_int_fn, int32_t, int32_t>;
  LANGEVIN_F(neg) LANGEVIN_F(abs) LANGEVIN_F(sign) LANGEVIN_F(square) LANGEVIN_F(exp) LANGEVIN_F(expm1) LANGEVIN_F(log) LANGEVIN_F(log1p)
  LANGEVIN_F(sqrt) LANGEVIN_F(rsqrt) LANGEVIN_F(reciprocal) LANGEVIN_F(sin) LANGEVIN_F(cos) LANGEVIN_F(tanh) LANGEVIN_F(sigmoid)
  LANGEVIN_F(softplus) LANGEVIN_F(relu) LANGEVIN_F(erf) LANGEVIN_F(floor) LANGEVIN_F(ceil) LANGEVIN_F(round) LANGEVIN_F(cast_float)
  LANGEVIN_I(neg) LANGEVIN_I(abs) LANGEVIN_I(sign) LANGEVIN_I(square) LANGEVIN_I(cast_int) LANGEVIN_I(cast_bool) LANGEVIN_I(cast_byte)
#undef LANGEVIN_F
#undef LANGEVIN_I
  row(LoopOp::is_finite_op)[kF][0] = unary<is_finite_fn, float, int32_t>;
  row(LoopOp::logical_not_op)[kB][0] = unary<logical_not_int_fn, int32_t, int32_t>;
  row(LoopOp::cast_float_op)[kI][0] = row(LoopOp::cast_float_op)[kB][0] = unary<int_to_float_fn, int32_t, float>;
  row(LoopOp::cast_int_op)[kF][0] = unary<float_to_int_fn, float, int32_t>;
  row(LoopOp::cast_byte_op)[kF][0] = unary<float_to_byte_fn, float, int32_t>;
  row(LoopOp::cast_bool_op)[kF][0] = unary<float_to_bool_fn, float, int32_t>;
  for (LoopOp op : {LoopOp::cast_int_op, LoopOp::cast_byte_op, LoopOp::cast_bool_op}) {
    row(op)[kB][0] = unary<cast_int_int_fn, int32_t, int32_t>;
  }

#define LANGEVIN_F(name) set_binary<name##_fn, float, float>(row(LoopOp::name##_op)[kF]);
#define LANGEVIN_I(name) set_binary<name##_int_fn, int32_t, int32_t>(row(LoopOp::name##_op)[kI]);
  LANGEVIN_F(add) LANGEVIN_F(sub) LANGEVIN_F(mul) LANGEVIN_F(div) LANGEVIN_F(pow) LANGEVIN_F(maximum) LANGEVIN_F(minimum)
  LANGEVIN_F(leaky_relu)
  LANGEVIN_I(add) LANGEVIN_I(sub) LANGEVIN_I(mul) LANGEVIN_I(maximum) LANGEVIN_I(minimum)
#undef LANGEVIN_F
#undef LANGEVIN_I
  row(LoopOp::div_op)[kI][0] = scalar_int<&scalar::div>;
  row(LoopOp::rem_op)[kI][0] = scalar_int<&scalar::rem>;
  row(LoopOp::pow_op)[kI][0] = scalar_int<&scalar::pow>;
  set_binary<logical_and_int_fn, int32_t, int32_t>(row(LoopOp::logical_and_op)[kB]);
  set_binary<logical_or_int_fn, int32_t, int32_t>(row(LoopOp::logical_or_op)[kB]);
#define LANGEVIN_C(name)                                              \
  set_binary<name##_fn, float, int32_t>(row(LoopOp::name##_op)[kF]);   \
  set_binary<name##_fn, int32_t, int32_t>(row(LoopOp::name##_op)[kI]); \
  set_binary<name##_fn, int32_t, int32_t>(row(LoopOp::name##_op)[kB]);
  LANGEVIN_C(eq) LANGEVIN_C(ne) LANGEVIN_C(lt) LANGEVIN_C(le) LANGEVIN_C(gt) LANGEVIN_C(ge)
#undef LANGEVIN_C
  set_select<select_fn<F32>, float>(row(LoopOp::select_op)[kF]);
  set_select<select_fn<I32>, int32_t>(row(LoopOp::select_op)[kI]);
  set_select<select_fn<I32>, int32_t>(row(LoopOp::select_op)[kB]);
  set_clamp<float>(row(LoopOp::clamp_op)[kF]);
  set_clamp<int32_t>(row(LoopOp::clamp_op)[kI]);
  t.load_bytes = load_bytes;
  t.store_bytes = store_bytes;
  t.fill = fill;
  return t;
}

const LoopTable* get_table() {
  static const LoopTable table = make_table();
  return &table;
}

}  // namespace

const LoopTable* loop_table_of_target() { return get_table(); }

}  // namespace HWY_NAMESPACE
}  // namespace langevin
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace langevin {

HWY_EXPORT(loop_table_of_target);

const LoopTable& loop_table() {
  static const LoopTable* table = HWY_DYNAMIC_DISPATCH(loop_table_of_target)();
  return *table;
}

}  // namespace langevin
#endif  // HWY_ONCE
