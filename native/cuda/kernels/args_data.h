// Parameters of kernels/index.cu and kernels/data.cu. x is seen as [outer, length, inner] around an axis; `inner` counts units: elements, or groups of
// neighbours that move together (16 bytes). Indices are int32 in device memory and are clamped where they are read.
#pragma once

#include "cuda/kernels/args_index.h"

namespace langevin {

template <class Index>
struct GatherArgs {
  const void* x = nullptr;
  const int32_t* indices = nullptr;
  void* out = nullptr;
  Index count = 0;   // units of the result [outer, indices, inner]
  Index length = 0;  // of the axis
  Divisor<Index> inner, indices_count;
};

// Which positions of an index list name the same row, in order. links[i] is the next position that names the row of i, or `count`; it is
// stored as -1 - next where an earlier position names the row too. So a row's chain starts where links[i] >= 0 and ends where next is `count`.
struct LinkArgs {
  const int32_t* indices = nullptr;
  int64_t* links = nullptr;
  int64_t count = 0, length = 0;
};

constexpr int kSortDigits = 256;   // a pass sorts by 8 bits
constexpr int kSortChunk = 2048;   // keys that a block takes
constexpr int kScanThreads = 1024;

// One pass of a stable sort of (key, position) by the digit at `shift`. Without keys_in these are the clamped indices and their positions.
struct SortArgs {
  const int32_t* indices = nullptr;
  const uint32_t* keys_in = nullptr;
  const int64_t* order_in = nullptr;
  uint32_t* keys_out = nullptr;
  int64_t* order_out = nullptr;
  int64_t* places = nullptr;  // [kSortDigits, chunks]: how many of a chunk's keys have a digit, then where the first of them goes
  int64_t* links = nullptr;
  int64_t count = 0, length = 0, chunks = 0;
  int64_t shift = 0;
};

template <class Index>
struct ScatterArgs {
  const int32_t* indices = nullptr;
  const int64_t* links = nullptr;
  const void* updates = nullptr;
  void* out = nullptr;
  Index count = 0;  // units of updates [outer, indices, inner]
  Index length = 0;
  Divisor<Index> inner, indices_count;
};

template <class Index>
struct ArgmaxArgs {
  const void* x = nullptr;
  int32_t* out = nullptr;
  int64_t count = 0;  // results
  Index length = 0;
  Divisor<Index> inner;
};

// An image's element is (a, y, x, b), b fastest: a = (image, channel) and one b where rows are plain, a = image and b = channel where channels come last.
template <class Index>
struct CropFlipArgs {
  const void* x = nullptr;
  const int32_t* offsets = nullptr;
  const uint8_t* flips = nullptr;
  void* out = nullptr;
  int64_t count = 0;
  Divisor<Index> b, width, height, per_image;  // a / per_image is the image
  int64_t pad = 0;
};

constexpr int kDrawLanes = 32;   // threads that share a dot product
constexpr int kDrawResults = 8;  // dot products that a block takes at a time

struct GaussianRowsArgs {
  const uint8_t* mask = nullptr;
  const int32_t* classes = nullptr;
  const float *mean = nullptr, *factor = nullptr, *z = nullptr;
  float* out = nullptr;
  int64_t rows = 0, dims = 0, classes_count = 0, rank = 0;
  int64_t bands = 0;  // of kDrawResults dimensions
};

}  // namespace langevin
