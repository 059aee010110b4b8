// Where the operands of a fused loop lie, as expressions of C++: coordinates c<dimension> from k (which result) and q (which of its terms), the
// place i in the iteration space, the place of an operand that goes another way.
#pragma once

#include <string>
#include <vector>

#include "cuda/loop_space.h"

namespace langevin {

class LoopPlaces {
 public:
  explicit LoopPlaces(const CudaLoopSpace& space) : s_(space) {}

  const char* type() const { return s_.wide ? "uint64_t" : "uint32_t"; }
  std::string number(int64_t n) const { return std::to_string(n) + (s_.wide ? "ull" : "u"); }

  bool has_dims(bool reduced) const { return !dims_of(reduced).empty(); }
  // Does the place vary over the terms of a result?
  bool varies(const CudaLoopWalk& walk) const;
  // Elements between neighbours of a unit; is it one element for them all; are they neighbours in memory, as a vector that is aligned as a whole?
  int64_t step(const CudaLoopWalk& walk) const { return walk.stride.empty() ? 0 : walk.stride.back(); }
  bool single(const CudaLoopWalk& walk) const { return s_.vector == 1 || step(walk) == 0; }
  bool aligned(const CudaLoopWalk& walk) const;

  // Of a unit's first element.
  std::string place(const CudaLoopWalk& walk) const { return walk.linear ? "i" : sum(walk, true, true); }
  std::string result() const { return sum(s_.result, true, false); }
  std::string linear() const;  // the value of i

  // Statements that define the kept (or reduced) coordinates that any of these walks needs.
  std::vector<std::string> coordinates(bool reduced, const std::vector<const CudaLoopWalk*>& walks) const;

 private:
  std::vector<size_t> dims_of(bool reduced) const;
  bool is_chain(bool reduced) const;
  std::string sum(const CudaLoopWalk& walk, bool kept, bool reduced) const;
  std::string linear_part(bool reduced) const;

  const CudaLoopSpace& s_;
};

}  // namespace langevin
