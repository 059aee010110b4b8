// See handles.h.
#include "cuda/handles.h"

#include <cstdlib>
#include <map>
#include <string>

#include "runtime/errors.h"

namespace langevin {

cublasLtHandle_t cublas_handle(CudaDevice& device) {
  static std::map<int, cublasLtHandle_t> handles;
  cublasLtHandle_t& handle = handles[device.ordinal()];
  if (handle == nullptr) {
    device.use();
    check_cublas(cublas_lt().cublasLtCreate_(&handle), "starting cuBLASLt");
  }
  return handle;
}

cudnnHandle_t cudnn_handle(CudaDevice& device) {
  static std::map<int, cudnnHandle_t> handles;
  cudnnHandle_t& handle = handles[device.ordinal()];
  if (handle == nullptr) {
    device.use();
    cudnnHandle_t made = nullptr;
    check_cudnn(cudnn().cudnnCreate_(&made), "starting cuDNN");
    check_cudnn(cudnn().cudnnSetStream_(made, device.stream()), "giving cuDNN its stream");
    handle = made;
  }
  return handle;
}

bool tf32_allowed(const CudaDevice& device) {
  const char* variable = std::getenv("LANGEVIN_TF32");
  const std::string setting = variable == nullptr || *variable == 0 ? "1" : variable;
  if (setting != "0" && setting != "1") {
    throw CodedError("E_DEVICE", "LANGEVIN_TF32 must be 1 (products and convolutions may round float32 operands to TF32) or 0 (they may not); got '" +
                                     setting + "'");
  }
  return setting == "1" && device.capability() >= 80;
}

}  // namespace langevin
