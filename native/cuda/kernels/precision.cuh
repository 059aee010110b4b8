// Numbers that are float32 or bfloat16 in memory, as a flag says. For kernels where that costs nothing beside their arithmetic.
#pragma once

#include "cuda/kernels/device.cuh"

namespace langevin {

LANGEVIN_DEVICE float load_number(const void* from, int64_t i, int32_t half) {
  return half ? float_of(static_cast<const uint16_t*>(from)[i]) : static_cast<const float*>(from)[i];
}

LANGEVIN_DEVICE void store_number(void* to, int64_t i, int32_t half, float x) {
  if (half) {
    static_cast<uint16_t*>(to)[i] = half_of(x);
  } else {
    static_cast<float*>(to)[i] = x;
  }
}

}  // namespace langevin
