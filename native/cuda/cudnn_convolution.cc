// See cudnn_convolution.h.
#include "cuda/cudnn_convolution.h"

#include <array>

namespace langevin {

namespace {

constexpr size_t kMostWorkspace = size_t{256} << 20;
constexpr int64_t kMostElements = (int64_t{1} << 31) - 1;  // of a tensor: these functions of cuDNN count in int
constexpr int kMostAlgorithms = 16;                        // more than any direction has

// Not an error: cuDNN cannot do this one.
bool refused(cudnnStatus_t status) {
  const int category = CUDNN_STATUS_CATEGORY(static_cast<int>(status));
  return category == CUDNN_STATUS_NOT_SUPPORTED || category == CUDNN_STATUS_BAD_PARAM;
}

// True where it worked, false where it was refused; other failures are thrown.
bool accepted(cudnnStatus_t status, const char* what) {
  if (refused(status)) return false;
  check_cudnn(status, what);
  return true;
}

bool countable(const ConvGeometry& g) {
  for (const int64_t v : {g.stride[0], g.stride[1], g.dilation[0], g.dilation[1], g.pad[0], g.pad[1], g.kh, g.kw, g.groups}) {
    if (v > kMostElements) return false;
  }
  const double most = static_cast<double>(kMostElements);
  const auto elements = [](int64_t a, int64_t b, int64_t c, int64_t d) {
    return static_cast<double>(a) * static_cast<double>(b) * static_cast<double>(c) * static_cast<double>(d);
  };
  return elements(g.n, g.c, g.h, g.w) <= most && elements(g.n, g.o, g.oh, g.ow) <= most && elements(g.o, g.c / g.groups, g.kh, g.kw) <= most;
}

}  // namespace

std::unique_ptr<CudnnConvolution> CudnnConvolution::make(CudaDevice& device, ConvDirection direction, const ConvGeometry& g, bool half) {
  if (!countable(g)) return nullptr;
  std::unique_ptr<CudnnConvolution> made(new CudnnConvolution(device, direction, half));
  return made->describe(g) && made->choose() ? std::move(made) : nullptr;
}

CudnnConvolution::~CudnnConvolution() {
  const Cudnn& dnn = cudnn();
  if (x_ != nullptr) dnn.cudnnDestroyTensorDescriptor_(x_);
  if (y_ != nullptr) dnn.cudnnDestroyTensorDescriptor_(y_);
  if (w_ != nullptr) dnn.cudnnDestroyFilterDescriptor_(w_);
  if (operation_ != nullptr) dnn.cudnnDestroyConvolutionDescriptor_(operation_);
}

bool CudnnConvolution::describe(const ConvGeometry& g) {
  constexpr const char* what = "describing a convolution";
  const Cudnn& dnn = cudnn();
  const auto whole = [](int64_t v) { return static_cast<int>(v); };
  const cudnnDataType_t type = half_ ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
  check_cudnn(dnn.cudnnCreateTensorDescriptor_(&x_), what);
  check_cudnn(dnn.cudnnCreateTensorDescriptor_(&y_), what);
  check_cudnn(dnn.cudnnCreateFilterDescriptor_(&w_), what);
  check_cudnn(dnn.cudnnCreateConvolutionDescriptor_(&operation_), what);
  // By default float32 operands may be rounded to TF32. ALLOW_CONVERSION would also permit half precision, whose range gradients leave.
  const cudnnMathType_t math = half_ ? CUDNN_TENSOR_OP_MATH : tf32_allowed(device_) ? CUDNN_DEFAULT_MATH : CUDNN_FMA_MATH;
  return accepted(dnn.cudnnSetTensor4dDescriptor_(x_, CUDNN_TENSOR_NHWC, type, whole(g.n), whole(g.c), whole(g.h), whole(g.w)), what) &&
         accepted(dnn.cudnnSetTensor4dDescriptor_(y_, CUDNN_TENSOR_NHWC, type, whole(g.n), whole(g.o), whole(g.oh), whole(g.ow)), what) &&
         accepted(dnn.cudnnSetFilter4dDescriptor_(w_, type, CUDNN_TENSOR_NHWC, whole(g.o), whole(g.c / g.groups), whole(g.kh), whole(g.kw)), what) &&
         accepted(dnn.cudnnSetConvolution2dDescriptor_(operation_, whole(g.pad[0]), whole(g.pad[1]), whole(g.stride[0]), whole(g.stride[1]),
                                                       whole(g.dilation[0]), whole(g.dilation[1]), CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT),
                  what) &&
         accepted(dnn.cudnnSetConvolutionGroupCount_(operation_, whole(g.groups)), what) &&
         accepted(dnn.cudnnSetConvolutionMathType_(operation_, math), what);
}

// query(most, found, perfs) is a heuristic of cuDNN, space(algorithm, bytes) asks for an algorithm's workspace.
template <class Perf, class Query, class Space>
bool CudnnConvolution::choose_from(const Query& query, const Space& space) {
  std::array<Perf, kMostAlgorithms> perfs{};
  int found = 0;
  if (!accepted(query(kMostAlgorithms, &found, perfs.data()), "choosing a convolution's algorithm")) return false;
  const bool exact = !half_ && !tf32_allowed(device_);
  for (int i = 0; i < found; ++i) {
    const Perf& perf = perfs[static_cast<size_t>(i)];
    if (perf.status != CUDNN_STATUS_SUCCESS || perf.determinism != CUDNN_DETERMINISTIC) continue;
    if (perf.mathType == CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION) continue;
    // An algorithm is meant for the math type it is named with.
    if (!exact && !accepted(cudnn().cudnnSetConvolutionMathType_(operation_, perf.mathType), "choosing a convolution's algorithm")) continue;
    size_t bytes = 0;
    if (space(perf.algo, &bytes) != CUDNN_STATUS_SUCCESS || bytes > kMostWorkspace) continue;
    algorithm_ = static_cast<int>(perf.algo);
    workspace_ = bytes;
    return true;
  }
  return false;
}

bool CudnnConvolution::choose() {
  const Cudnn& dnn = cudnn();
  const cudnnHandle_t handle = cudnn_handle(device_);
  switch (direction_) {
    case ConvDirection::Forward:
      return choose_from<cudnnConvolutionFwdAlgoPerf_t>(
          [&](int most, int* found, auto* perfs) { return dnn.cudnnGetConvolutionForwardAlgorithm_v7_(handle, x_, w_, operation_, y_, most, found, perfs); },
          [&](auto algorithm, size_t* bytes) { return dnn.cudnnGetConvolutionForwardWorkspaceSize_(handle, x_, w_, operation_, y_, algorithm, bytes); });
    case ConvDirection::InputGrad:
      return choose_from<cudnnConvolutionBwdDataAlgoPerf_t>(
          [&](int most, int* found, auto* perfs) {
            return dnn.cudnnGetConvolutionBackwardDataAlgorithm_v7_(handle, w_, y_, operation_, x_, most, found, perfs);
          },
          [&](auto algorithm, size_t* bytes) { return dnn.cudnnGetConvolutionBackwardDataWorkspaceSize_(handle, w_, y_, operation_, x_, algorithm, bytes); });
    case ConvDirection::WeightGrad:
      return choose_from<cudnnConvolutionBwdFilterAlgoPerf_t>(
          [&](int most, int* found, auto* perfs) {
            return dnn.cudnnGetConvolutionBackwardFilterAlgorithm_v7_(handle, x_, y_, operation_, w_, most, found, perfs);
          },
          [&](auto algorithm, size_t* bytes) { return dnn.cudnnGetConvolutionBackwardFilterWorkspaceSize_(handle, x_, y_, operation_, w_, algorithm, bytes); });
  }
  return false;
}

bool CudnnConvolution::run(void* x, void* w, void* y, void* workspace) {
  const Cudnn& dnn = cudnn();
  const cudnnHandle_t handle = cudnn_handle(device_);
  const float one = 1.0f, zero = 0.0f;
  void* space = workspace_ == 0 ? nullptr : workspace;
  cudnnStatus_t status = CUDNN_STATUS_SUCCESS;
  switch (direction_) {
    case ConvDirection::Forward:
      status = dnn.cudnnConvolutionForward_(handle, &one, x_, x, w_, w, operation_, static_cast<cudnnConvolutionFwdAlgo_t>(algorithm_), space, workspace_,
                                            &zero, y_, y);
      break;
    case ConvDirection::InputGrad:
      status = dnn.cudnnConvolutionBackwardData_(handle, &one, w_, w, y_, y, operation_, static_cast<cudnnConvolutionBwdDataAlgo_t>(algorithm_), space,
                                                 workspace_, &zero, x_, x);
      break;
    case ConvDirection::WeightGrad:
      status = dnn.cudnnConvolutionBackwardFilter_(handle, &one, x_, x, y_, y, operation_, static_cast<cudnnConvolutionBwdFilterAlgo_t>(algorithm_), space,
                                                   workspace_, &zero, w_, w);
      break;
  }
  return accepted(status, "a convolution");
}

}  // namespace langevin
