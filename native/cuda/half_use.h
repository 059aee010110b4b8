// Backend::half_use on CUDA, by kind of op: written beside the layout functions of each (loop.cc, matmul.cc, conv.cc, move.cc) and dispatched in
// ops.cc. Any other op needs float32 (HalfUse::No).
#pragma once

#include "runtime/backend.h"

namespace langevin {

HalfUse cuda_loop_half_use(const Instruction& instruction, int input);
HalfUse cuda_matmul_half_use(const Instruction& instruction, int input);
HalfUse cuda_conv_half_use(const Instruction& instruction, int input);
HalfUse cuda_slice_half_use(const Instruction& instruction, int input);

}  // namespace langevin
