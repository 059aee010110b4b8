// cuDNN 9, the functions of its legacy API for convolutions: descriptors and handles. Tensors are NHWC, filters KRSC, float32 or bfloat16; all else
// is refused. The convolutions themselves: cudnn_convolution.cc.
#include "cuda/simulator/cudnn_types.h"

using namespace langevin::simulator;

namespace {

using Held = std::lock_guard<std::recursive_mutex>;

bool known_type(cudnnDataType_t type) { return type == CUDNN_DATA_FLOAT || type == CUDNN_DATA_BFLOAT16; }

bool countable(int64_t a, int64_t b, int64_t c, int64_t d) {
  return static_cast<double>(a) * static_cast<double>(b) * static_cast<double>(c) * static_cast<double>(d) < 2147483648.0;
}

template <class T>
cudnnStatus_t create(T** handle) {
  const Held held(lock());
  if (handle == nullptr) return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
  *handle = made(new T);
  return CUDNN_STATUS_SUCCESS;
}

template <class T>
cudnnStatus_t remove(T* handle, const char* what) {
  const Held held(lock());
  if (!alive(handle)) return dnn_wrong(CUDNN_STATUS_BAD_PARAM, std::string("destroying what is no ") + what);
  destroy(handle);
  return CUDNN_STATUS_SUCCESS;
}

}  // namespace

namespace langevin::simulator {

cudnnStatus_t dnn_wrong(cudnnStatus_t status, const std::string& text) {
  say("cuDNN: " + text);
  return status;
}

}  // namespace langevin::simulator

