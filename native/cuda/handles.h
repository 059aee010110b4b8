// What cuBLASLt and cuDNN want to be called with: one handle a device, made at first use and never destroyed. Worker thread only.
#pragma once

#include "cuda/device.h"
#include "cuda/libraries.h"

namespace langevin {

cublasLtHandle_t cublas_handle(CudaDevice& device);
cudnnHandle_t cudnn_handle(CudaDevice& device);  // its work goes on the device's stream

// May float32 products and convolutions round their operands to TF32 (10 bits of mantissa)? LANGEVIN_TF32=0: no; unset or 1: yes. Read when a kernel is
// made. Throws CodedError E_DEVICE on another value. Devices before compute capability 8.0 have no TF32.
bool tf32_allowed(const CudaDevice& device);

}  // namespace langevin
