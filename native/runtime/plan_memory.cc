// See plan_memory.h.
#include "runtime/plan_memory.h"

#include <algorithm>

#include "runtime/device_tensor.h"
#include "runtime/errors.h"

namespace langevin {

namespace {

constexpr size_t kMostNamed = 5;

struct Part {
  size_t bytes;
  std::string text;
};

bool belongs(const Buffer& buffer, PlanMemory kind) {
  if (kind == PlanMemory::Arena) return buffer.kind == Buffer::Arena && buffer.shares < 0;
  return buffer.kind == Buffer::Constant || buffer.kind == Buffer::Persistent;
}

std::vector<Part> parts_of(const Lowered& lowered, PlanMemory kind) {
  std::vector<Part> parts;
  std::vector<bool> named(lowered.buffers.size(), false);
  const auto add = [&](int b, const std::string& what, const TensorDesc& type) {
    const Buffer& buffer = lowered.buffers[static_cast<size_t>(b)];
    if (named[static_cast<size_t>(b)] || !belongs(buffer, kind)) return;
    named[static_cast<size_t>(b)] = true;
    parts.push_back({buffer.bytes, what + " " + to_string(type)});
  };
  for (const Step& step : lowered.steps) {
    for (size_t i = 0; i < step.outputs.size(); ++i) add(step.outputs[i], step.op, step.instruction.outputs[i]);
    // What no step makes is a constant.
    for (size_t i = 0; i < step.inputs.size(); ++i) add(step.inputs[i], "constant", step.instruction.inputs[i]);
    const size_t own = kind == PlanMemory::Arena ? step.kernel->workspace() : step.kernel->persistent();
    if (own > 0) parts.push_back({own, std::string(kind == PlanMemory::Arena ? "workspace" : "packed operands") + " of " + step.op});
  }
  return parts;
}

}  // namespace

void fail_plan_memory(const Lowered& lowered, Backend& backend, PlanMemory kind) {
  std::vector<Part> parts = parts_of(lowered, kind);
  std::stable_sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.bytes > b.bytes; });
  parts.resize(std::min(parts.size(), kMostNamed));
  std::string largest;
  for (const Part& part : parts) largest += (largest.empty() ? "" : ", ") + part.text + " (" + show_bytes(part.bytes) + ")";
  const bool arena = kind == PlanMemory::Arena;
  throw CodedError("E_DEVICE", "out of memory on " + std::string(backend.name()) + ": the plan needs " +
                                   show_bytes(arena ? lowered.arena_bytes : lowered.persistent_bytes) + (arena ? " for intermediate results" : " for constants and packed parameters") +
                                   show_free(backend) + "; the largest: " + largest + "; use a smaller batch or model, or dispose of tensors and plans that are no longer needed");
}

}  // namespace langevin
