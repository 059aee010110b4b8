// Offsets in one arena for blocks that live between two steps: greedy by size, each at the tightest gap left by the blocks that
// live at the same time.
#pragma once

#include <cstddef>
#include <vector>

namespace langevin {

struct Interval {
  size_t bytes;  // a multiple of the alignment
  int first;     // inclusive
  int last;      // inclusive
  size_t offset;
};

// Sets every offset; returns the size of the arena. No two blocks that share a step overlap.
size_t place_intervals(std::vector<Interval>& intervals);

}  // namespace langevin
