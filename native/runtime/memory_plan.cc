// See memory_plan.h.
#include "runtime/memory_plan.h"

#include <algorithm>
#include <cstdint>
#include <numeric>

namespace langevin {

namespace {

// The tightest gap of `bytes` between the blocks of `placed` (sorted by offset) that live during [first, last]; else the end of them.
size_t best_gap(const std::vector<Interval>& intervals, const std::vector<size_t>& placed, const Interval& block) {
  size_t end = 0;  // highest end of the blocks seen so far
  size_t best = SIZE_MAX, best_offset = 0;
  for (size_t p : placed) {
    const Interval& other = intervals[p];
    if (other.first > block.last || other.last < block.first) continue;
    if (other.offset > end && other.offset - end >= block.bytes && other.offset - end < best) {
      best = other.offset - end;
      best_offset = end;
    }
    end = std::max(end, other.offset + other.bytes);
  }
  return best == SIZE_MAX ? end : best_offset;
}

}  // namespace

size_t place_intervals(std::vector<Interval>& intervals) {
  std::vector<size_t> order(intervals.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return intervals[a].bytes > intervals[b].bytes; });
  std::vector<size_t> placed;
  placed.reserve(intervals.size());
  size_t arena = 0;
  for (size_t i : order) {
    Interval& block = intervals[i];
    block.offset = best_gap(intervals, placed, block);
    arena = std::max(arena, block.offset + block.bytes);
    const auto at = std::upper_bound(placed.begin(), placed.end(), block.offset, [&](size_t offset, size_t p) { return offset < intervals[p].offset; });
    placed.insert(at, i);
  }
  return arena;
}

}  // namespace langevin
