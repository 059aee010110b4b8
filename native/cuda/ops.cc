// See ops.h.
#include "cuda/ops.h"

#include "cuda/half_use.h"

namespace langevin {

namespace {

const CudaOpEntry kEntries[] = {
#define LANGEVIN_OP(name) {cuda_layout_##name, cuda_in_place_##name, cuda_make_##name},
#include "ops/ops.def"
#undef LANGEVIN_OP
};

}  // namespace

const CudaOpEntry& cuda_op_entry(int op) { return kEntries[op]; }

HalfUse cuda_half_use(const Instruction& instruction, int input) {
  switch (instruction.op) {
    case op_loop: return cuda_loop_half_use(instruction, input);
    case op_slice: return cuda_slice_half_use(instruction, input);
    case op_matmul: return cuda_matmul_half_use(instruction, input);
    case op_conv2d:
    case op_conv2d_input_grad:
    case op_conv2d_weight_grad: return cuda_conv_half_use(instruction, input);
    default: return HalfUse::No;
  }
}

}  // namespace langevin
