// Matrices of float32 and bfloat16 for the two libraries: read as float (rounded to TF32 where asked), summed in double, rounded once.
#pragma once

#include <cstdint>
#include <cstring>

#include "cuda/simulator/entry.h"

namespace langevin::simulator {

// LANGEVIN_SIMULATOR_EXACT=1: TF32 rounds nothing.
inline bool rounds_tf32() {
  return setting("LANGEVIN_SIMULATOR_EXACT", "0") != "1" && simulated("LANGEVIN_SIMULATOR_CAPABILITY", "90") >= 80;
}

// To 10 bits of mantissa, to nearest, ties away from zero, as the GPU's conversion.
inline float tf32(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7f800000u) == 0x7f800000u) return x;
  bits = (bits + 0x1000u) & ~0x1fffu;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

// An array of either type at a mapped address.
struct Numbers {
  unsigned char* data;
  bool half;
  bool round = false;  // to TF32 when read
  size_t bytes() const { return half ? 2 : 4; }

  float read(int64_t i) const {
    float x;
    if (half) {
      uint16_t top;
      std::memcpy(&top, data + 2 * i, sizeof top);
      const uint32_t bits = uint32_t{top} << 16;
      std::memcpy(&x, &bits, sizeof x);
      return x;
    }
    std::memcpy(&x, data + 4 * i, sizeof x);
    return round ? tf32(x) : x;
  }

  void write(int64_t i, double sum) const {
    const float x = static_cast<float>(sum);
    if (!half) {
      std::memcpy(data + 4 * i, &x, sizeof x);
      return;
    }
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    const uint16_t top = static_cast<uint16_t>(x != x ? (bits >> 16) | 0x40u : (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
    std::memcpy(data + 2 * i, &top, sizeof top);
  }
};

inline double dot(const float* a, const float* b, int64_t n) {
  double sums[4] = {0, 0, 0, 0};
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    for (int lane = 0; lane < 4; ++lane) sums[lane] += static_cast<double>(a[i + lane]) * b[i + lane];
  }
  for (; i < n; ++i) sums[0] += static_cast<double>(a[i]) * b[i];
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// What libraries leave in a workspace: nobody may count on what was there.
inline void spoil(const Memory& memory, const void* workspace, size_t bytes, const std::string& what) {
  if (bytes != 0) std::memset(use(memory, reinterpret_cast<CUdeviceptr>(workspace), bytes, what + ", workspace"), 0xEE, bytes);
}

}  // namespace langevin::simulator
