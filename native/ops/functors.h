// Scalar definitions of the loop instructions, shared by devices: the meaning that every vector kernel must reproduce (to the stated
// few ulp for transcendental functions, exactly otherwise). Registers are float, int32_t, or bool held as int32_t 0 or 1.
// No tensors, no memory here.
#pragma once

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define LANGEVIN_HD __host__ __device__
#else
#define LANGEVIN_HD
#endif

namespace langevin {
namespace scalar {

// Integers wrap around, as two's complement hardware does; division floors, division by zero gives 0.
LANGEVIN_HD inline int32_t wrap(int64_t x) { return static_cast<int32_t>(static_cast<uint32_t>(x)); }

LANGEVIN_HD inline float neg(float x) { return -x; }
LANGEVIN_HD inline int32_t neg(int32_t x) { return wrap(-static_cast<int64_t>(x)); }
LANGEVIN_HD inline float abs(float x) { return ::fabsf(x); }
LANGEVIN_HD inline int32_t abs(int32_t x) { return x < 0 ? neg(x) : x; }
LANGEVIN_HD inline float sign(float x) { return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x; }  // 0 and NaN stay
LANGEVIN_HD inline int32_t sign(int32_t x) { return x > 0 ? 1 : x < 0 ? -1 : 0; }
LANGEVIN_HD inline float square(float x) { return x * x; }
LANGEVIN_HD inline int32_t square(int32_t x) { return wrap(static_cast<int64_t>(x) * x); }

LANGEVIN_HD inline float exp(float x) { return ::expf(x); }
LANGEVIN_HD inline float expm1(float x) { return ::expm1f(x); }
LANGEVIN_HD inline float log(float x) { return ::logf(x); }
LANGEVIN_HD inline float log1p(float x) { return ::log1pf(x); }
LANGEVIN_HD inline float sqrt(float x) { return ::sqrtf(x); }
LANGEVIN_HD inline float rsqrt(float x) { return 1.0f / ::sqrtf(x); }
LANGEVIN_HD inline float reciprocal(float x) { return 1.0f / x; }
LANGEVIN_HD inline float sin(float x) { return ::sinf(x); }
LANGEVIN_HD inline float cos(float x) { return ::cosf(x); }
LANGEVIN_HD inline float tanh(float x) { return ::tanhf(x); }
LANGEVIN_HD inline float sigmoid(float x) {
  const float e = ::expf(-::fabsf(x));
  return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}
LANGEVIN_HD inline float softplus(float x) { return (x < 0.0f ? 0.0f : x) + ::log1pf(::expf(-::fabsf(x))); }
LANGEVIN_HD inline float relu(float x) { return x < 0.0f ? 0.0f : x; }  // NaN stays
LANGEVIN_HD inline float leaky_relu(float x, float slope) { return x < 0.0f ? x * slope : x; }
LANGEVIN_HD inline float erf(float x) { return ::erff(x); }
LANGEVIN_HD inline float floor(float x) { return ::floorf(x); }
LANGEVIN_HD inline float ceil(float x) { return ::ceilf(x); }
LANGEVIN_HD inline float round(float x) { return ::rintf(x); }  // ties to even
LANGEVIN_HD inline int32_t is_finite(float x) { return ::fabsf(x) <= 3.40282347e+38f; }
LANGEVIN_HD inline int32_t logical_not(int32_t x) { return x == 0; }

LANGEVIN_HD inline float add(float a, float b) { return a + b; }
LANGEVIN_HD inline int32_t add(int32_t a, int32_t b) { return wrap(static_cast<int64_t>(a) + b); }
LANGEVIN_HD inline float sub(float a, float b) { return a - b; }
LANGEVIN_HD inline int32_t sub(int32_t a, int32_t b) { return wrap(static_cast<int64_t>(a) - b); }
LANGEVIN_HD inline float mul(float a, float b) { return a * b; }
LANGEVIN_HD inline int32_t mul(int32_t a, int32_t b) { return wrap(static_cast<int64_t>(a) * b); }
LANGEVIN_HD inline float div(float a, float b) { return a / b; }
LANGEVIN_HD inline int32_t div(int32_t a, int32_t b) {
  if (b == 0) return 0;
  const int64_t q = static_cast<int64_t>(a) / b;
  return wrap(q - ((a % static_cast<int64_t>(b) != 0) && ((a < 0) != (b < 0))));
}
LANGEVIN_HD inline int32_t rem(int32_t a, int32_t b) {  // a - b * floor(a / b): the sign of the divisor; 0 where b is 0
  if (b == 0) return 0;
  const int64_t r = static_cast<int64_t>(a) % b;
  return wrap(r != 0 && ((r < 0) != (b < 0)) ? r + b : r);
}
LANGEVIN_HD inline float pow(float a, float b) { return ::powf(a, b); }
LANGEVIN_HD inline int32_t pow(int32_t a, int32_t b) {  // negative exponents truncate: 1/a is 0 except for a of 1 and -1
  if (b < 0) return a == 1 ? 1 : a == -1 ? ((b & 1) != 0 ? -1 : 1) : 0;
  uint32_t result = 1, base = static_cast<uint32_t>(a);
  for (uint32_t e = static_cast<uint32_t>(b); e != 0; e >>= 1) {
    if ((e & 1u) != 0) result *= base;
    base *= base;
  }
  return static_cast<int32_t>(result);
}
LANGEVIN_HD inline float maximum(float a, float b) { return a > b || a != a ? a : b; }  // NaN wins
LANGEVIN_HD inline int32_t maximum(int32_t a, int32_t b) { return a > b ? a : b; }
LANGEVIN_HD inline float minimum(float a, float b) { return a < b || a != a ? a : b; }  // NaN wins
LANGEVIN_HD inline int32_t minimum(int32_t a, int32_t b) { return a < b ? a : b; }

template <class T>
LANGEVIN_HD inline int32_t eq(T a, T b) { return a == b; }
template <class T>
LANGEVIN_HD inline int32_t ne(T a, T b) { return a != b; }
template <class T>
LANGEVIN_HD inline int32_t lt(T a, T b) { return a < b; }
template <class T>
LANGEVIN_HD inline int32_t le(T a, T b) { return a <= b; }
template <class T>
LANGEVIN_HD inline int32_t gt(T a, T b) { return a > b; }
template <class T>
LANGEVIN_HD inline int32_t ge(T a, T b) { return a >= b; }
LANGEVIN_HD inline int32_t logical_and(int32_t a, int32_t b) { return (a & b) != 0; }
LANGEVIN_HD inline int32_t logical_or(int32_t a, int32_t b) { return (a | b) != 0; }
template <class T>
LANGEVIN_HD inline T select(int32_t condition, T a, T b) { return condition != 0 ? a : b; }
template <class T>
LANGEVIN_HD inline T clamp(T x, T low, T high) { return x < low ? low : x > high ? high : x; }  // NaN stays

LANGEVIN_HD inline float cast_float(float x) { return x; }
LANGEVIN_HD inline float cast_float(int32_t x) { return static_cast<float>(x); }
LANGEVIN_HD inline int32_t cast_int(float x) {  // truncates, saturates, NaN gives 0
  if (x != x) return 0;
  return x >= 2147483648.0f ? INT32_MAX : x < -2147483648.0f ? INT32_MIN : static_cast<int32_t>(x);
}
LANGEVIN_HD inline int32_t cast_int(int32_t x) { return x; }
LANGEVIN_HD inline int32_t cast_bool(float x) { return x != 0.0f; }
LANGEVIN_HD inline int32_t cast_bool(int32_t x) { return x != 0; }
template <class T>
LANGEVIN_HD inline int32_t cast_byte(T x) {  // truncates and saturates to 0..255
  const int32_t i = cast_int(x);
  return i < 0 ? 0 : i > 255 ? 255 : i;
}

}  // namespace scalar
}  // namespace langevin
