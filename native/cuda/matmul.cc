// matmul on CUDA: cuBLASLt, or kernels of our own (kernels/matmul.cu) for what is too small or too thin for it and for what it refuses. Nothing is
// timed: the algorithm is the first that cuBLASLt's heuristic names when the kernel is made, so runs repeat bit for bit. The sums of a split product are
// kept in float32 and added in order.
//
// cuBLASLt's matrices are column-major. A row-major matrix is the column-major transpose of itself, so C = A B is asked for as C' = B' A'.
#include <algorithm>

#include "cuda/half_use.h"
#include "cuda/handles.h"
#include "cuda/kernels/args_matmul.h"
#include "cuda/launch.h"
#include "cuda/ops.h"
#include "ops/geometry.h"

namespace langevin {

namespace {

// The geometry with its batch merged; a batch of A against one B is one tall product.
struct Product {
  explicit Product(const Instruction& in) : g(matmul_geometry(in)), axes(batch_axes(g)) {
    if (axes.size() == 1 && axes[0].a == 1 && axes[0].b == 0 && !g.transpose_a) {
      g.m *= axes[0].size;
      axes.clear();
    }
    for (const BatchAxis& axis : axes) batch *= axis.size;
  }
  MatmulGeometry g;
  std::vector<BatchAxis> axes;
  int64_t batch = 1;
};

// As on the CPU: products that are worth converting their operands for.
constexpr int64_t kHalfWork = 1 << 16;    // multiplications
constexpr int64_t kHalfResult = 1 << 17;  // elements from which a result is stored as bfloat16 if its readers only may read that

bool half_product(const Instruction& in) {
  const Product p(in);
  return p.axes.empty() && p.g.m >= 8 && p.g.n >= 16 && p.g.k >= 16 && p.g.m * p.g.n * p.g.k >= kHalfWork;
}

class ZeroKernel : public Kernel {
 public:
  ZeroKernel(CudaDevice& device, size_t bytes) : device_(device), bytes_(bytes) {}
  void run(const KernelArgs& args) override {
    if (bytes_ == 0) return;
    check_cuda(driver().cuMemsetD8Async_(reinterpret_cast<CUdeviceptr>(args.outputs[0]), 0, bytes_, device_.stream()), "clearing a product");
  }

 private:
  CudaDevice& device_;
  size_t bytes_;
};

// The kernels of kernels/matmul.cu: any geometry, any mix of precisions.
class OwnKernel : public Kernel {
 public:
  OwnKernel(const Instruction& in, const Product& p, CudaDevice& device) : device_(device) {
    const MatmulGeometry& g = p.g;
    args_.m = g.m, args_.n = g.n, args_.k = g.k;
    args_.a_row = g.transpose_a ? 1 : g.k, args_.a_inner = g.transpose_a ? g.m : 1;
    args_.b_inner = g.transpose_b ? 1 : g.n, args_.b_column = g.transpose_b ? g.k : 1;
    args_.count = p.batch * g.m * g.n;
    args_.axes = static_cast<int32_t>(p.axes.size());
    for (size_t i = 0; i < p.axes.size(); ++i) {
      args_.size[i] = p.axes[i].size, args_.a_step[i] = p.axes[i].a * g.m * g.k, args_.b_step[i] = p.axes[i].b * g.k * g.n;
    }
    args_.a_half = is_half(in.inputs[0].layout), args_.b_half = is_half(in.inputs[1].layout), args_.result_half = is_half(in.outputs[0].layout);
    half_ = args_.a_half != 0;
    share_out(g);
  }

  const char* kind() const override { return half_ ? "bf16" : ""; }

  void run(const KernelArgs& args) override {
    MatmulArgs mine = args_;
    mine.a = args.inputs[0], mine.b = args.inputs[1], mine.result = args.outputs[0];
    launch(device_, function_, {blocks_}, {kMatmulThreads}, shared_, mine);
  }

 private:
  static constexpr int64_t kShortSum = 16;    // one thread's
  static constexpr int64_t kLongSum = 1024;   // a whole block's, where there are not many
  static constexpr int64_t kManyResults = 2048;

  void share_out(const MatmulGeometry& g) {
    if (g.k <= kShortSum) {
      function_ = device_.kernel("langevin_matmul_elements");
      blocks_ = blocks_for(args_.count);
      return;
    }
    function_ = device_.kernel("langevin_matmul_lanes");
    shared_ = kMatmulThreads * sizeof(float);
    // Neighbouring threads read neighbouring numbers of the larger operand: along the sum or along its results.
    args_.along_sum = g.m >= g.n ? !g.transpose_a : g.transpose_b;
    args_.lanes = g.k >= kLongSum && args_.count < kManyResults ? kMatmulThreads : args_.along_sum ? 32 : 8;
    const int64_t results = kMatmulThreads / args_.lanes;
    blocks_ = static_cast<unsigned>(std::min<int64_t>((args_.count + results - 1) / results, int64_t{1} << 30));
  }

