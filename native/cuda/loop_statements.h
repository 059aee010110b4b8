// The program of a fused loop as statements of C++ over variables r<register>: for the loops of loop_code.cc and for whoever builds loops into a
// kernel of another form. No memory, no indices.
#pragma once

#include <string>
#include <vector>

#include "ops/loop_program.h"

namespace langevin {

// The registers that the outputs depend on.
std::vector<bool> live_registers(const LoopProgram& program);

// One statement a live entry, in order: "const float r5 = scalar::add(r3, r4);". Inputs and iotas are variables of the surrounding text.
std::string loop_statements(const LoopProgram& program, const std::vector<bool>& live, const std::string& indent);

const char* loop_register_type(RegisterType type);  // "float" or "int32_t"

// Exact: a hexadecimal literal, or the upper bits where there is none (infinities, NaN).
std::string loop_literal(float value);
std::string loop_literal(int32_t value);

}  // namespace langevin
