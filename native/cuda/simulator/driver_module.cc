// Modules, functions and launches. Fixed kernels are part of this library, whatever image is loaded for them; an image of the simulator's own
// NVRTC is a shared library.
#include <dlfcn.h>
#include <unistd.h>

#include <cstring>

#include "cuda/simulator/entry.h"

namespace langevin::simulator {

namespace {

// The library in which the fixed kernels are: this one.
void* own_library() {
  static void* self = [] {
    Dl_info info;
    return dladdr(reinterpret_cast<void*>(&own_library), &info) != 0 ? dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD) : nullptr;
  }();
  return self;
}

// By way of a file of a name used once, which is gone when the library is loaded.
void* load_bytes(const void* bytes, size_t count, std::string* error) {
  std::string path = setting("TMPDIR", "/tmp") + "/langevin-simulator-XXXXXX";
  const int file = mkstemp(path.data());
  if (file < 0) return nullptr;
  const bool whole = write(file, bytes, count) == static_cast<ssize_t>(count);
  close(file);
  void* library = whole ? dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL) : nullptr;
  if (library == nullptr) *error = whole ? dlerror() : "could not write " + path;
  unlink(path.c_str());
  return library;
}

// What nvcc writes (a fatbin, or the record that wraps one), or what the plugin has in its place where it was built without nvcc: text.
bool is_fixed_image(const void* image) {
  uint32_t magic;
  std::memcpy(&magic, image, sizeof magic);
  return magic == 0xBA55ED50u || magic == 0x466243B1u || std::memcmp(image, "langevin", 8) == 0;
}

template <class T>
T symbol(void* library, const std::string& name) {
  T found = nullptr;
  void* address = dlsym(library, name.c_str());
  std::memcpy(&found, &address, sizeof found);
  return found;
}

struct LaunchRequest {
  std::string name;
  KernelFunction run;
  void (*bind)(void*);
  Dimensions grid, block;
  size_t shared;
  std::vector<uint64_t> words;
  CUcontext context;
};

void run_launch(const LaunchRequest& request) {
  const Memory& memory = *request.context->memory;
  std::vector<uint64_t> touched;
  const std::vector<uint64_t> words = map_parameters(request.name, request.words, memory, &touched);
  run_kernel(request.name, request.run, request.bind, words.data(), request.grid, request.block, request.shared, memory);
  for (uint64_t address : touched) {
    const std::string written = memory.check_guards(address);
    if (!written.empty()) throw Fault{CUDA_ERROR_ILLEGAL_ADDRESS, "kernel " + request.name + " " + written};
  }
}

std::string launch_limits(const Dimensions& grid, const Dimensions& block) {
  const auto text = [](const Dimensions& d) { return std::to_string(d.x) + " x " + std::to_string(d.y) + " x " + std::to_string(d.z); };
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 2147483647u || grid.y > 65535 || grid.z > 65535) return "a grid of " + text(grid) + " blocks";
  if (block.x == 0 || block.y == 0 || block.z == 0 || block.z > 64 || uint64_t{block.x} * block.y * block.z > 1024) {
    return "a block of " + text(block) + " threads";
  }
  if (grid.y != 1 || grid.z != 1 || block.y != 1 || block.z != 1) return "more than one dimension, of which kernels know nothing (device.cuh)";
  return "";
}

}  // namespace

}  // namespace langevin::simulator

using namespace langevin::simulator;

