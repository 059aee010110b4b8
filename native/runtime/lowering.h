// From a decoded plan to kernel calls over buffers: layouts and reorders, which outputs are written straight into bound memory, which
// results overwrite a dying input, and where each intermediate lies in the arena. No memory is owned and nothing runs here.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/plan_decode.h"

namespace langevin {

struct Buffer {
  enum Kind : uint8_t { Input, Output, Constant, Arena, Persistent };
  Kind kind = Arena;
  int index = -1;      // Input, Output: binding position. Constant: position in DecodedPlan::constants
  size_t bytes = 0;
  size_t offset = 0;   // Arena, Constant, Persistent: byte offset
  int first = 0;       // steps between which the contents matter (Arena)
  int last = -1;
  int version = -1;    // version source, see Lowered; -1 for values computed by the plan
  int shares = -1;     // this buffer lies in the memory of that earlier one (in-place result)
};

// Steps first..end-1, each in `parts` parts by rows that do not wait for one another (regions.h). A step outside of any is one of its own.
struct Region {
  int first = -1, end = -1;
  int parts = 1;
  size_t workspace = 0;  // of one part, for whichever step it is at; the parts' lie one after the other
};

struct Step {
  std::string op;               // as in ops.def, or "reorder"
  Instruction instruction;      // layouts final; for reorders only inputs[0] and outputs[0] are filled
  std::vector<int> inputs;      // buffers
  std::vector<int> outputs;
  int cached = -1;              // reorder of a parameter: runs only when that version source changed
  std::unique_ptr<Kernel> kernel;
  size_t workspace_offset = 0;  // in the arena
  size_t persistent_offset = 0;
  Region region;                // first < 0: none
};

// Version sources are the inputs by position, then the constants.
struct Lowered {
  std::vector<Buffer> buffers;
  std::vector<Step> steps;
  size_t arena_bytes = 0;
  size_t persistent_bytes = 0;
  int reorders = 0;
};

// Throws PlanError, std::bad_alloc, or what a kernel's maker throws.
Lowered lower_plan(const DecodedPlan& plan, Backend& backend);

// One line a step, for people.
std::string print_lowered(const Lowered& lowered);

// `float32[2,3] = loop(float32[2,3], float32[3])`: a step by its op and types.
std::string print_step(const Step& step);

}  // namespace langevin
