// Links everything but the addon into a program, so that an op without its functions fails at link time: a shared library for Node
// may have undefined symbols and would only fail when loaded. Prints what info() tells.
#include <cstdio>

#include "cpu/info.h"
#include "ops/registry.h"
#include "runtime/program.h"

int main() {
  using namespace langevin;
  std::printf("%d ops, %zu loop ops, %s, oneDNN %s\n", static_cast<int>(op_count), loop_op_names().size(), cpu_isa().c_str(), dnnl_version_text().c_str());
  const DecodedPlan empty = decode_plan(R"({"version":1,"values":[],"inputs":[],"constants":[],"outputs":[],"code":[]})", 0);
  return lower_plan(empty, cpu_backend()).steps.empty() ? 0 : 1;
}
