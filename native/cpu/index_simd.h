// Vector helpers of the indexing kernels. No tensors here.
#pragma once

#include <cstddef>

namespace langevin {

// out[k] = sum over i < n of row[i] * z[k][i], for k < count <= 4. The order of summation does not depend on count.
void dot_rows(const float* row, const float* const* z, int count, size_t n, float* out);

// out[i] += x[i]
void add_into(const float* x, size_t n, float* out);

}  // namespace langevin
