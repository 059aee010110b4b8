// What the text of a chain kernel (cuda/chain_code.cc) is built of: copies between a block's shared memory and the device's, products with a factor in
// shared memory, draws of a block's own rows. All threads of a block call each of them with t, their number among kThreads; no barrier is met here.
#pragma once

#include "cuda/kernels/device.cuh"

namespace langevin {

struct alignas(16) ChainQuad {
  float at[4];
};
LANGEVIN_DEVICE ChainQuad chain_quad(const float* from) { return *reinterpret_cast<const ChainQuad*>(from); }

// Element i of what lies in rows of kWidth elements, kStep apart.
template <int kWidth, int kStep>
LANGEVIN_DEVICE int32_t chain_padded(int32_t i) {
  return kWidth == kStep ? i : i / kWidth * kStep + i % kWidth;
}

template <int kThreads, class To, class From>
LANGEVIN_DEVICE void chain_copy(To* to, const From* from, int32_t count, int32_t t) {
  for (int32_t i = t; i < count; i += kThreads) to[i] = static_cast<To>(from[i]);
}
template <int kThreads, int kWidth, int kStep>
LANGEVIN_DEVICE void chain_copy_factor(float* to, const float* from, int32_t count, int32_t t) {
  for (int32_t i = t; i < count; i += kThreads) to[chain_padded<kWidth, kStep>(i)] = from[i];
}

// to[r, n] = sum over k of a[r, k] b(k, n) for kTile rows: of b's rows n where kAlong, else of its columns. A thread makes kRows x kColumns results of
// terms k in one of kParts stretches. With more than one of them `to` holds [kParts, kTile, kN], which chain_fold adds up.
template <int kTile, int kN, int kK, int kStep, bool kAlong, bool kQuads, int kRows, int kColumns, int kParts, int kThreads>
LANGEVIN_DEVICE void chain_product(float* to, const float* a, const float* b, int32_t t) {
  constexpr int32_t kAcross = kN / kColumns, kItems = kTile / kRows * kParts * kAcross;
  constexpr int32_t kUnit = kQuads ? 4 : 1, kUnits = kK / kUnit, kLength = (kUnits + kParts - 1) / kParts;
  for (int32_t item = t; item < kItems; item += kThreads) {
    const int32_t column = item % kAcross, part = item / kAcross % kParts, row = item / (kAcross * kParts) * kRows;
    const int32_t first = part * kLength, end = first + kLength < kUnits ? first + kLength : kUnits;
    float sums[kRows][kColumns];
    for (int32_t i = 0; i < kRows; ++i) {
      for (int32_t j = 0; j < kColumns; ++j) sums[i][j] = 0.0f;
    }
    for (int32_t u = first; u < end; ++u) {
      const int32_t k = u * kUnit;
      float terms[kColumns][kUnit];
      for (int32_t j = 0; j < kColumns; ++j) {
        const int32_t n = column + j * kAcross;
        if (kQuads && kAlong) {
          const ChainQuad quad = chain_quad(b + n * kStep + k);
          for (int32_t q = 0; q < kUnit; ++q) terms[j][q] = quad.at[q];
        } else {
          for (int32_t q = 0; q < kUnit; ++q) terms[j][q] = kAlong ? b[n * kStep + k] : b[(k + q) * kStep + n];
        }
      }
      for (int32_t i = 0; i < kRows; ++i) {
        const float* at = a + (row + i) * kK + k;
        float own[kUnit];
        if (kQuads) {
          const ChainQuad quad = chain_quad(at);
          for (int32_t q = 0; q < kUnit; ++q) own[q] = quad.at[q];
        } else {
          own[0] = at[0];
        }
        for (int32_t j = 0; j < kColumns; ++j) {
          for (int32_t q = 0; q < kUnit; ++q) sums[i][j] += own[q] * terms[j][q];
        }
      }
    }
    for (int32_t i = 0; i < kRows; ++i) {
      for (int32_t j = 0; j < kColumns; ++j) to[(part * kTile + row + i) * kN + column + j * kAcross] = sums[i][j];
    }
  }
}

template <int kCount, int kParts, int kThreads>
LANGEVIN_DEVICE void chain_fold(float* to, const float* partial, int32_t t) {
  for (int32_t i = t; i < kCount; i += kThreads) {
    float sum = partial[i];
    for (int32_t part = 1; part < kParts; ++part) sum += partial[part * kCount + i];
    to[i] = sum;
  }
}

// Elements first .. first + count - 1 of a draw; make(words, four) turns a block's four words into four elements. The last threads begin, as
// the first ones have more to do elsewhere.
template <int kThreads, class T, class Make>
LANGEVIN_DEVICE void chain_draw(T* to, const int32_t* key, uint32_t stream, int64_t first, int32_t count, int32_t t, const Make& make) {
  const RandomKey k = {static_cast<uint32_t>(key[0]), static_cast<uint32_t>(key[1]), static_cast<uint32_t>(key[2]), static_cast<uint32_t>(key[3])};
  const int64_t end = first + count;
  for (int64_t block = first / 4 + (kThreads - 1 - t); 4 * block < end; block += kThreads) {
    T four[4];
    make(random_block(k, stream, static_cast<uint32_t>(block)), four);
    for (int32_t j = 0; j < 4; ++j) {
      const int64_t i = 4 * block + j - first;
      if (i >= 0 && i < count) to[i] = four[j];
    }
  }
}
template <int kThreads>
LANGEVIN_DEVICE void chain_normal(float* to, const int32_t* key, uint32_t stream, int64_t first, int32_t count, int32_t t) {
  chain_draw<kThreads>(to, key, stream, first, count, t, [](const PhiloxWords& words, float* four) {
    normals_of(words.w[0], words.w[1], four, four + 1);
    normals_of(words.w[2], words.w[3], four + 2, four + 3);
  });
}
template <int kThreads>
LANGEVIN_DEVICE void chain_uniform(float* to, const int32_t* key, uint32_t stream, int64_t first, int32_t count, int32_t t) {
  chain_draw<kThreads>(to, key, stream, first, count, t, [](const PhiloxWords& words, float* four) {
    for (int j = 0; j < 4; ++j) four[j] = uniform_of(words.w[j]);
  });
}
template <int kThreads>
LANGEVIN_DEVICE void chain_random_int(int32_t* to, const int32_t* key, uint32_t stream, uint32_t bound, int64_t first, int32_t count, int32_t t) {
  chain_draw<kThreads>(to, key, stream, first, count, t, [bound](const PhiloxWords& words, int32_t* four) {
    for (int j = 0; j < 4; ++j) four[j] = static_cast<int32_t>(bounded(words.w[j], bound));
  });
}

}  // namespace langevin
