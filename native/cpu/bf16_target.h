// Only for the files that hold AVX512-BF16 code: the attributes of functions that use it, and a function those files share, beside those of
// avx512_target.h. LANGEVIN_BF16 is set where they can be compiled; whether the processor has them is asked at run time (bfloat16.h).
#pragma once

#include "cpu/avx512_target.h"

#if LANGEVIN_AVX512
#define LANGEVIN_BF16 1
#define BF16_CODE __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma")))
#define BF16_INLINE __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma"), always_inline)) inline

namespace langevin {

// 16 float32 values, rounded.
BF16_INLINE __m256i round_floats(__m512 x) { return (__m256i)_mm512_cvtneps_pbh(x); }

}  // namespace langevin
#endif