  CudaDevice& device_;
  MatmulArgs args_{};
  CUfunction function_ = nullptr;
  unsigned blocks_ = 1;
  size_t shared_ = 0;
  bool half_ = false;
};

// cuBLASLt, once or for each entry of the batch axes that one call cannot walk.
class CublasKernel : public Kernel {
 public:
  // Null where cuBLASLt has no algorithm.
  static std::unique_ptr<Kernel> make(const Instruction& in, const Product& p, CudaDevice& device) {
    std::unique_ptr<CublasKernel> kernel(new CublasKernel(in, p, device));
    return kernel->describe() && kernel->choose() ? std::move(kernel) : nullptr;
  }

  ~CublasKernel() override {
    const CublasLt& lt = cublas_lt();
    if (operation_ != nullptr) lt.cublasLtMatmulDescDestroy_(operation_);
    for (const cublasLtMatrixLayout_t layout : {a_.layout, b_.layout, c_.layout}) {
      if (layout != nullptr) lt.cublasLtMatrixLayoutDestroy_(layout);
    }
  }
  CublasKernel(const CublasKernel&) = delete;
  CublasKernel& operator=(const CublasKernel&) = delete;

  const char* kind() const override { return a_.half ? "bf16" : ""; }
  size_t workspace() const override { return workspace_ == 0 ? 0 : workspace_ + kAlignment; }

  void run(const KernelArgs& args) override {
    const uintptr_t start = reinterpret_cast<uintptr_t>(args.workspace);
    void* workspace = workspace_ == 0 ? nullptr : reinterpret_cast<void*>((start + kAlignment - 1) / kAlignment * kAlignment);
    for (int64_t i = 0; i < calls_; ++i) {
      int64_t rest = i, a = 0, b = 0, c = 0;
      for (size_t axis = looped_.size(); axis-- > 0;) {
        const int64_t at = rest % looped_[axis].size;
        rest /= looped_[axis].size;
        a += at * looped_[axis].a, b += at * looped_[axis].b, c += at * looped_[axis].c;
      }
      void* result = static_cast<char*>(args.outputs[0]) + c * c_.bytes();
      const float one = 1.0f, zero = 0.0f;
      check_cublas(cublas_lt().cublasLtMatmul_(cublas_handle(device_), operation_, &one, static_cast<const char*>(args.inputs[1]) + b * b_.bytes(), b_.layout,
                                               static_cast<const char*>(args.inputs[0]) + a * a_.bytes(), a_.layout, &zero, result, c_.layout, result,
                                               c_.layout, &algorithm_, workspace, workspace_, device_.stream()),
                   "a matrix product");
    }
  }

 private:
  static constexpr size_t kAlignment = 256;                      // of the workspace
  static constexpr size_t kMostWorkspace = size_t{32} << 20;     // what NVIDIA advises for Hopper; less would do for others
  static constexpr int64_t kBufferAlignment = 64;                // of all memory of a plan
  static constexpr int64_t kMostBatch = (int64_t{1} << 31) - 1;  // of one call

  struct Matrix {
    int64_t rows, columns;  // as they lie, row-major
    bool half;
    int64_t step;            // elements from one batch entry to the next, of one call
    int64_t alignment = kBufferAlignment;
    cublasLtMatrixLayout_t layout = nullptr;
    int64_t bytes() const { return half ? 2 : 4; }
  };
  struct LoopedAxis {
    int64_t size, a, b, c;  // in elements
  };

  CublasKernel(const Instruction& in, const Product& p, CudaDevice& device) : device_(device), g_(p.g) {
    const auto half = [](const TensorDesc& t) { return is_half(t.layout); };
    a_ = {g_.transpose_a ? g_.k : g_.m, g_.transpose_a ? g_.m : g_.k, half(in.inputs[0]), 0};
    b_ = {g_.transpose_b ? g_.n : g_.k, g_.transpose_b ? g_.k : g_.n, half(in.inputs[1]), 0};
    c_ = {g_.m, g_.n, half(in.outputs[0]), 0};
    walk(p.axes);
  }

  // One call walks the longest batch axis, the others are looped over.
  void walk(const std::vector<BatchAxis>& axes) {
    size_t longest = axes.size();
    for (size_t i = 0; i < axes.size(); ++i) {
      if (axes[i].size <= kMostBatch && (longest == axes.size() || axes[i].size > axes[longest].size)) longest = i;
    }
    int64_t run = g_.m * g_.n;
    for (size_t i = axes.size(); i-- > 0;) {
      const int64_t a = axes[i].a * g_.m * g_.k, b = axes[i].b * g_.k * g_.n;
      if (i == longest) {
        batch_ = static_cast<int32_t>(axes[i].size), a_.step = a, b_.step = b, c_.step = run;
      } else {
        looped_.insert(looped_.begin(), {axes[i].size, a, b, run});
        calls_ *= axes[i].size;
        keep_aligned(a_, a), keep_aligned(b_, b), keep_aligned(c_, run);
      }
      run *= axes[i].size;
    }
  }

  // Looping by that many elements leaves the matrix on so many bytes.
  static void keep_aligned(Matrix& matrix, int64_t step) {
    while (step * matrix.bytes() % matrix.alignment != 0) matrix.alignment /= 2;
  }

