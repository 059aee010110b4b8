// What the CUDA plugin (langevin_cuda.so, beside the addon) and the addon say to one another. Both are built from one checkout by one
// compiler, so C++ types cross; `abi` and `version` keep a stale plugin from being used.
#pragma once

#include <string>

#include "runtime/backend.h"

namespace langevin {

constexpr int kCudaPluginAbi = 2;

struct CudaPlugin {
  int abi = kCudaPluginAbi;
  const char* version = "";  // the package's
  // JSON for info(): { driver, devices: [{ name, capability, memory }], libraries: { nvrtc|cublasLt|cudnn: { version, path } | { missing } } },
  // or { reason } where the driver cannot be used.
  // Never throws; costs a look at the driver, at first.
  std::string (*describe)() = nullptr;
  // The device of that ordinal, made at the first call and never destroyed. Throws CodedError E_DEVICE. Any thread.
  Backend* (*backend)(int ordinal) = nullptr;
};

using CudaPluginEntry = const CudaPlugin* (*)();
constexpr const char* kCudaPluginEntry = "langevin_cuda_plugin";  // extern "C"

}  // namespace langevin
