// cuDNN's convolutions: the algorithms that its heuristics name, their workspaces, and the three directions by plain loops.
//
// The heuristics name first what must not be taken, so that choosing is tested: an algorithm whose result would differ from run to run, one that is
// not supported, and one that wants 300 MiB; the last two in the list are good, one with a workspace and one without. Taking a bad one fails when it
// runs. LANGEVIN_SIMULATOR_REFUSE_CONVOLUTIONS=1: the convolutions themselves refuse, as cuDNN may although its heuristic named an algorithm.
#include <algorithm>

#include "cuda/simulator/cudnn_types.h"

namespace langevin::simulator {

namespace {

enum class Direction { Forward, InputGrad, WeightGrad };
enum class Role { Varies, Refused, Large, Good, Plain };
constexpr Role kRoles[] = {Role::Varies, Role::Refused, Role::Large, Role::Good, Role::Plain};

// The number that cuDNN's enumeration has for an algorithm in that role; -1 for none.
int algorithm_of(Direction direction, Role role) {
  switch (direction) {
    case Direction::Forward: {
      constexpr int numbers[] = {CUDNN_CONVOLUTION_FWD_ALGO_FFT_TILING, CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD, CUDNN_CONVOLUTION_FWD_ALGO_GEMM,
                                 CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM};
      return numbers[static_cast<int>(role)];
    }
    case Direction::InputGrad: {
      constexpr int numbers[] = {CUDNN_CONVOLUTION_BWD_DATA_ALGO_0, CUDNN_CONVOLUTION_BWD_DATA_ALGO_WINOGRAD, CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT,
                                 CUDNN_CONVOLUTION_BWD_DATA_ALGO_1, -1};
      return numbers[static_cast<int>(role)];
    }
    case Direction::WeightGrad: {
      constexpr int numbers[] = {CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_WINOGRAD_NONFUSED,
                                 CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT, CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1, -1};
      return numbers[static_cast<int>(role)];
    }
  }
  return -1;
}

struct Convolution {
  Direction direction;
  cudnnTensorStruct x, y;
  cudnnFilterStruct w;
  cudnnConvolutionStruct how;

