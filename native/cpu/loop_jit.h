// Machine code for the steps of a fused loop: stretches of them become one pass over a tile with their values in registers, instead of a
// pass an instruction. On x86-64 Linux with AVX-512; everywhere else, with LANGEVIN_JIT=0, and for what has no code here, loops run
// instruction by instruction (loop_simd.h), to the same accuracy.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "ops/loop_program.h"

namespace langevin {

// slots[out] = op(slots[args]) over a tile.
struct JitStep {
  LoopOp op;
  RegisterType operand;
  int operands;
  int args[3];   // slots
  bool one[3];   // the slot points at a single value
  int out;       // slot
  bool stored;   // the value is read outside of these steps, so it goes to memory
};

class LoopCode {
 public:
  virtual ~LoopCode() = default;
  // `slots` as in loop_plan.h; n elements.
  virtual void run(char* const* slots, size_t n) const = 0;
};

// Whether steps of this kind have code, here and on this processor.
bool jit_supports(LoopOp op, RegisterType operand);

// Code for the steps, or null where they need more registers than there are or the system grants no executable memory.
std::unique_ptr<LoopCode> jit_compile(const std::vector<JitStep>& steps);

}  // namespace langevin
