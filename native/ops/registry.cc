// See registry.h.
#include "ops/registry.h"

#include <unordered_map>

namespace langevin {

namespace {

const OpEntry kEntries[] = {
#define LANGEVIN_OP(name) {#name, check_##name, layout_##name, in_place_##name, make_##name},
#include "ops/ops.def"
#undef LANGEVIN_OP
};

}  // namespace

const OpEntry& op_entry(int op) { return kEntries[op]; }

int find_op(const std::string& name) {
  static const std::unordered_map<std::string, int> index = [] {
    std::unordered_map<std::string, int> map;
    for (int i = 0; i < op_count; ++i) map.emplace(kEntries[i].name, i);
    return map;
  }();
  const auto found = index.find(name);
  return found == index.end() ? -1 : found->second;
}

}  // namespace langevin
