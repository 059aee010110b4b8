// What a device keeps of code: the modules of the plugin's own kernels and those made of source text. For device.cc and source_modules.cc only.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "cuda/device.h"

namespace langevin {

struct CudaDevice::Modules {
  std::recursive_mutex mutex;  // plans are compiled on one thread; this is for who asks from another
  std::vector<CUmodule> fixed;
  std::map<std::string, CUfunction> fixed_kernels;  // that have been asked for
  std::vector<std::pair<std::string, std::string>> pending;  // names and texts
  std::vector<CUmodule> sources;
  std::map<std::string, CUfunction> source_kernels;
};

}  // namespace langevin
