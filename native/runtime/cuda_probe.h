// Is there an NVIDIA driver and a GPU? Asked without a header of NVIDIA's, by the addon before it loads the plugin and by the plugin.
#pragma once

#include <string>

#include "runtime/dynamic_library.h"

namespace langevin {

struct CudaProbe {
  Library library;      // libcuda.so.1, initialised
  int version = 0;      // 13000 for CUDA 13.0
  int devices = 0;
  std::string problem;  // one sentence that says what to do; empty where there is a driver and a GPU
};

CudaProbe probe_cuda();

// "13.0" for 13000.
std::string show_cuda_version(int version);

}  // namespace langevin
