// The serialised plan (docs/architecture.md, "Plan"), decoded and checked. The text is not trusted: whatever it holds, the result is
// a well-formed plan or a PlanError. Layouts, memory and kernels come later (lowering.h).
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "runtime/backend.h"

namespace langevin {

constexpr int kReshape = -1;  // DecodedCode::op of "reshape", which has no kernel

struct DecodedCode {
  int op = kReshape;
  Instruction instruction;  // all layouts plain; empty for reshape
  std::vector<int> inputs;  // value ids
  std::vector<int> outputs;
};

struct DecodedPlan {
  struct Constant {
    int value;
    size_t offset;  // into the blob
  };
  struct Output {
    int value;
    int alias;  // position in `inputs`, or -1
  };
  std::vector<TensorDesc> values;
  std::vector<int> inputs;
  std::vector<Constant> constants;
  std::vector<Output> outputs;
  std::vector<DecodedCode> code;
  bool bfloat16 = false;  // "precision"
};

// Parses JSON text with limits on its length and nesting. PlanError with the parser's words where it is not JSON.
nlohmann::json parse_json(const std::string& text, const char* what);

DecodedPlan decode_plan(const std::string& text, size_t blob_bytes);

}  // namespace langevin
