// How an operand of a fused loop follows the linear index of the iteration space, and the expansion of a stretch of it into a tile.
// No arithmetic here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/loop_simd.h"

namespace langevin {

// The iteration space: row-major over `dims`, which are [N, C/b, H, W, b] when it is blocked and the shape itself otherwise.
struct LoopSpace {
  std::vector<int64_t> dims;
  std::vector<int> axis_of;  // the axis of the shape behind each dimension
  int64_t total = 1;
  int block = 1;
};
LoopSpace make_space(const Shape& shape, int block);

// Sizes and strides (in elements) of an operand, outermost first; neighbouring dimensions that run on are merged.
struct Walk {
  std::vector<int64_t> sizes, strides;
  bool is_uniform() const { return sizes.empty(); }
  bool is_direct() const { return sizes.size() == 1 && strides[0] == 1; }
};
Walk make_walk(const LoopSpace& space, const Shape& shape, const TensorDesc& operand);
Walk make_iota_walk(const LoopSpace& space, const Shape& shape, int axis);

// What a tile buffer holds already: broadcast operands change seldom.
struct ExpansionCache {
  const void* source = nullptr;
  int64_t phase = 0, length = 0;
};

// Elements start..start+n of the operand at `base` as an array of 4-byte lanes: the operand's own memory where they stand there in
// a row, else `out`, written. `bytes` is 4, or 1 for uint8 and bool. The walk must not be uniform.
const void* expand_operand(const LoopTable& table, const Walk& walk, const void* base, int bytes, int64_t start, int64_t n, void* out,
                           ExpansionCache* cache);

}  // namespace langevin
