// The simulator's handles of cuDNN.
#pragma once

#pragma GCC visibility push(default)
#include <cudnn.h>
#pragma GCC visibility pop

#include "cuda/simulator/numbers.h"

struct cudnnContext {
  CUcontext context = nullptr;
  CUstream stream = nullptr;
};

// n is the number of filters, for a filter. All 0 until set.
struct cudnnTensorStruct {
  bool half = false;
  int64_t n = 0, c = 0, h = 0, w = 0;
  int64_t elements() const { return n * c * h * w; }
  size_t bytes() const { return static_cast<size_t>(elements()) * (half ? 2 : 4); }
};

struct cudnnFilterStruct : cudnnTensorStruct {};

struct cudnnConvolutionStruct {
  bool set = false;
  int64_t pad[2] = {0, 0}, stride[2] = {1, 1}, dilation[2] = {1, 1}, groups = 1;
  cudnnMathType_t math = CUDNN_DEFAULT_MATH;
};

namespace langevin::simulator {

cudnnStatus_t dnn_wrong(cudnnStatus_t status, const std::string& text);

}  // namespace langevin::simulator