  bool describe() {
    const CublasLt& lt = cublas_lt();
    const bool tf32 = !a_.half && tf32_allowed(device_);
    check_cublas(lt.cublasLtMatmulDescCreate_(&operation_, tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F), "describing a product");
    const int32_t first = g_.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N, second = g_.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    check_cublas(lt.cublasLtMatmulDescSetAttribute_(operation_, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first), "describing a product");
    check_cublas(lt.cublasLtMatmulDescSetAttribute_(operation_, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second), "describing a product");
    for (Matrix* m : {&a_, &b_, &c_}) {
      const cudaDataType type = m->half ? CUDA_R_16BF : CUDA_R_32F;
      const cublasStatus_t status =
          lt.cublasLtMatrixLayoutCreate_(&m->layout, type, static_cast<uint64_t>(m->columns), static_cast<uint64_t>(m->rows), m->columns);
      if (status != CUBLAS_STATUS_SUCCESS) return false;
      if (batch_ == 1) continue;
      const auto set = lt.cublasLtMatrixLayoutSetAttribute_;
      check_cublas(set(m->layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch_, sizeof batch_), "describing a batch");
      check_cublas(set(m->layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &m->step, sizeof m->step), "describing a batch");
    }
    return true;
  }

  bool choose() {
    const CublasLt& lt = cublas_lt();
    cublasLtMatmulPreference_t preference = nullptr;
    check_cublas(lt.cublasLtMatmulPreferenceCreate_(&preference), "choosing a product's algorithm");
    using Destroy = cublasStatus_t (*)(cublasLtMatmulPreference_t);
    const std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, Destroy> owner(preference, lt.cublasLtMatmulPreferenceDestroy_);
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
      check_cublas(lt.cublasLtMatmulPreferenceSetAttribute_(preference, attribute, &value, sizeof value), "choosing a product's algorithm");
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{kMostWorkspace});
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<uint32_t>(b_.alignment));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<uint32_t>(a_.alignment));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<uint32_t>(c_.alignment));
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<uint32_t>(c_.alignment));
    cublasLtMatmulHeuristicResult_t found{};
    int count = 0;
    const cublasStatus_t status = lt.cublasLtMatmulAlgoGetHeuristic_(cublas_handle(device_), operation_, b_.layout, a_.layout, c_.layout, c_.layout, preference,
                                                                     1, &found, &count);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) return false;
    check_cublas(status, "choosing a product's algorithm");
    if (count < 1 || found.state != CUBLAS_STATUS_SUCCESS) return false;
    algorithm_ = found.algo;
    workspace_ = found.workspaceSize;
    return true;
  }

  CudaDevice& device_;
  MatmulGeometry g_;
  Matrix a_{}, b_{}, c_{};
  int32_t batch_ = 1;
  std::vector<LoopedAxis> looped_;
  int64_t calls_ = 1;
  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatmulAlgo_t algorithm_{};
  size_t workspace_ = 0;
};

// Little work, a vector, or (nearly) an outer product: our kernels read each number about as often as it takes, and start at once.
bool small(const Product& p) {
  constexpr int64_t kLittleWork = 1 << 16, kThin = 4;
  const double work = static_cast<double>(p.batch) * static_cast<double>(p.g.m) * static_cast<double>(p.g.n) * static_cast<double>(p.g.k);
  return work <= kLittleWork || std::min({p.g.m, p.g.n, p.g.k}) <= kThin;
}

}  // namespace

HalfUse cuda_matmul_half_use(const Instruction& in, int) { return half_product(in) ? HalfUse::Wanted : HalfUse::No; }

// With bfloat16 both operands come so: the runtime converts a parameter once a version, any other value once for all that read it. A result is bfloat16
// where its readers want it, or may read it and it is large; a sum over the rows of both operands (a weight gradient) never is.
void cuda_layout_matmul(Instruction& in) {
  const bool half = in.bfloat16 && half_product(in);
  for (TensorDesc& t : in.inputs) t.layout = half ? Layout::PlainHalf : Layout::Plain;
  const HalfUse readers = in.bfloat16 ? in.half_outputs[0] : HalfUse::No;
  const bool worth = readers == HalfUse::Wanted || (readers == HalfUse::May && in.outputs[0].size() >= kHalfResult);
  in.outputs[0].layout = half && worth && !matmul_geometry(in).transpose_a ? Layout::PlainHalf : Layout::Plain;
}

bool cuda_in_place_matmul(const Instruction&, int, int) { return false; }

std::unique_ptr<Kernel> cuda_make_matmul(const Instruction& in, CudaDevice& device) {
  const Product p(in);
  const size_t bytes = in.outputs[0].bytes();
  if (bytes == 0 || p.g.k == 0) return std::make_unique<ZeroKernel>(device, bytes);
  if (!small(p)) {
    std::unique_ptr<Kernel> kernel = CublasKernel::make(in, p, device);
    if (kernel) return kernel;
  }
  return std::make_unique<OwnKernel>(in, p, device);
}

}  // namespace langevin