  int64_t extent(int axis) const { return ((axis == 0 ? w.h : w.w) - 1) * how.dilation[axis] + 1; }
  int64_t result(int axis) const { return ((axis == 0 ? x.h : x.w) + 2 * how.pad[axis] - extent(axis)) / how.stride[axis] + 1; }
};

// SUCCESS, and the parts in one, where the descriptors make a convolution that cuDNN does.
cudnnStatus_t combine(cudnnHandle_t handle, Direction direction, const cudnnTensorStruct* x, const cudnnFilterStruct* w, const cudnnConvolutionStruct* how,
                      const cudnnTensorStruct* y, Convolution* all) {
  if (!alive(handle)) return dnn_wrong(CUDNN_STATUS_NOT_INITIALIZED, "not a handle");
  if (!alive(x) || !alive(w) || !alive(how) || !alive(y)) return dnn_wrong(CUDNN_STATUS_BAD_PARAM, "a descriptor that is not alive");
  if (x->n == 0 || y->n == 0 || w->n == 0 || !how->set) return dnn_wrong(CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED, "a descriptor that was not set");
  *all = {direction, *x, *y, *w, *how};
  if (x->half != w->half || x->half != y->half) return dnn_wrong(CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE, "types that differ");
  if (x->half && (how->math == CUDNN_FMA_MATH || simulated("LANGEVIN_SIMULATOR_CAPABILITY", "90") < 80)) {
    return dnn_wrong(CUDNN_STATUS_NOT_SUPPORTED_DATA_TYPE, "bfloat16 without tensor cores");
  }
  if (x->c != w->c * how->groups || w->n % how->groups != 0 || y->c != w->n || y->n != x->n) {
    return dnn_wrong(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "channels, groups or batches that do not fit");
  }
  if (all->extent(0) > x->h + 2 * how->pad[0] || all->extent(1) > x->w + 2 * how->pad[1] || y->h != all->result(0) || y->w != all->result(1)) {
    return dnn_wrong(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH, "a result of " + std::to_string(y->h) + " x " + std::to_string(y->w) + " where there are " +
                                                                std::to_string(all->result(0)) + " x " + std::to_string(all->result(1)));
  }
  // Padding beyond the filter: results that read nothing at all.
  return how->pad[0] >= all->extent(0) || how->pad[1] >= all->extent(1) ? CUDNN_STATUS_NOT_SUPPORTED_PADDING : CUDNN_STATUS_SUCCESS;
}

constexpr size_t kLarge = size_t{300} << 20;

size_t workspace_of(const Convolution& all, Role role) {
  switch (role) {
    case Role::Large: return kLarge;
    case Role::Good: return 4096 + static_cast<size_t>(std::min<int64_t>(all.w.elements() * 4, 1 << 20)) / 16 * 16 + 16;
    default: return 0;
  }
}

// The role of an algorithm's number; Refused where it has none.
Role role_of(Direction direction, int algorithm) {
  for (const Role role : kRoles) {
    if (algorithm_of(direction, role) == algorithm) return role;
  }
  return Role::Refused;
}

template <class Perf>
cudnnStatus_t heuristic(cudnnHandle_t handle, const Convolution& all, cudnnStatus_t status, int requested, int* found, Perf* perfs) {
  if (status != CUDNN_STATUS_SUCCESS) return status;
  if (requested < 1 || found == nullptr || perfs == nullptr || handle->context != current_context()) {
    return dnn_wrong(CUDNN_STATUS_BAD_PARAM, "a heuristic's arguments, or another device's context");
  }
  *found = 0;
  for (const Role role : kRoles) {
    const int number = algorithm_of(all.direction, role);
    if (number < 0 || *found == requested) continue;
    Perf& perf = perfs[(*found)++];
    perf = {};
    perf.algo = static_cast<decltype(perf.algo)>(number);
    perf.status = role == Role::Refused ? CUDNN_STATUS_NOT_SUPPORTED : CUDNN_STATUS_SUCCESS;
    perf.time = -1;
    perf.memory = workspace_of(all, role);
    perf.determinism = role == Role::Varies ? CUDNN_NON_DETERMINISTIC : CUDNN_DETERMINISTIC;
    const bool tensor = all.how.math == CUDNN_TENSOR_OP_MATH || role == Role::Good;
    perf.mathType = all.how.math == CUDNN_FMA_MATH ? CUDNN_FMA_MATH : tensor ? CUDNN_TENSOR_OP_MATH : CUDNN_DEFAULT_MATH;
  }
  return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t workspace(const Convolution& all, cudnnStatus_t status, int algorithm, size_t* bytes) {
  if (status != CUDNN_STATUS_SUCCESS) return status;
  if (bytes == nullptr) return CUDNN_STATUS_BAD_PARAM_NULL_POINTER;
  const Role role = role_of(all.direction, algorithm);
  *bytes = workspace_of(all, role);
  return role == Role::Refused ? CUDNN_STATUS_NOT_SUPPORTED : CUDNN_STATUS_SUCCESS;
}

struct Job {
  Convolution all;
  CUdeviceptr x, w, y;
  float alpha, beta;
  const void* workspace;
  size_t workspace_bytes;
  CUcontext context;
};

std::vector<float> read_all(const Numbers& from, int64_t count) {
  std::vector<float> to(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) to[static_cast<size_t>(i)] = from.read(i);
  return to;
}

// Calls visit(where in x the pixel begins, where in a filter the tap begins) for every tap of one result that is not in the padding.
template <class Visit>
void for_each_tap(const Convolution& all, int64_t n, int64_t oh, int64_t ow, const Visit& visit) {
  for (int64_t kh = 0; kh < all.w.h; ++kh) {
    const int64_t h = oh * all.how.stride[0] - all.how.pad[0] + kh * all.how.dilation[0];
    if (h < 0 || h >= all.x.h) continue;
    for (int64_t kw = 0; kw < all.w.w; ++kw) {
      const int64_t w = ow * all.how.stride[1] - all.how.pad[1] + kw * all.how.dilation[1];
      if (w >= 0 && w < all.x.w) visit(((n * all.x.h + h) * all.x.w + w) * all.x.c, (kh * all.w.w + kw) * all.w.c);
    }
  }
}

// Calls visit(n, oh, ow, first channel of its group in x, its place in y, its filter's start) for every result.
template <class Visit>
void for_each_result(const Convolution& all, const Visit& visit) {
  const int64_t per_group = all.w.n / all.how.groups, filter = all.w.h * all.w.w * all.w.c;
  for (int64_t n = 0; n < all.y.n; ++n) {
    for (int64_t oh = 0; oh < all.y.h; ++oh) {
      for (int64_t ow = 0; ow < all.y.w; ++ow) {
        const int64_t y = ((n * all.y.h + oh) * all.y.w + ow) * all.y.c;
        for (int64_t o = 0; o < all.w.n; ++o) visit(n, oh, ow, o / per_group * all.w.c, y + o, o * filter);
      }
    }
  }
}

void write_all(const Numbers& to, const std::vector<double>& sums, float alpha, float beta) {
  Numbers before = to;
  before.round = false;
  for (size_t i = 0; i < sums.size(); ++i) {
    const int64_t at = static_cast<int64_t>(i);
    to.write(at, alpha * sums[i] + (beta == 0 ? 0.0 : static_cast<double>(beta) * before.read(at)));
  }
}

void run_job(const Job& job) {
  const Convolution& all = job.all;
  const Memory& memory = *job.context->memory;
  const bool round = !all.x.half && all.how.math != CUDNN_FMA_MATH && rounds_tf32();
  const Numbers x{use(memory, job.x, all.x.bytes(), "a convolution's image"), all.x.half, round};
  const Numbers w{use(memory, job.w, all.w.bytes(), "a convolution's filter"), all.w.half, round};
  const Numbers y{use(memory, job.y, all.y.bytes(), "a convolution's result"), all.y.half, round};
  spoil(memory, job.workspace, job.workspace_bytes, "a convolution");
  const size_t channels = static_cast<size_t>(all.w.c);
  const auto at = [](int64_t i) { return static_cast<size_t>(i); };
  if (all.direction == Direction::Forward) {
    const std::vector<float> xs = read_all(x, all.x.elements()), ws = read_all(w, all.w.elements());
    std::vector<double> sums(at(all.y.elements()), 0.0);
    for_each_result(all, [&](int64_t n, int64_t oh, int64_t ow, int64_t first, int64_t to, int64_t filter) {
      for_each_tap(all, n, oh, ow, [&](int64_t from, int64_t tap) { sums[at(to)] += dot(&xs[at(from + first)], &ws[at(filter + tap)], all.w.c); });
    });
    write_all(y, sums, job.alpha, job.beta);
  } else {
    const bool image = all.direction == Direction::InputGrad;
    const std::vector<float> ys = read_all(y, all.y.elements()), others = image ? read_all(w, all.w.elements()) : read_all(x, all.x.elements());
    std::vector<double> sums(at(image ? all.x.elements() : all.w.elements()), 0.0);
    for_each_result(all, [&](int64_t n, int64_t oh, int64_t ow, int64_t first, int64_t from, int64_t filter) {
      const double gradient = ys[at(from)];
      for_each_tap(all, n, oh, ow, [&](int64_t pixel, int64_t tap) {
        double* to = &sums[at(image ? pixel + first : filter + tap)];
        const float* other = &others[at(image ? filter + tap : pixel + first)];
        for (size_t c = 0; c < channels; ++c) to[c] += gradient * other[c];
      });
    });
    write_all(image ? x : w, sums, job.alpha, job.beta);
  }
}

cudnnStatus_t run(cudnnHandle_t handle, const Convolution& all, cudnnStatus_t status, int algorithm, Job job, size_t given) {
  if (status != CUDNN_STATUS_SUCCESS) return status;
  if (setting("LANGEVIN_SIMULATOR_REFUSE_CONVOLUTIONS", "0") == "1") return CUDNN_STATUS_NOT_SUPPORTED_SHAPE;
  const Role role = role_of(all.direction, algorithm);
  if (role != Role::Good && role != Role::Plain) {
    return dnn_wrong(CUDNN_STATUS_EXECUTION_FAILED, "an algorithm that varies from run to run, is not supported, or wants more than 256 MiB");
  }
  const size_t wanted = workspace_of(all, role);
  if (wanted > 0 && (job.workspace == nullptr || given < wanted)) {
    return dnn_wrong(CUDNN_STATUS_BAD_PARAM_SIZE_INSUFFICIENT,
                     "a workspace of " + std::to_string(given) + " bytes; the algorithm wants " + std::to_string(wanted));
  }
  for (const CUdeviceptr pointer : {job.x, job.w, job.y, reinterpret_cast<CUdeviceptr>(job.workspace)}) {
    if (pointer % 16 != 0) return dnn_wrong(CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER, "a pointer that is not 16-byte aligned");
  }
  const Entry entry("a convolution");
  CUstream stream = handle->stream;
  if (entry.ready(&stream) != CUDA_SUCCESS) return CUDNN_STATUS_EXECUTION_FAILED;
  job.all = all;
  job.workspace_bytes = wanted;
  job.context = stream->context;
  ++counts().library_calls;
  return enqueue(stream, {"a convolution", [job] { run_job(job); }}) == CUDA_SUCCESS ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_EXECUTION_FAILED;
}

Job job_of(const void* x, const void* w, const void* y, const void* alpha, const void* beta, const void* workspace) {
  Job job{};
  job.x = reinterpret_cast<CUdeviceptr>(x);
  job.w = reinterpret_cast<CUdeviceptr>(w);
  job.y = reinterpret_cast<CUdeviceptr>(y);
  job.alpha = *static_cast<const float*>(alpha);
  job.beta = *static_cast<const float*>(beta);
  job.workspace = workspace;
  return job;
}

using Held = std::lock_guard<std::recursive_mutex>;

}  // namespace

}  // namespace langevin::simulator

using namespace langevin::simulator;

extern "C" {

cudnnStatus_t cudnnGetConvolutionForwardAlgorithm_v7(cudnnHandle_t handle, const cudnnTensorDescriptor_t x, const cudnnFilterDescriptor_t w,
                                                     const cudnnConvolutionDescriptor_t how, const cudnnTensorDescriptor_t y, const int requested, int* found,
                                                     cudnnConvolutionFwdAlgoPerf_t* perfs) {
  const Held held(lock());
  Convolution all{};
  const cudnnStatus_t status = combine(handle, Direction::Forward, x, w, how, y, &all);
  return heuristic(handle, all, status, requested, found, perfs);
}

cudnnStatus_t cudnnGetConvolutionBackwardDataAlgorithm_v7(cudnnHandle_t handle, const cudnnFilterDescriptor_t w, const cudnnTensorDescriptor_t y,
                                                          const cudnnConvolutionDescriptor_t how, const cudnnTensorDescriptor_t x, const int requested,
                                                          int* found, cudnnConvolutionBwdDataAlgoPerf_t* perfs) {
  const Held held(lock());
  Convolution all{};
  const cudnnStatus_t status = combine(handle, Direction::InputGrad, x, w, how, y, &all);
  return heuristic(handle, all, status, requested, found, perfs);
}

cudnnStatus_t cudnnGetConvolutionBackwardFilterAlgorithm_v7(cudnnHandle_t handle, const cudnnTensorDescriptor_t x, const cudnnTensorDescriptor_t y,
                                                            const cudnnConvolutionDescriptor_t how, const cudnnFilterDescriptor_t w, const int requested,
                                                            int* found, cudnnConvolutionBwdFilterAlgoPerf_t* perfs) {
  const Held held(lock());
  Convolution all{};
  const cudnnStatus_t status = combine(handle, Direction::WeightGrad, x, w, how, y, &all);
  return heuristic(handle, all, status, requested, found, perfs);
}

cudnnStatus_t cudnnGetConvolutionForwardWorkspaceSize(cudnnHandle_t handle, const cudnnTensorDescriptor_t x, const cudnnFilterDescriptor_t w,
                                                      const cudnnConvolutionDescriptor_t how, const cudnnTensorDescriptor_t y,
                                                      cudnnConvolutionFwdAlgo_t algorithm, size_t* bytes) {
  const Held held(lock());
  Convolution all{};
  const cudnnStatus_t status = combine(handle, Direction::Forward, x, w, how, y, &all);
  return workspace(all, status, algorithm, bytes);
}

cudnnStatus_t cudnnGetConvolutionBackwardDataWorkspaceSize(cudnnHandle_t handle, const cudnnFilterDescriptor_t w, const cudnnTensorDescriptor_t y,
                                                           const cudnnConvolutionDescriptor_t how, const cudnnTensorDescriptor_t x,
                                                           cudnnConvolutionBwdDataAlgo_t algorithm, size_t* bytes) {
  const Held held(lock());
  Convolution all{};
  const cudnnStatus_t status = combine(handle, Direction::InputGrad, x, w, how, y, &all);
  return workspace(all, status, algorithm, bytes);
}

cudnnStatus_t cudnnGetConvolutionBackwardFilterWorkspaceSize(cudnnHandle_t handle, const cudnnTensorDescriptor_t x, const cudnnTensorDescriptor_t y,
                                                             const cudnnConvolutionDescriptor_t how, const cudnnFilterDescriptor_t w,
                                                             cudnnConvolutionBwdFilterAlgo_t algorithm, size_t* bytes) {
  const Held held(lock());
  Convolution all{};
  const cudnnStatus_t status = combine(handle, Direction::WeightGrad, x, w, how, y, &all);
  return workspace(all, status, algorithm, bytes);
}

cudnnStatus_t cudnnConvolutionForward(cudnnHandle_t handle, const void* alpha, const cudnnTensorDescriptor_t x_is, const void* x,
                                      const cudnnFilterDescriptor_t w_is, const void* w, const cudnnConvolutionDescriptor_t how,
                                      cudnnConvolutionFwdAlgo_t algorithm, void* space, size_t bytes,
                                      const void* beta, const cudnnTensorDescriptor_t y_is, void* y) {
  const Held held(lock());
  Convolution all{};
  const cudnnStatus_t status = combine(handle, Direction::Forward, x_is, w_is, how, y_is, &all);
  return run(handle, all, status, algorithm, job_of(x, w, y, alpha, beta, space), bytes);
}

cudnnStatus_t cudnnConvolutionBackwardData(cudnnHandle_t handle, const void* alpha, const cudnnFilterDescriptor_t w_is, const void* w,
                                           const cudnnTensorDescriptor_t y_is, const void* y, const cudnnConvolutionDescriptor_t how,
                                           cudnnConvolutionBwdDataAlgo_t algorithm, void* space, size_t bytes, const void* beta,
                                           const cudnnTensorDescriptor_t x_is, void* x) {
  const Held held(lock());
  Convolution all{};
  const cudnnStatus_t status = combine(handle, Direction::InputGrad, x_is, w_is, how, y_is, &all);
  return run(handle, all, status, algorithm, job_of(x, w, y, alpha, beta, space), bytes);
}

cudnnStatus_t cudnnConvolutionBackwardFilter(cudnnHandle_t handle, const void* alpha, const cudnnTensorDescriptor_t x_is, const void* x,
                                             const cudnnTensorDescriptor_t y_is, const void* y, const cudnnConvolutionDescriptor_t how,
                                             cudnnConvolutionBwdFilterAlgo_t algorithm, void* space, size_t bytes, const void* beta,
                                             const cudnnFilterDescriptor_t w_is, void* w) {
  const Held held(lock());
  Convolution all{};
  const cudnnStatus_t status = combine(handle, Direction::WeightGrad, x_is, w_is, how, y_is, &all);
  return run(handle, all, status, algorithm, job_of(x, w, y, alpha, beta, space), bytes);
}

}  // extern "C"
