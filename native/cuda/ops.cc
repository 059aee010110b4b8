// See ops.h.
#include "cuda/ops.h"

namespace langevin {

namespace {

const CudaOpEntry kEntries[] = {
#define LANGEVIN_OP(name) {cuda_layout_##name, cuda_in_place_##name, cuda_make_##name},
#include "ops/ops.def"
#undef LANGEVIN_OP
};

}  // namespace

const CudaOpEntry& cuda_op_entry(int op) { return kEntries[op]; }

}  // namespace langevin
