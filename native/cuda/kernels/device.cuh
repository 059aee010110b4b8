// What every kernel file includes: the few words in which kernels are written. They are chosen so that the same text is compiled by nvcc (the
// plugin's fixed kernels), by NVRTC (fused loops) and, for tests on machines without a GPU, by the host's compiler (simulator/shim.h).
//
//   LANGEVIN_KERNEL(name, Args, args) { ... }     a kernel with one parameter, a struct by value, so that a launch needs no signature
//   LANGEVIN_SHARED(float, tile)                  the block's dynamic shared memory as an array
//   thread_index(), block_index(), block_size(), grid_size()   of dimension x, as int64_t
//   block_barrier()                               __syncthreads()
// Not used: warp shuffles, atomics, <cuda_bf16.h>, the standard library: results must not depend on the order of threads. Functions on scalars
// come from ops/functors.h and ops/philox.h.
#pragma once

#include "ops/functors.h"
#include "ops/philox.h"

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define LANGEVIN_KERNEL(name, Args, args) extern "C" __global__ void __launch_bounds__(1024) name(const Args args)
#define LANGEVIN_SHARED(type, name) extern __shared__ __align__(16) unsigned char langevin_shared_memory[]; type* name = reinterpret_cast<type*>(langevin_shared_memory)
#define LANGEVIN_DEVICE __device__ inline

namespace langevin {
LANGEVIN_DEVICE int64_t thread_index() { return threadIdx.x; }
LANGEVIN_DEVICE int64_t block_index() { return blockIdx.x; }
LANGEVIN_DEVICE int64_t block_size() { return blockDim.x; }
LANGEVIN_DEVICE int64_t grid_size() { return gridDim.x; }
LANGEVIN_DEVICE void block_barrier() { __syncthreads(); }
}  // namespace langevin
#else
#include "cuda/simulator/shim.h"
#endif

namespace langevin {

// bfloat16 is the upper half of a float32.
LANGEVIN_DEVICE float float_of(uint16_t half) {
  union { uint32_t bits; float value; } u;
  u.bits = static_cast<uint32_t>(half) << 16;
  return u.value;
}
// To nearest, ties to even; NaN stays NaN.
LANGEVIN_DEVICE uint16_t half_of(float x) {
  union { float value; uint32_t bits; } u;
  u.value = x;
  if (x != x) return static_cast<uint16_t>((u.bits >> 16) | 0x40);
  return static_cast<uint16_t>((u.bits + 0x7fff + ((u.bits >> 16) & 1)) >> 16);
}

}  // namespace langevin
