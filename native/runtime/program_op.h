// One instruction of a program, decoded. A repeat jumps over its body to its end, which jumps back.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/plan.h"

namespace langevin {

struct ProgramOp {
  enum class Kind : uint8_t { Run, Repeat, End, Guard, Record, Copy };
  Kind kind = Kind::Run;
  int plan = -1;
  TensorList inputs;            // Run, Record, Copy (from)
  TensorList outputs;           // Run, Copy (to)
  std::shared_ptr<DeviceTensor> tensor;  // Guard; Repeat: its count, if not constant
  int64_t count = 0;            // Repeat
  size_t jump = 0;              // Repeat: its End. End: its Repeat
  std::string name;             // Guard
  double limit = 0;             // Guard
};

using PlanList = std::vector<std::shared_ptr<CompiledPlan>>;

}  // namespace langevin
