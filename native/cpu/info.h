// What the CPU backend runs on, for people and bug reports.
#pragma once

#include <string>

namespace langevin {

std::string cpu_isa();      // Highway's name of the instruction set in use, "AVX3_ZEN4"
bool machine_code();        // fused loops run as machine code of their own (cpu/loop_jit.h)
std::string dnnl_version_text();  // oneDNN's version, "2.6.3"

}  // namespace langevin
