// Reorders of activations: between row-major and channels-last images, which is a transposition of [C, H W] an image, and between float32 and
// bfloat16 in one order.
#include "cuda/kernels/args_loop.h"
#include "cuda/kernels/device.cuh"

namespace langevin {

constexpr int64_t kTile = 32, kTileRow = kTile + 1;  // a spare column keeps reads by columns off one memory bank

// A block makes a tile of 32 x 32: lines of memory are read and written whole. Blocks go through columns first.
LANGEVIN_KERNEL(langevin_transpose_tiles, TransposeArgs, args) {
  LANGEVIN_SHARED(float, tile);
  const int64_t across = (args.columns + kTile - 1) / kTile, down = (args.rows + kTile - 1) / kTile;
  const int64_t block = block_index(), image = block / (across * down) * args.rows * args.columns;
  const int64_t row0 = block / across % down * kTile, column0 = block % across * kTile;
  const int64_t x = thread_index() % kTile, y0 = thread_index() / kTile, step = block_size() / kTile;
  for (int64_t y = y0; y < kTile; y += step) {
    const int64_t row = row0 + y, column = column0 + x;
    if (row < args.rows && column < args.columns) tile[y * kTileRow + x] = args.from[image + row * args.columns + column];
  }
  block_barrier();
  for (int64_t y = y0; y < kTile; y += step) {
    const int64_t row = row0 + x, column = column0 + y;
    if (row < args.rows && column < args.columns) args.to[image + column * args.rows + row] = tile[x * kTileRow + y];
  }
}

// Few rows: a thread a column, so that each row is read in order.
LANGEVIN_KERNEL(langevin_transpose_few_rows, TransposeArgs, args) {
  const int64_t i = block_index() * block_size() + thread_index();
  if (i >= args.images * args.columns) return;
  const int64_t image = i / args.columns * args.rows * args.columns, column = i % args.columns;
  for (int64_t row = 0; row < args.rows; ++row) args.to[image + column * args.rows + row] = args.from[image + row * args.columns + column];
}

// Few columns: a thread a row, so that each column is written in order.
LANGEVIN_KERNEL(langevin_transpose_few_columns, TransposeArgs, args) {
  const int64_t i = block_index() * block_size() + thread_index();
  if (i >= args.images * args.rows) return;
  const int64_t image = i / args.rows * args.rows * args.columns, row = i % args.rows;
  for (int64_t column = 0; column < args.columns; ++column) args.to[image + column * args.rows + row] = args.from[image + row * args.columns + column];
}

struct alignas(16) FourFloats {
  float at[4];
};
struct alignas(8) FourHalves {
  uint16_t at[4];
};

// A thread four elements; the last one what is left.
LANGEVIN_KERNEL(langevin_to_half, ConvertArgs, args) {
  const float* from = static_cast<const float*>(args.from);
  uint16_t* to = static_cast<uint16_t*>(args.to);
  const int64_t i = 4 * (block_index() * block_size() + thread_index());
  if (i + 4 <= args.count) {
    const FourFloats x = *reinterpret_cast<const FourFloats*>(from + i);
    *reinterpret_cast<FourHalves*>(to + i) = FourHalves{{half_of(x.at[0]), half_of(x.at[1]), half_of(x.at[2]), half_of(x.at[3])}};
  } else {
    for (int64_t j = i; j < args.count; ++j) to[j] = half_of(from[j]);
  }
}

LANGEVIN_KERNEL(langevin_from_half, ConvertArgs, args) {
  const uint16_t* from = static_cast<const uint16_t*>(args.from);
  float* to = static_cast<float*>(args.to);
  const int64_t i = 4 * (block_index() * block_size() + thread_index());
  if (i + 4 <= args.count) {
    const FourHalves x = *reinterpret_cast<const FourHalves*>(from + i);
    *reinterpret_cast<FourFloats*>(to + i) = FourFloats{{float_of(x.at[0]), float_of(x.at[1]), float_of(x.at[2]), float_of(x.at[3])}};
  } else {
    for (int64_t j = i; j < args.count; ++j) to[j] = float_of(from[j]);
  }
}

}  // namespace langevin
