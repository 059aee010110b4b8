// See plugin.h: the plugin's one entry.
#include "cuda/plugin.h"

#include <map>
#include <mutex>
#include <nlohmann/json.hpp>

#include "cuda/backend.h"
#include "cuda/libraries.h"
#include "runtime/cuda_probe.h"

namespace langevin {

namespace {

using nlohmann::json;

json describe_devices(const Driver& d) {
  json list = json::array();
  int count = 0;
  check_cuda(d.cuDeviceGetCount_(&count), "counting GPUs");
  for (int i = 0; i < count; ++i) {
    CUdevice device = 0;
    char name[256] = "";
    int major = 0, minor = 0;
    size_t memory = 0;
    check_cuda(d.cuDeviceGet_(&device, i), "choosing a GPU");
    check_cuda(d.cuDeviceGetName_(name, sizeof name, device), "asking a GPU for its name");
    check_cuda(d.cuDeviceGetAttribute_(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device), "asking a GPU for its properties");
    check_cuda(d.cuDeviceGetAttribute_(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device), "asking a GPU for its properties");
    check_cuda(d.cuDeviceTotalMem_(&memory, device), "asking a GPU for its memory");
    list.push_back({{"name", name}, {"capability", std::to_string(major) + "." + std::to_string(minor)}, {"memory", memory}});
  }
  return list;
}

json describe_libraries() {
  json all = json::object();
  for (int kind = 0; kind < 3; ++kind) {
    const LibraryFound found = find_library(kind);
    if (found.missing.empty()) all[found.name] = {{"version", found.version}, {"path", found.path}};
    else all[found.name] = {{"missing", found.missing}};
  }
  return all;
}

// What goes wrong with the driver stands in "reason".
std::string describe() {
  json result = json::object();
  try {
    const Driver& d = driver();
    int version = 0;
    check_cuda(d.cuDriverGetVersion_(&version), "asking the driver for its version");
    result["driver"] = show_cuda_version(version);
    result["devices"] = describe_devices(d);
    result["libraries"] = describe_libraries();
  } catch (const std::bad_alloc&) {
    result["reason"] = "out of memory while looking for GPUs";
  } catch (const std::exception& error) {
    result["reason"] = error.what();
  }
  return result.dump(-1, ' ', false, json::error_handler_t::replace);
}

Backend* backend(int ordinal) {
  static std::mutex mutex;
  static std::map<int, Backend*> backends;
  std::lock_guard<std::mutex> lock(mutex);
  Backend*& found = backends[ordinal];
  if (found == nullptr) found = new CudaBackend(CudaDevice::get(ordinal));
  return found;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const CudaPlugin* langevin_cuda_plugin() {
  static const CudaPlugin plugin{kCudaPluginAbi, LANGEVIN_VERSION, describe, backend};
  return &plugin;
}

}  // namespace langevin
