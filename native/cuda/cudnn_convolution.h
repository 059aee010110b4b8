// One convolution, or an adjoint of one, by cuDNN: descriptors, the choice of an algorithm, the call. Images [N, H, W, C], filters [O, kh, kw, I], all
// float32 or all bfloat16 (float32 sums); padding the same on both sides. What surrounds it is conv.cc's.
#pragma once

#include <memory>

#include "cuda/handles.h"
#include "ops/geometry.h"

namespace langevin {

class CudnnConvolution {
 public:
  // The first deterministic algorithm that cuDNN's heuristic names and whose workspace is within bounds; nothing is timed. Null where there is none.
  static std::unique_ptr<CudnnConvolution> make(CudaDevice& device, ConvDirection direction, const ConvGeometry& g, bool half);
  ~CudnnConvolution();
  CudnnConvolution(const CudnnConvolution&) = delete;
  CudnnConvolution& operator=(const CudnnConvolution&) = delete;

  size_t workspace() const { return workspace_; }
  // Makes the one of x, w, y that the direction says from the other two. False, and nothing done, where cuDNN refuses in spite of its heuristic.
  bool run(void* x, void* w, void* y, void* workspace);

 private:
  CudnnConvolution(CudaDevice& device, ConvDirection direction, bool half) : device_(device), direction_(direction), half_(half) {}
  bool describe(const ConvGeometry& g);
  bool choose();
  template <class Perf, class Query, class Space>
  bool choose_from(const Query& query, const Space& space);

  CudaDevice& device_;
  ConvDirection direction_;
  bool half_;
  cudnnTensorDescriptor_t x_ = nullptr, y_ = nullptr;
  cudnnFilterDescriptor_t w_ = nullptr;
  cudnnConvolutionDescriptor_t operation_ = nullptr;
  int algorithm_ = 0;  // of the direction's enumeration
  size_t workspace_ = 0;
};

}  // namespace langevin
