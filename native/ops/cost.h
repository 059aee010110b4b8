// What an instruction has to do, counted from its shapes: for profiles, which hold it against the machine's ceilings.
#pragma once

#include "runtime/backend.h"

namespace langevin {

struct Cost {
  double operations = 0;  // floating-point (or integer) operations by the definition: a multiply-add is two, a loop's function of an element one
  double bytes = 0;       // operands read once and results written once
};

// The instruction must have been checked. Convolutions count as the direct algorithm does, whatever the kernel's.
Cost cost_of(const Instruction& instruction);

}  // namespace langevin