extern "C" {

CUresult CUDAAPI cuModuleLoadData(CUmodule* module, const void* image) {
  const Entry entry("cuModuleLoadData");
  if (const CUresult no = entry.ready(true); no != CUDA_SUCCESS) return no;
  if (module == nullptr || image == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (const CUresult no = not_while_capturing(current_context(), "cuModuleLoadData"); no != CUDA_SUCCESS) return no;
  auto loaded = std::make_unique<CUmod_st>();
  loaded->context = current_context();
  if (std::memcmp(image, kCubinMagic, sizeof kCubinMagic) == 0) {
    CubinHead head;
    std::memcpy(&head, image, sizeof head);
    const uint64_t device = static_cast<uint64_t>(simulated("LANGEVIN_SIMULATOR_CAPABILITY", "90"));
    if (head.capability / 10 != device / 10 || head.capability > device) {
      return entry.wrong(CUDA_ERROR_NO_BINARY_FOR_GPU, "code for capability " + std::to_string(head.capability) + " on a device of " + std::to_string(device));
    }
    std::string error;
    loaded->library = load_bytes(static_cast<const unsigned char*>(image) + sizeof head, head.bytes, &error);
    loaded->own = true;
    if (loaded->library == nullptr) return entry.wrong(CUDA_ERROR_INVALID_IMAGE, error);
  } else if (is_fixed_image(image)) {
    loaded->library = own_library();
  } else {
    return entry.wrong(CUDA_ERROR_INVALID_IMAGE, "neither a fatbin nor a cubin of the simulator's NVRTC");
  }
  *module = made(loaded.release());
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuModuleUnload(CUmodule module) {
  const Entry entry("cuModuleUnload");
  if (const CUresult no = entry.ready(true); no != CUDA_SUCCESS) return no;
  if (!alive(module)) return entry.wrong(CUDA_ERROR_INVALID_HANDLE, "not a module, or unloaded before");
  if (const CUresult no = not_while_capturing(module->context, "cuModuleUnload"); no != CUDA_SUCCESS) return no;
  const CUresult result = drain(module->context);
  for (CUfunction function : module->functions) destroy(function);
  if (module->own) dlclose(module->library);
  destroy(module);
  return result;
}

CUresult CUDAAPI cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  const Entry entry("cuModuleGetFunction");
  if (const CUresult no = entry.ready(true); no != CUDA_SUCCESS) return no;
  if (function == nullptr || name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (!alive(module)) return entry.wrong(CUDA_ERROR_INVALID_HANDLE, "not a module");
  for (CUfunction known : module->functions) {
    if (known->name == name) {
      *function = known;
      return CUDA_SUCCESS;
    }
  }
  const auto run = symbol<KernelFunction>(module->library, name);
  const auto* bytes = symbol<const uint64_t*>(module->library, std::string(name) + "_parameter_bytes");
  const auto bind = symbol<void (*)(void*)>(module->library, "langevin_simulator_bind");
  if (run == nullptr || bytes == nullptr || bind == nullptr) return entry.wrong(CUDA_ERROR_NOT_FOUND, std::string("no kernel ") + name + " in this module");
  *function = made(new CUfunc_st);
  (*function)->module = module;
  (*function)->name = name;
  (*function)->run = run;
  (*function)->bind = bind;
  (*function)->parameter_bytes = *bytes;
  module->functions.push_back(*function);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuFuncSetAttribute(CUfunction function, CUfunction_attribute which, int value) {
  const Entry entry("cuFuncSetAttribute");
  if (const CUresult no = entry.ready(true); no != CUDA_SUCCESS) return no;
  if (!alive(function)) return entry.wrong(CUDA_ERROR_INVALID_HANDLE, "not a function");
  if (which == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT) return value >= -1 && value <= 100 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  if (which != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) {
    return entry.wrong(CUDA_ERROR_INVALID_VALUE, "attribute " + std::to_string(which) + " cannot be set");
  }
  int most = 0;
  cuDeviceGetAttribute(&most, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, function->module->context->device);
  if (value < 0 || value > most) {
    return entry.wrong(CUDA_ERROR_INVALID_VALUE, std::to_string(value) + " bytes of shared memory; the device has " + std::to_string(most) + " a block");
  }
  function->dynamic_shared = value;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuFuncGetAttribute(int* value, CUfunction_attribute which, CUfunction function) {
  const Entry entry("cuFuncGetAttribute");
  if (const CUresult no = entry.ready(true); no != CUDA_SUCCESS) return no;
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (!alive(function)) return entry.wrong(CUDA_ERROR_INVALID_HANDLE, "not a function");
  switch (which) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = 1024; return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: *value = 0; return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = 64; return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: *value = function->dynamic_shared; return CUDA_SUCCESS;
    default: return entry.wrong(CUDA_ERROR_INVALID_VALUE, "the simulator does not know attribute " + std::to_string(which));
  }
}

CUresult CUDAAPI cuLaunchKernel(CUfunction function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z, unsigned int block_x, unsigned int block_y,
                                unsigned int block_z, unsigned int shared, CUstream stream, void** parameters, void** extra) {
  const Entry entry("cuLaunchKernel");
  if (const CUresult no = entry.ready(&stream); no != CUDA_SUCCESS) return no;
  if (!alive(function)) return entry.wrong(CUDA_ERROR_INVALID_HANDLE, "not a function");
  if (function->module->context != stream->context) return entry.wrong(CUDA_ERROR_INVALID_HANDLE, "the function is of another device");
  const Dimensions grid{grid_x, grid_y, grid_z}, block{block_x, block_y, block_z};
  const std::string limit = launch_limits(grid, block);
  if (!limit.empty()) return entry.wrong(CUDA_ERROR_INVALID_VALUE, "kernel " + function->name + ": " + limit);
  if (static_cast<uint64_t>(shared) > static_cast<uint64_t>(function->dynamic_shared)) {
    return entry.wrong(CUDA_ERROR_INVALID_VALUE, "kernel " + function->name + ": " + std::to_string(shared) + " bytes of shared memory; it may have " +
                                                     std::to_string(function->dynamic_shared) + " (cuFuncSetAttribute)");
  }
  constexpr size_t kMostParameters = 4096;  // what every device takes
  if (function->parameter_bytes > kMostParameters) {
    return entry.wrong(CUDA_ERROR_INVALID_VALUE,
                       "kernel " + function->name + ": parameters of " + std::to_string(function->parameter_bytes) + " bytes; at most 4096");
  }
  if (parameters == nullptr || parameters[0] == nullptr || extra != nullptr) return entry.wrong(CUDA_ERROR_INVALID_VALUE, "parameters");
  LaunchRequest request{function->name, function->run, function->bind, grid, block, shared, {}, stream->context};
  request.words.resize((function->parameter_bytes + 7) / 8);
  std::memcpy(request.words.data(), parameters[0], function->parameter_bytes);
  ++counts().launches;
  return enqueue(stream, {"kernel " + function->name, [request] { run_launch(request); }});
}

}  // extern "C"
