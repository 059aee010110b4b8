// The table of ops for CUDA: for every row of ops.def the functions that ops/registry.h names for the CPU (their contract stands there), with the
// device the kernel is for. A missing one is a link error. Written in native/cuda/*.cc; the checks are those of native/ops.
#pragma once

#include <memory>

#include "cuda/device.h"
#include "ops/registry.h"

namespace langevin {

#define LANGEVIN_OP(name)                                                                  \
  void cuda_layout_##name(Instruction& instruction);                                       \
  bool cuda_in_place_##name(const Instruction& instruction, int input, int output);        \
  std::unique_ptr<Kernel> cuda_make_##name(const Instruction& instruction, CudaDevice& device);
#include "ops/ops.def"
#undef LANGEVIN_OP

// As Backend::half_use and Backend::make_reorder.
HalfUse cuda_half_use(const Instruction& instruction, int input);
std::unique_ptr<Kernel> cuda_make_reorder(const TensorDesc& from, const TensorDesc& to, CudaDevice& device);

struct CudaOpEntry {
  void (*layout)(Instruction&);
  bool (*in_place)(const Instruction&, int input, int output);
  std::unique_ptr<Kernel> (*make)(const Instruction&, CudaDevice&);
};
const CudaOpEntry& cuda_op_entry(int op);  // index into ops.def

}  // namespace langevin
