// The decoded form of a `loop` instruction (docs/architecture.md): typed registers, constants, outputs and reductions. Devices
// compile kernels from it; nothing here runs anything.
#pragma once

#include <string>
#include <vector>

#include "runtime/backend.h"

namespace langevin {

// What a register holds. Bool registers hold 0 or 1; bytes are loaded as I32.
enum class RegisterType : uint8_t { F32, I32, Bool };

enum class LoopOp : uint8_t {
#define LANGEVIN_LOOP_OP(name, operands, signature) name##_op,
#include "ops/functors_table.h"
#undef LANGEVIN_LOOP_OP
  const_float,
  const_int,
  iota,
};
constexpr int kLoopFunctions = static_cast<int>(LoopOp::const_float);  // the rows of functors_table.h

struct LoopEntry {
  LoopOp op;
  RegisterType type;      // of the result
  RegisterType operand;   // of the operands: of the last one for select, of the first otherwise (which decides the function)
  int operands = 0;
  int args[3] = {0, 0, 0};  // registers
  float float_value = 0;    // const_float
  int32_t int_value = 0;    // const_int; the axis of iota
};

enum class Reduce : uint8_t { None, Sum, Max, Min };

struct LoopOutput {
  int reg = 0;
  Reduce reduce = Reduce::None;
};

struct LoopProgram {
  Shape shape;                       // iteration space
  std::vector<RegisterType> inputs;  // registers 0..inputs-1
  std::vector<LoopEntry> entries;    // registers inputs..
  std::vector<LoopOutput> outputs;
  std::vector<int> axes;             // sorted, of all reductions; empty without any
  RegisterType type_of(int reg) const {
    const size_t r = static_cast<size_t>(reg);
    return r < inputs.size() ? inputs[r] : entries[r - inputs.size()].type;
  }
};

// Decodes and checks everything: registers, types, shapes, axes, outputs. Throws PlanError.
LoopProgram decode_loop(const Instruction& instruction);

// The block of the channel-blocked iteration space, from the layouts of full-shape operands: 1, 8 or 16.
int loop_block(const Instruction& instruction, const LoopProgram& program);

}  // namespace langevin
