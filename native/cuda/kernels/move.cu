// Boxes copied between strided arrays (transpose, slice, concat) and padding. Nothing is computed but indices.
#include "cuda/kernels/args_move.h"
#include "cuda/kernels/each.cuh"

namespace langevin {

template <class From, class To>
struct MoveUnit {
  LANGEVIN_DEVICE static To of(From x) { return x; }
};
template <>
struct MoveUnit<uint16_t, float> {
  LANGEVIN_DEVICE static float of(uint16_t x) { return float_of(x); }
};

// A thread a unit, in the order of `to`.
template <class From, class To, class Index>
LANGEVIN_DEVICE void move_box(const MoveArgs<Index>& args) {
  const From* from = static_cast<const From*>(args.from);
  To* to = static_cast<To*>(args.to);
  each_index(args.count, [&](Index i) {
    Index rest = i, source = 0, target = 0;
    for (int axis = kMoveRank - 1; axis >= 0; --axis) {
      if (axis < kMoveRank - static_cast<int>(args.rank)) break;
      const Index at = take_axis(rest, args.size[axis]);
      source += at * args.from_stride[axis];
      target += at * args.to_stride[axis];
    }
    to[target] = MoveUnit<From, To>::of(from[source]);
  });
}

LANGEVIN_KERNEL_WIDTHS(langevin_move_1, MoveArgs, (move_box<uint8_t, uint8_t>))
LANGEVIN_KERNEL_WIDTHS(langevin_move_4, MoveArgs, (move_box<uint32_t, uint32_t>))
LANGEVIN_KERNEL_WIDTHS(langevin_move_16, MoveArgs, (move_box<Quad, Quad>))
LANGEVIN_KERNEL_WIDTHS(langevin_move_half, MoveArgs, (move_box<uint16_t, float>))

// A block a tile, through shared memory, so that reads and writes both run along memory. A row of the tile has one element more than it uses: then
// a column's elements lie in different banks.
template <class T, class Index>
LANGEVIN_DEVICE void move_tiles(const TransposeArgs<Index>& args, T* tile) {
  constexpr Index kSide = kMoveTile;
  const T* from = static_cast<const T*>(args.from);
  T* to = static_cast<T*>(args.to);
  const Index lane = static_cast<Index>(thread_index() % kMoveTile), first = static_cast<Index>(thread_index() / kMoveTile);
  for (int64_t t = block_index(); t < static_cast<int64_t>(args.tiles); t += grid_size()) {
    Index rest = static_cast<Index>(t);
    const Index row = take_axis(rest, args.row_tiles) * kSide, column = take_axis(rest, args.column_tiles) * kSide;
    Index source = 0, target = 0;
    for (int axis = kMoveRank - 1; axis >= 0; --axis) {
      if (axis < kMoveRank - static_cast<int>(args.rank)) break;
      const Index at = take_axis(rest, args.size[axis]);
      source += at * args.from_stride[axis];
      target += at * args.to_stride[axis];
    }
    for (Index k = first; k < kSide; k += kMoveTileRows) {
      if (row + lane < args.rows && column + k < args.columns) tile[k * (kSide + 1) + lane] = from[source + (column + k) * args.from_column + row + lane];
    }
    block_barrier();
    for (Index k = first; k < kSide; k += kMoveTileRows) {
      if (column + lane < args.columns && row + k < args.rows) to[target + (row + k) * args.to_row + column + lane] = tile[lane * (kSide + 1) + k];
    }
    block_barrier();
  }
}

LANGEVIN_KERNEL_WIDTHS_SHARED(langevin_transpose_1, TransposeArgs, uint8_t, move_tiles<uint8_t>)
LANGEVIN_KERNEL_WIDTHS_SHARED(langevin_transpose_4, TransposeArgs, uint32_t, move_tiles<uint32_t>)

// A thread an element of the result, in its order.
template <class T, class Index>
LANGEVIN_DEVICE void pad_elements(const PadArgs<Index>& args) {
  const T* from = static_cast<const T*>(args.from);
  T* to = static_cast<T*>(args.to);
  each_index(args.count, [&](Index i) {
    Index rest = i, source = 0;
    bool inside = true;
    for (int axis = kMoveRank - 1; axis >= 0; --axis) {
      if (axis < kMoveRank - static_cast<int>(args.rank)) break;
      const Index at = take_axis(rest, args.size[axis]);
      const bool above = at >= args.low[axis];
      const Index offset = above ? at - args.low[axis] : 0, k = args.step[axis].divide(offset);
      inside = inside && above && k * args.step[axis].divisor == offset && k < args.inside[axis];
      source += k * args.from_stride[axis];
    }
    to[i] = inside ? from[source] : static_cast<T>(args.value);
  });
}

LANGEVIN_KERNEL_WIDTHS(langevin_pad_1, PadArgs, pad_elements<uint8_t>)
LANGEVIN_KERNEL_WIDTHS(langevin_pad_4, PadArgs, pad_elements<uint32_t>)

}  // namespace langevin
