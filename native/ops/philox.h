// Philox 4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011) and what is made of its words:
// the scalar definitions, shared by devices. How keys, streams and elements map to counters stands in docs/architecture.md.
#pragma once

#include <cmath>
#include <cstdint>

#include "ops/functors.h"

namespace langevin {

struct PhiloxWords {
  uint32_t w[4];
};

constexpr uint32_t kPhiloxM0 = 0xD2511F53u, kPhiloxM1 = 0xCD9E8D57u;  // multipliers
constexpr uint32_t kPhiloxW0 = 0x9E3779B9u, kPhiloxW1 = 0xBB67AE85u;  // Weyl increments of the key

LANGEVIN_HD inline PhiloxWords philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0, uint32_t k1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = static_cast<uint64_t>(kPhiloxM0) * c0, b = static_cast<uint64_t>(kPhiloxM1) * c2;
    const uint32_t n0 = static_cast<uint32_t>(b >> 32) ^ c1 ^ k0, n2 = static_cast<uint32_t>(a >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(b);
    c3 = static_cast<uint32_t>(a);
    c0 = n0;
    c2 = n2;
    k0 += kPhiloxW0;
    k1 += kPhiloxW1;
  }
  return {{c0, c1, c2, c3}};
}

// A key tensor's four words.
struct RandomKey {
  uint32_t seed_low, seed_high, step_low, step_high;
};

// The four words of block `block` (elements 4 block .. 4 block + 3).
LANGEVIN_HD inline PhiloxWords random_block(const RandomKey& key, uint32_t stream, uint32_t block) {
  return philox(block, stream, key.step_low, key.step_high, key.seed_low, key.seed_high);
}

// In (0,1), exact in float32: the centres of 2^23 equal cells.
LANGEVIN_HD inline float uniform_of(uint32_t word) { return (static_cast<float>(word >> 9) + 0.5f) * 1.1920928955078125e-07f; }

// sin and cos of 2 pi u for u in (0,1): 4u = q + f with f in [-1/2, 1/2] is exact, so no angle is ever rounded; the CPU's kernels use the same polynomials.
LANGEVIN_HD inline void sin_cos_turn(float u, float* sine, float* cosine) {
  const float t = 4.0f * u, whole = ::rintf(t), f = t - whole, z = f * f;
  const float s = f * ((((1.582040568e-04f * z - 4.681265447e-03f) * z + 7.969257981e-02f) * z - 6.459640861e-01f) * z + 1.570796371e+00f);
  const float c = ((((-2.490881161e-05f * z + 9.191961144e-04f) * z - 2.086347528e-02f) * z + 2.536695004e-01f) * z - 1.233700514e+00f) * z + 1.0f;
  const int quadrant = static_cast<int>(whole) & 3;
  *sine = quadrant == 0 ? s : quadrant == 1 ? c : quadrant == 2 ? -s : -c;
  *cosine = quadrant == 0 ? c : quadrant == 1 ? -s : quadrant == 2 ? -c : s;
}

// Box-Muller: two normals of two words.
LANGEVIN_HD inline void normals_of(uint32_t w0, uint32_t w1, float* n0, float* n1) {
  const float r = ::sqrtf(-2.0f * ::logf(uniform_of(w0)));
  float sine, cosine;
  sin_cos_turn(uniform_of(w1), &sine, &cosine);
  *n0 = r * cosine;
  *n1 = r * sine;
}

// In [0, bound).
LANGEVIN_HD inline uint32_t bounded(uint32_t word, uint32_t bound) {
  return static_cast<uint32_t>((static_cast<uint64_t>(word) * bound) >> 32);
}

// The permutation behind shuffle_index: a Feistel network of 4 rounds on 2 * half_bits bits, walked until it lands below n.
// Halves (left, right) = (high bits, low bits); a round is (left, right) -> (right, left ^ (F(right) & mask)).
struct ShuffleOrder {
  uint32_t n, half_bits, mask, epoch, stream, seed_low, seed_high;

  LANGEVIN_HD uint32_t at(uint32_t position) const {
    uint32_t x = position;
    do {
      uint32_t left = half_bits == 0 ? 0 : x >> half_bits, right = x & mask;
      for (uint32_t round = 0; round < 4; ++round) {
        const uint32_t f = philox(right, round, epoch, stream, seed_low, seed_high).w[0];
        const uint32_t next = left ^ (f & mask);
        left = right;
        right = next;
      }
      x = (left << half_bits) | right;
    } while (x >= n);
    return x;
  }
};

// The order of epoch `epoch` of 0..n-1, 1 <= n < 2^31.
LANGEVIN_HD inline ShuffleOrder shuffle_order(uint32_t n, uint32_t epoch, uint32_t stream, uint32_t seed_low, uint32_t seed_high) {
  uint32_t bits = 0;
  while (bits < 32 && (static_cast<uint64_t>(1) << bits) < n) ++bits;
  const uint32_t half = (bits + 1) / 2;
  return {n, half, (static_cast<uint32_t>(1) << half) - 1, epoch, stream, seed_low, seed_high};
}

}  // namespace langevin
