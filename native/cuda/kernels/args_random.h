// Parameters of kernels/random.cu. The key is read from device memory, so that a recording replays with the key of its day.
#pragma once

#include <cstdint>

namespace langevin {

struct RandomArgs {
  const int32_t* key = nullptr;  // [4]
  void* out = nullptr;
  int64_t size = 0;  // elements
  uint32_t stream = 0;
  uint32_t bound = 1;  // of random_int
};

struct ShuffleArgs {
  const int32_t* key = nullptr;
  int32_t* out = nullptr;
  int64_t size = 0, n = 0;  // `size` of 0..n-1 a step
  uint64_t stream = 0;
};

}  // namespace langevin
