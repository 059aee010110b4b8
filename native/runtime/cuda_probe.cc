// See cuda_probe.h.
#include "runtime/cuda_probe.h"

namespace langevin {

namespace {

constexpr int kSuccess = 0, kNoDevice = 100;  // of CUresult

template <class F>
F function(const Library& library, const char* name) {
  return reinterpret_cast<F>(symbol_of(library, name));
}

std::string error_name(const Library& library, int result) {
  const auto name_of = function<int (*)(int, const char**)>(library, "cuGetErrorName");
  const char* name = nullptr;
  if (name_of != nullptr && name_of(result, &name) == kSuccess && name != nullptr) return name;
  return "error " + std::to_string(result);
}

}  // namespace

std::string show_cuda_version(int version) { return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10); }

CudaProbe probe_cuda() {
  CudaProbe probe;
  probe.library = open_library({"libcuda.so.1"}, cuda_path_folders(), {"/usr/lib/wsl/lib"});
  const Library& library = probe.library;
  if (library.handle == nullptr) {
    probe.problem = library.problem.empty()
                        ? "no NVIDIA driver was found (libcuda.so.1): install NVIDIA's driver; in a container, start it with access to the GPU (--gpus all)"
                        : "NVIDIA's driver could not be loaded (" + library.problem + "): install the driver again";
    return probe;
  }
  const auto init = function<int (*)(unsigned)>(library, "cuInit");
  const auto get_version = function<int (*)(int*)>(library, "cuDriverGetVersion");
  const auto get_count = function<int (*)(int*)>(library, "cuDeviceGetCount");
  if (init == nullptr || get_version == nullptr || get_count == nullptr) {
    probe.problem = library.path + " is not NVIDIA's driver (cuInit is not in it): correct LANGEVIN_CUDA_PATH or the library path";
    return probe;
  }
  int result = init(0);
  if (result == kSuccess) result = get_version(&probe.version);
  if (result == kSuccess) result = get_count(&probe.devices);
  if (result == kNoDevice || (result == kSuccess && probe.devices == 0)) {
    probe.problem = "no NVIDIA GPU was found (the driver " + library.path + " counts none): see what nvidia-smi lists and what CUDA_VISIBLE_DEVICES says";
  } else if (result != kSuccess) {
    probe.problem = "NVIDIA's driver does not start (" + error_name(library, result) + " from " + library.path + "): see whether nvidia-smi works";
  }
  return probe;
}

}  // namespace langevin