extern "C" {

size_t cudnnGetVersion() { return 92400; }

const char* cudnnGetErrorString(cudnnStatus_t status) {
  switch (status) {
    case CUDNN_STATUS_SUCCESS: return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_NOT_INITIALIZED: return "CUDNN_STATUS_NOT_INITIALIZED";
    case CUDNN_STATUS_BAD_PARAM: return "CUDNN_STATUS_BAD_PARAM";
    case CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH: return "CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH";
    case CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT: return "CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT";
    case CUDNN_STATUS_NOT_SUPPORTED: return "CUDNN_STATUS_NOT_SUPPORTED";
    case CUDNN_STATUS_NOT_SUPPORTED_SHAPE: return "CUDNN_STATUS_NOT_SUPPORTED_SHAPE";
    case CUDNN_STATUS_NOT_SUPPORTED_LAYOUT: return "CUDNN_STATUS_NOT_SUPPORTED_LAYOUT";
    case CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE: return "CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE";
    case CUDNN_STATUS_EXECUTION_FAILED: return "CUDNN_STATUS_EXECUTION_FAILED";
    default: return "CUDNN_STATUS unknown";
  }
}

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  const Held held(lock());
  if (handle == nullptr) return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
  if (current_context() == nullptr) return dnn_wrong(CUDNN_STATUS_NOT_INITIALIZED, "a handle on a thread without a context");
  if (not_while_capturing(current_context(), "cudnnCreate") != CUDA_SUCCESS) return CUDNN_STATUS_NOT_INITIALIZED;
  *handle = made(new cudnnContext);
  (*handle)->context = current_context();
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  const Held held(lock());
  if (!alive(handle)) return dnn_wrong(CUDNN_STATUS_NOT_INITIALIZED, "not a handle");
  if (stream != nullptr && (!alive(stream) || stream->context != handle->context)) {
    return dnn_wrong(CUDNN_STATUS_BAD_PARAM_STREAM_MISMATCH, "a stream of another device");
  }
  handle->stream = stream;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnCreateTensorDescriptor(cudnnTensorDescriptor_t* tensor) { return create(tensor); }
cudnnStatus_t cudnnDestroyTensorDescriptor(cudnnTensorDescriptor_t tensor) { return remove(tensor, "tensor descriptor"); }
cudnnStatus_t cudnnCreateFilterDescriptor(cudnnFilterDescriptor_t* filter) { return create(filter); }
cudnnStatus_t cudnnDestroyFilterDescriptor(cudnnFilterDescriptor_t filter) { return remove(filter, "filter descriptor"); }
cudnnStatus_t cudnnCreateConvolutionDescriptor(cudnnConvolutionDescriptor_t* convolution) { return create(convolution); }
cudnnStatus_t cudnnDestroyConvolutionDescriptor(cudnnConvolutionDescriptor_t convolution) { return remove(convolution, "convolution descriptor"); }

cudnnStatus_t cudnnSetTensor4dDescriptor(cudnnTensorDescriptor_t tensor, cudnnTensorFormat_t format, cudnnDataType_t type, int n, int c, int h, int w) {
  const Held held(lock());
  if (!alive(tensor)) return dnn_wrong(CUDNN_STATUS_BAD_PARAM, "not a tensor descriptor");
  if (format != CUDNN_TENSOR_NHWC) return dnn_wrong(CUDNN_STATUS_NOT_SUPPORTED_LAYOUT, "a tensor that is not NHWC, which the simulator does not know");
  if (!known_type(type)) return dnn_wrong(CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE, "a tensor that is neither float nor bfloat16");
  if (n <= 0 || c <= 0 || h <= 0 || w <= 0) return dnn_wrong(CUDNN_STATUS_BAD_PARAM, "an empty tensor");
  if (!countable(n, c, h, w)) return CUDNN_STATUS_NOT_SUPPORTED;
  tensor->half = type == CUDNN_DATA_BFLOAT16;
  tensor->n = n, tensor->c = c, tensor->h = h, tensor->w = w;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetFilter4dDescriptor(cudnnFilterDescriptor_t filter, cudnnDataType_t type, cudnnTensorFormat_t format, int k, int c, int h, int w) {
  const Held held(lock());
  if (!alive(filter)) return dnn_wrong(CUDNN_STATUS_BAD_PARAM, "not a filter descriptor");
  if (format != CUDNN_TENSOR_NHWC) return dnn_wrong(CUDNN_STATUS_NOT_SUPPORTED_LAYOUT, "a filter that is not KRSC, which the simulator does not know");
  if (!known_type(type)) return dnn_wrong(CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE, "a filter that is neither float nor bfloat16");
  if (k <= 0 || c <= 0 || h <= 0 || w <= 0) return dnn_wrong(CUDNN_STATUS_BAD_PARAM, "an empty filter");
  if (!countable(k, c, h, w)) return CUDNN_STATUS_NOT_SUPPORTED;
  filter->half = type == CUDNN_DATA_BFLOAT16;
  filter->n = k, filter->c = c, filter->h = h, filter->w = w;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetConvolution2dDescriptor(cudnnConvolutionDescriptor_t convolution, int pad_h, int pad_w, int stride_h, int stride_w, int dilation_h,
                                              int dilation_w, cudnnConvolutionMode_t mode, cudnnDataType_t compute) {
  const Held held(lock());
  if (!alive(convolution)) return dnn_wrong(CUDNN_STATUS_BAD_PARAM, "not a convolution descriptor");
  if (pad_h < 0 || pad_w < 0 || stride_h <= 0 || stride_w <= 0 || dilation_h <= 0 || dilation_w <= 0) {
    return dnn_wrong(CUDNN_STATUS_BAD_PARAM, "a padding below 0, or a stride or dilation below 1");
  }
  if (mode != CUDNN_CROSS_CORRELATION || compute != CUDNN_DATA_FLOAT) {
    return dnn_wrong(CUDNN_STATUS_NOT_SUPPORTED, "a mode or compute type that the simulator does not know");
  }
  convolution->set = true;
  convolution->pad[0] = pad_h, convolution->pad[1] = pad_w;
  convolution->stride[0] = stride_h, convolution->stride[1] = stride_w;
  convolution->dilation[0] = dilation_h, convolution->dilation[1] = dilation_w;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetConvolutionMathType(cudnnConvolutionDescriptor_t convolution, cudnnMathType_t math) {
  const Held held(lock());
  if (!alive(convolution)) return dnn_wrong(CUDNN_STATUS_BAD_PARAM, "not a convolution descriptor");
  if (math != CUDNN_DEFAULT_MATH && math != CUDNN_TENSOR_OP_MATH && math != CUDNN_FMA_MATH) {
    return dnn_wrong(CUDNN_STATUS_NOT_SUPPORTED, "a math type that the simulator does not know");
  }
  convolution->math = math;
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetConvolutionGroupCount(cudnnConvolutionDescriptor_t convolution, int groups) {
  const Held held(lock());
  if (!alive(convolution)) return dnn_wrong(CUDNN_STATUS_BAD_PARAM, "not a convolution descriptor");
  if (groups <= 0) return dnn_wrong(CUDNN_STATUS_BAD_PARAM, "groups below 1");
  convolution->groups = groups;
  return CUDNN_STATUS_SUCCESS;
}

}  // extern "C"
