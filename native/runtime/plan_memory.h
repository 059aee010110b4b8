// What a plan's memory is for: said where there is not enough of it.
#pragma once

#include "runtime/lowering.h"

namespace langevin {

enum class PlanMemory { Arena, Persistent };

// Throws CodedError E_DEVICE: how much of that memory the plan needs, how much is free, and the five things in it that take most.
[[noreturn]] void fail_plan_memory(const Lowered& lowered, Backend& backend, PlanMemory kind);

}  // namespace langevin
