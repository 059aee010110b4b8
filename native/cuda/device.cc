// See device.h. Code made of source text stands in source_modules.cc.
#include "cuda/device.h"

#include <map>
#include <mutex>

#include "cuda/device_modules.h"
#include "cuda/embedded.h"
#include "runtime/errors.h"

namespace langevin {

namespace {

constexpr int kLeastCapability = 75;

int attribute(CUdevice device, CUdevice_attribute which) {
  int value = 0;
  check_cuda(driver().cuDeviceGetAttribute_(&value, which, device), "asking a GPU for its properties");
  return value;
}

std::string show_capability(int capability) { return std::to_string(capability / 10) + "." + std::to_string(capability % 10); }

std::string present_devices(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += (i > 0 ? ", cuda:" : "cuda:") + std::to_string(i);
  return text;
}

}  // namespace

CudaDevice& CudaDevice::get(int ordinal) {
  static std::mutex mutex;
  static std::map<int, CudaDevice*> devices;
  std::lock_guard<std::mutex> lock(mutex);
  CudaDevice*& device = devices[ordinal];
  if (device == nullptr) device = new CudaDevice(ordinal);
  return *device;
}

CudaDevice::CudaDevice(int ordinal) : ordinal_(ordinal) {
  const Driver& d = driver();
  int count = 0;
  check_cuda(d.cuDeviceGetCount_(&count), "counting GPUs");
  const std::string title = "cuda:" + std::to_string(ordinal);
  if (ordinal < 0 || ordinal >= count) {
    throw CodedError("E_DEVICE", title + " does not exist; there " + (count == 1 ? "is " : "are ") + present_devices(count));
  }
  CUdevice device = 0;
  check_cuda(d.cuDeviceGet_(&device, ordinal), "choosing a GPU");
  char name[256] = "";
  check_cuda(d.cuDeviceGetName_(name, sizeof name, device), "asking a GPU for its name");
  name_ = name;
  capability_ = 10 * attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR) + attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
  if (capability_ < kLeastCapability) {
    throw CodedError("E_DEVICE", title + " (" + name_ + ") has compute capability " + show_capability(capability_) + "; " + show_capability(kLeastCapability) +
                                     " or later is needed: choose another device");
  }
  if (attribute(device, CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED) == 0) {
    throw CodedError("E_DEVICE", title + " (" + name_ + ") has no memory pools: choose another device or install a newer driver");
  }
  multiprocessors_ = attribute(device, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
  shared_ = static_cast<size_t>(attribute(device, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN));
  check_cuda(d.cuDeviceTotalMem_(&total_, device), "asking a GPU for its memory");
  check_cuda(d.cuDevicePrimaryCtxRetain_(&context_, device), "making a context on the GPU");
  use();
  check_cuda(d.cuStreamCreate_(&stream_, CU_STREAM_NON_BLOCKING), "making a stream");
  modules_ = new Modules;
}

void CudaDevice::use() const { check_cuda(driver().cuCtxSetCurrent_(context_), "choosing the GPU's context"); }

CUfunction CudaDevice::kernel(const char* name) {
  const Driver& d = driver();
  std::lock_guard<std::recursive_mutex> lock(modules_->mutex);
  const auto known = modules_->fixed_kernels.find(name);
  if (known != modules_->fixed_kernels.end()) return known->second;
  use();
  for (int i = static_cast<int>(modules_->fixed.size()); i < kEmbeddedKernelsCount; ++i) {
    CUmodule module = nullptr;
    const CUresult result = d.cuModuleLoadData_(&module, kEmbeddedKernels[i].data);
    if (result == CUDA_ERROR_NO_BINARY_FOR_GPU || result == CUDA_ERROR_INVALID_IMAGE) {
      throw CodedError("E_DEVICE", "this build has no code for " + name_ + " (compute capability " + show_capability(capability_) +
                                       "): build the addon with LANGEVIN_CUDA=ON and LANGEVIN_CUDA_ARCHITECTURES=" + std::to_string(capability_));
    }
    check_cuda(result, "loading the kernels");
    modules_->fixed.push_back(module);
  }
  for (CUmodule module : modules_->fixed) {
    CUfunction function = nullptr;
    const CUresult result = d.cuModuleGetFunction_(&function, module, name);
    if (result == CUDA_ERROR_NOT_FOUND) continue;
    check_cuda(result, "finding a kernel");
    return modules_->fixed_kernels[name] = function;
  }
  throw CodedError("E_INTERNAL", std::string("internal: the plugin has no kernel ") + name);
}

}  // namespace langevin
