// The table of ops: one entry for every row of ops.def, found by name or index. The functions themselves stand in
// native/ops/check_*.cc (check_<name>) and native/cpu/*.cc (the other three); a missing one is a link error.
//
// For kernel authors, in the order in which the runtime calls them, always on the worker thread:
//   check_<name>     once, all layouts plain. Throws PlanError on anything malformed: arity, dtypes, shapes, attributes.
//                    What passes here must run without error. Use the helpers of ops/check.h.
//   layout_<name>    may change inputs[i].layout and outputs[i].layout (see Backend::choose_layouts); layout_plain where in doubt.
//   in_place_<name>  layouts final: may outputs[o] be written into the memory of inputs[i]? The runtime then may, not must, do so.
//                    It asks for one pair at a time and gives an input's memory to at most one output; a value that is several
//                    inputs of the instruction is given away only if every one of them may share with that output.
//   make_<name>      layouts final: the kernel. May allocate; Kernel::run may not.
// Threads: omp_get_max_threads() is the team size, the same at make_<name> and at every run() of that kernel.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/backend.h"

namespace langevin {

#define LANGEVIN_OP(name)                                           \
  void check_##name(const Instruction& instruction);                \
  void layout_##name(Instruction& instruction);                     \
  bool in_place_##name(const Instruction& instruction, int input, int output); \
  std::unique_ptr<Kernel> make_##name(const Instruction& instruction);
#include "ops/ops.def"
#undef LANGEVIN_OP

// What Backend::half_use says of the ops that may read bfloat16: loops, convolutions, products, small slices. Written beside their layout functions.
HalfUse loop_half_use(const Instruction& instruction, int input);
HalfUse conv_half_use(const Instruction& instruction, int input);
HalfUse slice_half_use(const Instruction& instruction, int input);
HalfUse matmul_half_use(const Instruction& instruction, int input);

// Plain (or blocked) in, blocked (or plain) out; float32, rank 4, equal shapes. Written beside the kernels (native/cpu/reorder.cc).
std::unique_ptr<Kernel> make_reorder_kernel(const TensorDesc& from, const TensorDesc& to);

// Names of the element operations a loop program may hold, for info(). Written beside the loop kernel.
std::vector<std::string> loop_op_names();

// Index of each op: op_loop, op_conv2d, ...
enum OpIndex : int {
#define LANGEVIN_OP(name) op_##name,
#include "ops/ops.def"
#undef LANGEVIN_OP
  op_count
};

struct OpEntry {
  const char* name;
  void (*check)(const Instruction&);
  void (*layout)(Instruction&);
  bool (*in_place)(const Instruction&, int input, int output);
  std::unique_ptr<Kernel> (*make)(const Instruction&);
};

// Entry of an index in 0..op_count-1.
const OpEntry& op_entry(int op);

// Index of a name, or -1.
int find_op(const std::string& name);

// Asks for plain layouts everywhere: what most ops want.
void layout_plain(Instruction& instruction);

}  // namespace langevin
