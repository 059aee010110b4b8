// What a simulated device says of itself. Figures that kernels are planned with are those of the real ones of that capability.
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "cuda/simulator/entry.h"

namespace langevin::simulator {

namespace {

int capability() { return simulated("LANGEVIN_SIMULATOR_CAPABILITY", "90"); }

// Bytes of shared memory that a block may ask for, by compute capability.
int shared_optin() {
  switch (capability()) {
    case 75: return 64 << 10;
    case 80: case 87: return 163 << 10;
    case 86: case 89: case 120: return 99 << 10;
    default: return 227 << 10;
  }
}

int threads_per_multiprocessor() {
  switch (capability()) {
    case 75: return 1024;
    case 86: case 89: case 120: return 1536;
    default: return 2048;
  }
}

bool attribute(CUdevice_attribute which, int* value) {
  switch (which) {
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y: *value = 1024; return true;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z: *value = 64; return true;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X: *value = 2147483647; return true;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z: *value = 65535; return true;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK: *value = 48 << 10; return true;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *value = shared_optin(); return true;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR: *value = shared_optin() + 1024; return true;
    case CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK: *value = 1024; return true;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE: *value = 32; return true;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR: *value = 65536; return true;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = simulated("LANGEVIN_SIMULATOR_MULTIPROCESSORS", "8"); return true;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR: *value = threads_per_multiprocessor(); return true;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR: *value = capability() == 75 ? 16 : 32; return true;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = capability() / 10; return true;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = capability() % 10; return true;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: *value = 50 << 20; return true;
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    case CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH:
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS: *value = 1; return true;
    case CU_DEVICE_ATTRIBUTE_INTEGRATED:
    case CU_DEVICE_ATTRIBUTE_COMPUTE_MODE: *value = 0; return true;
    default: return false;
  }
}

}  // namespace

uint64_t thread_id() { return static_cast<uint64_t>(syscall(SYS_gettid)); }

}  // namespace langevin::simulator

using namespace langevin::simulator;

extern "C" {

CUresult CUDAAPI cuDeviceGetCount(int* count) {
  const Entry entry("cuDeviceGetCount");
  if (const CUresult no = entry.ready(false); no != CUDA_SUCCESS) return no;
  if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *count = simulated("LANGEVIN_SIMULATOR_DEVICES", "1");
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGet(CUdevice* device, int ordinal) {
  const Entry entry("cuDeviceGet");
  if (const CUresult no = entry.ready(false); no != CUDA_SUCCESS) return no;
  if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (ordinal < 0 || ordinal >= simulated("LANGEVIN_SIMULATOR_DEVICES", "1")) return CUDA_ERROR_INVALID_DEVICE;
  *device = ordinal;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGetName(char* name, int length, CUdevice) {
  const Entry entry("cuDeviceGetName");
  if (const CUresult no = entry.ready(false); no != CUDA_SUCCESS) return no;
  if (name == nullptr || length <= 0) return CUDA_ERROR_INVALID_VALUE;
  const std::string text = "Simulated GPU (langevin tests)";
  const size_t count = std::min(text.size(), static_cast<size_t>(length) - 1);
  std::memcpy(name, text.data(), count);
  name[count] = 0;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGetAttribute(int* value, CUdevice_attribute which, CUdevice device) {
  const Entry entry("cuDeviceGetAttribute");
  if (const CUresult no = entry.ready(false); no != CUDA_SUCCESS) return no;
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (device < 0 || device >= simulated("LANGEVIN_SIMULATOR_DEVICES", "1")) return CUDA_ERROR_INVALID_DEVICE;
  if (attribute(which, value)) return CUDA_SUCCESS;
  return entry.wrong(CUDA_ERROR_INVALID_VALUE, "the simulator does not know attribute " + std::to_string(which) + "; add it in device.cc");
}

CUresult CUDAAPI cuDeviceTotalMem(size_t* bytes, CUdevice) {
  const Entry entry("cuDeviceTotalMem");
  if (const CUresult no = entry.ready(false); no != CUDA_SUCCESS) return no;
  if (bytes == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *bytes = std::stoull(setting("LANGEVIN_SIMULATOR_MEMORY", "8589934592"));
  return CUDA_SUCCESS;
}

// By threads, shared memory and the limit of blocks; registers are not known.
CUresult CUDAAPI cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction function, int block_size, size_t shared) {
  const Entry entry("cuOccupancyMaxActiveBlocksPerMultiprocessor");
  if (const CUresult no = entry.ready(true); no != CUDA_SUCCESS) return no;
  if (blocks == nullptr || !alive(function) || block_size <= 0 || block_size > 1024) return entry.wrong(CUDA_ERROR_INVALID_VALUE, "arguments");
  const int most = capability() == 75 ? 16 : 32;
  const int rounded = (block_size + 31) / 32 * 32;
  const size_t by_shared = static_cast<size_t>(shared_optin() + 1024) / (shared + 1024);
  *blocks = shared > static_cast<size_t>(function->dynamic_shared)
                ? 0
                : std::min({most, threads_per_multiprocessor() / rounded, static_cast<int>(std::min<size_t>(by_shared, 1024))});
  return CUDA_SUCCESS;
}

}  // extern "C"
