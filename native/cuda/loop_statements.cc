// The program of a fused loop as statements of C++, in the functions of ops/functors.h. What surrounds them stands in loop_code.cc.
#include "cuda/loop_statements.h"

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>

namespace langevin {

namespace {

const char* const kFunctions[] = {
#define LANGEVIN_LOOP_OP(name, operands, signature) #name,
#include "ops/functors_table.h"
#undef LANGEVIN_LOOP_OP
};

bool is_source(const LoopEntry& e) { return e.op == LoopOp::const_float || e.op == LoopOp::const_int || e.op == LoopOp::iota; }

}  // namespace

std::string loop_literal(int32_t value) { return value == INT32_MIN ? "(-2147483647 - 1)" : std::to_string(value); }

std::string loop_literal(float value) {
  if (!std::isfinite(value)) {
    uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof bits);
    return "float_of(" + std::to_string(bits >> 16) + ")";
  }
  char text[48];
  std::snprintf(text, sizeof text, "%af", static_cast<double>(value));
  return text;
}

const char* loop_register_type(RegisterType t) { return t == RegisterType::F32 ? "float" : "int32_t"; }

std::vector<bool> live_registers(const LoopProgram& p) {
  std::vector<bool> live(p.inputs.size() + p.entries.size(), false);
  for (const LoopOutput& o : p.outputs) live[static_cast<size_t>(o.reg)] = true;
  for (size_t i = p.entries.size(); i-- > 0;) {
    const LoopEntry& e = p.entries[i];
    if (!live[p.inputs.size() + i]) continue;
    for (int a = 0; a < e.operands; ++a) live[static_cast<size_t>(e.args[a])] = true;
  }
  return live;
}

std::string loop_statements(const LoopProgram& p, const std::vector<bool>& live, const std::string& indent) {
  std::string text;
  for (size_t i = 0; i < p.entries.size(); ++i) {
    const LoopEntry& e = p.entries[i];
    const size_t reg = p.inputs.size() + i;
    if (!live[reg] || e.op == LoopOp::iota) continue;
    std::string value = e.op == LoopOp::const_float ? loop_literal(e.float_value) : loop_literal(e.int_value);
    if (!is_source(e)) {
      value = std::string("scalar::") + kFunctions[static_cast<int>(e.op)] + "(";
      for (int a = 0; a < e.operands; ++a) value += (a ? ", r" : "r") + std::to_string(e.args[a]);
      value += ")";
    }
    text += indent + "const " + loop_register_type(e.type) + " r" + std::to_string(reg) + " = " + value + ";\n";
  }
  return text;
}

}  // namespace langevin
