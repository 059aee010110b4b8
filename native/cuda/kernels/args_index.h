// Index arithmetic that kernels and their hosts share: which width the indices of a kernel have, and division by a number known when the kernel is
// made. 32 bits serve wherever all sizes and offsets are below 2^31; the 64-bit form of each kernel takes the rest.
#pragma once

#include <cstdint>

#include "ops/functors.h"

namespace langevin {

// n / d for n < 2^31 as a multiplication and a shift (Granlund and Montgomery, "Division by invariant integers using multiplication", PLDI 1994):
// with l = ceil(log2 d) and m = floor(2^32 (2^l - d) / d) + 1 it is (high word of m n + n) >> l, and that sum stays below 2^32.
template <class Index>
struct Divisor;

template <>
struct Divisor<uint32_t> {
  uint32_t divisor = 1, multiplier = 1, shift = 0;

  LANGEVIN_HD uint32_t divide(uint32_t n) const {
    return (static_cast<uint32_t>((static_cast<uint64_t>(n) * multiplier) >> 32) + n) >> shift;
  }
};

template <>
struct Divisor<uint64_t> {
  uint64_t divisor = 1;
  LANGEVIN_HD uint64_t divide(uint64_t n) const { return n / divisor; }
};

// The signed index of the same width.
template <class Index>
struct SignedIndex;
template <>
struct SignedIndex<uint32_t> {
  using Type = int32_t;
};
template <>
struct SignedIndex<uint64_t> {
  using Type = int64_t;
};

// A multidimensional index, taken apart from the last axis on: index = take(rest, size) gives the position on that axis and leaves the others' number.
template <class Index>
LANGEVIN_HD inline Index take_axis(Index& rest, const Divisor<Index>& size) {
  const Index above = size.divide(rest), index = rest - above * size.divisor;
  rest = above;
  return index;
}

}  // namespace langevin
