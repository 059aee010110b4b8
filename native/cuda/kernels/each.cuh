// What the kernels of this folder that visit elements have in common: the loop over them, and a kernel's two widths of index.
#pragma once

#include "cuda/kernels/args_index.h"
#include "cuda/kernels/device.cuh"

namespace langevin {

// Calls body(i) for 0 <= i < count, the threads of the grid sharing them out.
template <class Index, class Body>
LANGEVIN_DEVICE void each_index(Index count, const Body& body) {
  const int64_t step = grid_size() * block_size(), end = static_cast<int64_t>(count);
  for (int64_t i = block_index() * block_size() + thread_index(); i < end; i += step) body(static_cast<Index>(i));
}

// 16 bytes that move together.
struct alignas(16) Quad {
  uint32_t word[4];
};

// Index clamped to an axis of `length`, which is at least 1.
template <class Index>
LANGEVIN_DEVICE Index clamped_index(int32_t index, Index length) {
  if (index < 0) return 0;
  const Index at = static_cast<Index>(index);
  return at < length ? at : length - 1;
}

}  // namespace langevin

// Two kernels, NAME_32 and NAME_64, that call `function` with Args<uint32_t> and Args<uint64_t>.
#define LANGEVIN_KERNEL_WIDTHS(name, Args, function)                    \
  LANGEVIN_KERNEL(name##_32, Args<uint32_t>, args) { function(args); } \
  LANGEVIN_KERNEL(name##_64, Args<uint64_t>, args) { function(args); }

// The same for a function that takes the block's shared memory too, as an array of `type`.
#define LANGEVIN_KERNEL_WIDTHS_SHARED(name, Args, type, function) \
  LANGEVIN_KERNEL(name##_32, Args<uint32_t>, args) {              \
    LANGEVIN_SHARED(type, memory);                                \
    function(args, memory);                                       \
  }                                                               \
  LANGEVIN_KERNEL(name##_64, Args<uint64_t>, args) {              \
    LANGEVIN_SHARED(type, memory);                                \
    function(args, memory);                                       \
  }
