// NVRTC, cuBLASLt and cuDNN, each found by dlopen when first needed: in the folders of LANGEVIN_CUDA_PATH (separated by colons), then by their
// names on the system's path, then in the usual places of a CUDA installation and of pip's wheels beside it. Types come from their headers.
#pragma once

#include <cublasLt.h>
#include <cudnn.h>
#include <nvrtc.h>

#include <string>

namespace langevin {

#define LANGEVIN_NVRTC_FUNCTIONS(F)                                                                                                      \
  F(nvrtcVersion) F(nvrtcCreateProgram) F(nvrtcCompileProgram) F(nvrtcDestroyProgram) F(nvrtcGetCUBINSize) F(nvrtcGetCUBIN)              \
  F(nvrtcGetProgramLogSize) F(nvrtcGetProgramLog) F(nvrtcGetErrorString)

#define LANGEVIN_CUBLASLT_FUNCTIONS(F)                                                                                                   \
  F(cublasLtCreate) F(cublasLtGetVersion) F(cublasLtMatmul) F(cublasLtMatmulDescCreate) F(cublasLtMatmulDescDestroy)                     \
  F(cublasLtMatmulDescSetAttribute) F(cublasLtMatrixLayoutCreate) F(cublasLtMatrixLayoutDestroy) F(cublasLtMatrixLayoutSetAttribute)     \
  F(cublasLtMatmulPreferenceCreate) F(cublasLtMatmulPreferenceDestroy) F(cublasLtMatmulPreferenceSetAttribute)                           \
  F(cublasLtMatmulAlgoGetHeuristic) F(cublasLtGetStatusString)

#define LANGEVIN_CUDNN_FUNCTIONS(F)                                                                                                      \
  F(cudnnGetVersion) F(cudnnGetErrorString) F(cudnnCreate) F(cudnnSetStream) F(cudnnCreateTensorDescriptor)                              \
  F(cudnnDestroyTensorDescriptor) F(cudnnSetTensor4dDescriptor) F(cudnnCreateFilterDescriptor) F(cudnnDestroyFilterDescriptor)           \
  F(cudnnSetFilter4dDescriptor) F(cudnnCreateConvolutionDescriptor) F(cudnnDestroyConvolutionDescriptor)                                 \
  F(cudnnSetConvolution2dDescriptor) F(cudnnSetConvolutionMathType) F(cudnnSetConvolutionGroupCount)                                     \
  F(cudnnGetConvolutionForwardAlgorithm_v7) F(cudnnGetConvolutionBackwardDataAlgorithm_v7) F(cudnnGetConvolutionBackwardFilterAlgorithm_v7) \
  F(cudnnGetConvolutionForwardWorkspaceSize) F(cudnnGetConvolutionBackwardDataWorkspaceSize)                                             \
  F(cudnnGetConvolutionBackwardFilterWorkspaceSize) F(cudnnConvolutionForward) F(cudnnConvolutionBackwardData)                           \
  F(cudnnConvolutionBackwardFilter)

#define LANGEVIN_MEMBER(name) decltype(&::name) name##_ = nullptr;
struct Nvrtc {
  LANGEVIN_NVRTC_FUNCTIONS(LANGEVIN_MEMBER)
};
struct CublasLt {
  LANGEVIN_CUBLASLT_FUNCTIONS(LANGEVIN_MEMBER)
};
struct Cudnn {
  LANGEVIN_CUDNN_FUNCTIONS(LANGEVIN_MEMBER)
};
#undef LANGEVIN_MEMBER

// Each throws CodedError E_DEVICE with one sentence on what to install where it is missing or too old.
const Nvrtc& nvrtc();
const CublasLt& cublas_lt();
const Cudnn& cudnn();

void check_nvrtc(nvrtcResult result, const char* what);
void check_cublas(cublasStatus_t status, const char* what);
void check_cudnn(cudnnStatus_t status, const char* what);

// For describe(): version and path, or why not. `kind` is 0 nvrtc, 1 cublasLt, 2 cudnn.
struct LibraryFound {
  const char* name;
  std::string version, path, missing;
};
LibraryFound find_library(int kind);

}  // namespace langevin
