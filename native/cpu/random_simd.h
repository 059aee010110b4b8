// Filling arrays with Philox draws, vectorised; the scalar definitions are those of ops/philox.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/philox.h"

namespace langevin {

// Draws for elements first..first+n of a stream, first a multiple of 4. Integers do not depend on the vector length; normals
// differ between processor targets by rounding only (absolute error below 1e-6).
struct RandomTable {
  void (*uniform)(const RandomKey& key, uint32_t stream, int64_t first, size_t n, float* out);
  void (*normal)(const RandomKey& key, uint32_t stream, int64_t first, size_t n, float* out);
  void (*bounded)(const RandomKey& key, uint32_t stream, int64_t first, size_t n, uint32_t bound, int32_t* out);
};
const RandomTable& random_table();

}  // namespace langevin
