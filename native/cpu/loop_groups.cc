// See loop_groups.h.
#include "cpu/loop_groups.h"

#include <algorithm>

namespace langevin {

namespace {
constexpr size_t kMaxGroups = 16;
}

LoopGroups::LoopGroups(const LoopSpace& space, const std::vector<int>& axes) {
  const size_t rank = space.dims.size();
  const auto is_kept = [&](size_t i) { return std::find(axes.begin(), axes.end(), space.axis_of[i]) == axes.end(); };
  for (size_t i = 0; i < rank; ++i) {
    const bool kept = is_kept(i);
    if (kept) kept_ *= space.dims[i];
    if (space.dims[i] == 1) continue;
    if (!groups_.empty() && groups_.back().kept == kept) groups_.back().size *= space.dims[i];
    else groups_.push_back({space.dims[i], kept, 1, 1});
  }
  if (groups_.empty()) groups_.push_back({1, true, 1, 1});
  for (size_t g = groups_.size() - 1; g-- > 0;) {
    groups_[g].inner = groups_[g + 1].inner * groups_[g + 1].size;
    groups_[g].kept_inner = groups_[g + 1].kept_inner * (groups_[g + 1].kept ? groups_[g + 1].size : 1);
  }
  // Blocked: [N, C/b, H, W, b] kept in this order is plain unless H or W stand between the halves of C.
  if (space.block > 1 && is_kept(1) && ((is_kept(2) && space.dims[2] > 1) || (is_kept(3) && space.dims[3] > 1))) {
    const int64_t w = is_kept(3) ? space.dims[3] : 1, h = is_kept(2) ? space.dims[2] : 1;
    const int64_t c = space.dims[1] * space.block, n = is_kept(0) ? space.dims[0] : 1;
    kept_sizes_ = {n, space.dims[1], h, w, space.block};
    plain_strides_ = {c * h * w, space.block * h * w, w, 1, h * w};
  }
}

void LoopGroups::fold(const ReduceTable& table, const void* x_, int64_t start, int64_t n, void* accumulators, int64_t first) const {
  const char* x = static_cast<const char*>(x_);
  char* acc = static_cast<char*>(accumulators);
  int64_t index[kMaxGroups], k = -first, rest = start;
  const size_t last = groups_.size() - 1;
  for (size_t g = 0; g <= last; ++g) {
    index[g] = rest / groups_[g].inner;
    rest -= index[g] * groups_[g].inner;
    if (groups_[g].kept && g < last) k += index[g] * groups_[g].kept_inner;
  }
  const Group& inner = groups_[last];
  while (n > 0) {
    const int64_t at = index[last];
    int64_t length = std::min(inner.size - at, n), steps = 1;  // one run of the innermost group
    if (!inner.kept) {
      table.run(x, static_cast<size_t>(length), acc + static_cast<size_t>(k) * table.bytes);
    } else {
      if (at == 0 && length == inner.size && last > 0) {  // whole rows of the same columns
        steps = std::min(n / inner.size, groups_[last - 1].size - index[last - 1]);
        length *= steps;
      }
      table.rows(x, static_cast<size_t>(steps), static_cast<size_t>(length / steps), acc + static_cast<size_t>(k + at) * table.bytes);
    }
    n -= length;
    if (n == 0) return;
    x += length * 4;
    index[last] = 0;
    for (size_t g = last; g-- > 0; steps = 1) {
      const int64_t kept_step = groups_[g].kept ? groups_[g].kept_inner : 0;
      index[g] += steps;
      k += steps * kept_step;
      if (index[g] < groups_[g].size) break;
      k -= index[g] * kept_step;
      index[g] = 0;
    }
  }
}

int64_t LoopGroups::plain_index(int64_t kept_index) const {
  int64_t plain = 0;
  for (size_t i = kept_sizes_.size(); i-- > 0;) {
    plain += kept_index % kept_sizes_[i] * plain_strides_[i];
    kept_index /= kept_sizes_[i];
  }
  return plain;
}

void LoopGroups::finish(const ReduceTable& table, const void* accumulators, int64_t first, int64_t n, void* out) const {
  const char* acc = static_cast<const char*>(accumulators);
  char* result = static_cast<char*>(out);
  if (kept_sizes_.empty()) return table.finish(acc, static_cast<size_t>(n), result + first * 4);
  for (int64_t i = 0; i < n; ++i) table.finish(acc + static_cast<size_t>(i) * table.bytes, 1, result + plain_index(first + i) * 4);
}

}  // namespace langevin
