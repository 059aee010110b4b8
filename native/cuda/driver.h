// The CUDA driver's functions, found in libcuda.so.1 when first asked for, so that nothing of NVIDIA's is a link-time need. Names and types come
// from cuda.h. Failures become CodedError E_DEVICE.
#pragma once

#include <cuda.h>

#include <string>

namespace langevin {

// One row a function; cuda.h renames some of them to their present version (cuMemAlloc_v2), which is the symbol that is looked up.
#define LANGEVIN_DRIVER_FUNCTIONS(F)                                                                                                   \
  F(cuInit) F(cuDriverGetVersion) F(cuDeviceGetCount) F(cuDeviceGet) F(cuDeviceGetName) F(cuDeviceGetAttribute) F(cuDeviceTotalMem)     \
  F(cuDevicePrimaryCtxRetain) F(cuCtxSetCurrent) F(cuCtxGetCurrent) F(cuMemGetInfo)                                                     \
  F(cuStreamCreate) F(cuStreamSynchronize) F(cuStreamBeginCapture) F(cuStreamEndCapture)                                                \
  F(cuGraphInstantiate) F(cuGraphLaunch) F(cuGraphDestroy) F(cuGraphExecDestroy)                                                        \
  F(cuDeviceGetDefaultMemPool) F(cuMemPoolSetAttribute) F(cuMemPoolGetAttribute) F(cuMemPoolTrimTo)                                     \
  F(cuMemAllocAsync) F(cuMemFreeAsync) F(cuMemAllocHost) F(cuMemFreeHost)                                                               \
  F(cuMemcpyHtoDAsync) F(cuMemcpyDtoHAsync) F(cuMemcpyDtoDAsync) F(cuMemsetD8Async)                                                     \
  F(cuModuleLoadData) F(cuModuleUnload) F(cuModuleGetFunction) F(cuFuncSetAttribute) F(cuFuncGetAttribute)                              \
  F(cuOccupancyMaxActiveBlocksPerMultiprocessor) F(cuLaunchKernel)                                                                      \
  F(cuEventCreate) F(cuEventRecord) F(cuEventSynchronize) F(cuEventElapsedTime) F(cuEventDestroy) F(cuGetErrorName) F(cuGetErrorString)

struct Driver {
#define LANGEVIN_MEMBER(name) decltype(&::name) name##_ = nullptr;
  LANGEVIN_DRIVER_FUNCTIONS(LANGEVIN_MEMBER)
#undef LANGEVIN_MEMBER
};

// Loaded and initialised once. Throws CodedError E_DEVICE that says what to do: no driver, too old a driver, no device.
const Driver& driver();

// Throws CodedError E_DEVICE "what: CUDA_ERROR_..: text" unless success; out of memory becomes std::bad_alloc.
void check_cuda(CUresult result, const char* what);

}  // namespace langevin
