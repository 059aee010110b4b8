// Matrix products of bfloat16 operands with float32 sums (bfloat16.h), for plans of that precision. One product, not batches of them.
#pragma once

#include <memory>

#include "ops/geometry.h"
#include "runtime/backend.h"

namespace langevin {

// Is this product one of these kernels' (large enough, not batched)? The layouts do not matter.
bool bf16_product(const Instruction& instruction);

// Operands and result in Plain or PlainHalf, as the instruction says.
std::unique_ptr<Kernel> make_bf16_matmul(const Instruction& instruction);

}  // namespace langevin
