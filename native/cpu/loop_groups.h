// The iteration space of a reducing loop as alternating groups of kept and reduced dimensions, how its work is divided, and the
// folding of a tile into accumulators. Which register is folded is loop.cc's business.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/loop_operand.h"
#include "cpu/loop_simd.h"

namespace langevin {

class LoopGroups {
 public:
  LoopGroups(const LoopSpace& space, const std::vector<int>& axes);

  struct Group {
    int64_t size;
    bool kept;
    int64_t inner;       // elements of the iteration space within one step of it
    int64_t kept_inner;  // kept elements within one step of it
  };
  const std::vector<Group>& groups() const { return groups_; }
  int64_t kept() const { return kept_; }  // elements of the result

  // Folds elements start..start+n, in x, into accumulators of kept elements from `first` on.
  void fold(const ReduceTable& table, const void* x, int64_t start, int64_t n, void* accumulators, int64_t first) const;

  // Writes results first..first+n of accumulators to `out`, the whole result in plain order.
  void finish(const ReduceTable& table, const void* accumulators, int64_t first, int64_t n, void* out) const;

 private:
  int64_t plain_index(int64_t kept_index) const;

  std::vector<Group> groups_;
  int64_t kept_ = 1;
  // Where blocks make the kept order differ from the plain one: sizes of the kept dimensions and their strides in the result.
  std::vector<int64_t> kept_sizes_, plain_strides_;
};

}  // namespace langevin
