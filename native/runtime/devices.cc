// See devices.h.
#include "runtime/devices.h"

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "cuda/plugin.h"
#include "runtime/cuda_probe.h"
#include "runtime/errors.h"

#if !defined(LANGEVIN_VERSION)
#error "LANGEVIN_VERSION must be defined: a plugin of another version is refused by it"
#endif

namespace langevin {

namespace {

using nlohmann::json;

struct Cuda {
  const CudaPlugin* plugin = nullptr;
  std::string path;    // of the plugin
  std::string reason;  // why there is none
  std::string description;
};

// LANGEVIN_CUDA_PLUGIN, else beside the library that this function is in.
std::string plugin_path() {
  const char* given = std::getenv("LANGEVIN_CUDA_PLUGIN");
  if (given != nullptr && given[0] != 0) return given;
  return folder_of(reinterpret_cast<const void*>(&plugin_path)) + "/langevin_cuda.so";
}

// Each way out is a sentence.
std::string find_plugin(Cuda& cuda) {
  cuda.path = plugin_path();
  const std::string build = "build it with LANGEVIN_CUDA=ON npm run build:native, which needs nvcc and what scripts/cuda-headers.sh fetches";
  if (!file_exists(cuda.path)) return "this installation has no CUDA plugin (" + cuda.path + " does not exist): " + build;
  const CudaProbe probe = probe_cuda();
  if (!probe.problem.empty()) return probe.problem;
  const Library library = open_file(cuda.path);
  if (library.handle == nullptr) return "the CUDA plugin could not be loaded (" + library.problem + "): " + build;
  const auto entry = reinterpret_cast<CudaPluginEntry>(symbol_of(library, kCudaPluginEntry));
  const CudaPlugin* plugin = entry == nullptr ? nullptr : entry();
  if (plugin == nullptr) return cuda.path + " is not a CUDA plugin of langevin (" + kCudaPluginEntry + " is not in it): correct LANGEVIN_CUDA_PLUGIN, or " + build;
  if (plugin->abi != kCudaPluginAbi || plugin->version != std::string(LANGEVIN_VERSION)) {
    const std::string is = plugin->abi == kCudaPluginAbi ? std::string("version ") + plugin->version : "interface " + std::to_string(plugin->abi);
    const std::string wanted = plugin->abi == kCudaPluginAbi ? std::string("version ") + LANGEVIN_VERSION : "interface " + std::to_string(kCudaPluginAbi);
    return "the CUDA plugin " + cuda.path + " is stale (" + is + "; the addon has " + wanted + "): " + build;
  }
  const json found = json::parse(plugin->describe(), nullptr, false);
  if (found.is_object() && found.contains("reason")) return found["reason"].get<std::string>();
  cuda.plugin = plugin;
  cuda.description = found.dump();
  return "";
}

const Cuda& cuda() {
  static const Cuda* found = [] {
    auto* cuda = new Cuda;
    cuda->reason = find_plugin(*cuda);
    json all = json::object();
    if (cuda->plugin != nullptr) all = json::parse(cuda->description);
    all["available"] = cuda->plugin != nullptr;
    all["plugin"] = cuda->path;
    if (!cuda->reason.empty()) all["reason"] = cuda->reason;
    cuda->description = all.dump(-1, ' ', false, json::error_handler_t::replace);
    return cuda;
  }();
  return *found;
}

// "cuda" is the first device.
int ordinal_of(const std::string& device) {
  if (device == "cuda") return 0;
  const std::string digits = device.compare(0, 5, "cuda:") == 0 ? device.substr(5) : "";
  const bool number = !digits.empty() && digits.size() <= 4 && digits.find_first_not_of("0123456789") == std::string::npos;
  if (!number) throw CodedError("E_DEVICE", "device must be 'cpu', 'cuda' or 'cuda:' and a number; got '" + device + "'");
  return std::stoi(digits);
}

}  // namespace

Backend& backend_for(const std::string& device) {
  if (device == "cpu") return cpu_backend();
  const int ordinal = ordinal_of(device);
  const Cuda& found = cuda();
  if (found.plugin == nullptr) throw CodedError("E_DEVICE", "device '" + device + "' cannot be used: " + found.reason);
  return *found.plugin->backend(ordinal);
}

const std::string& cuda_description() { return cuda().description; }

}  // namespace langevin
