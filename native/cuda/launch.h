// Launching a kernel. Every kernel of ours takes one struct by value: kernels/device.cuh says why.
#pragma once

#include "cuda/device.h"

namespace langevin {

struct Extent {
  unsigned x = 1, y = 1, z = 1;
};

constexpr unsigned kBlockThreads = 256;

// Blocks of kBlockThreads for n elements, each thread `each` of them; at least 1, at most 2^30.
inline unsigned blocks_for(int64_t n, int64_t each = 1) {
  const int64_t per = int64_t{kBlockThreads} * each, blocks = (n + per - 1) / per;
  return static_cast<unsigned>(blocks < 1 ? 1 : blocks > (int64_t{1} << 30) ? (int64_t{1} << 30) : blocks);
}

// Queued on the device's stream; what goes wrong while it runs is seen at the next synchronize().
template <class Args>
void launch(CudaDevice& device, CUfunction function, Extent grid, Extent block, size_t shared, const Args& args) {
  void* parameters[] = {const_cast<Args*>(&args)};
  check_cuda(driver().cuLaunchKernel_(function, grid.x, grid.y, grid.z, block.x, block.y, block.z, static_cast<unsigned>(shared), device.stream(), parameters, nullptr),
             "launching a kernel");
}

}  // namespace langevin
