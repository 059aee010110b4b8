// matmul. Single products go to oneDNN's sgemm: on two Zen 4 cores it was within 10% of the matmul primitive from 128 x 128 up (210
// GFLOP/s) and several times faster for vectors and for little work ([256,2]x[2,128]: 2.7 us against 12), whose cost is the call. Batches
// go to the primitive, which shares all of them out among the threads.
//
// sgemm vectorises along the columns of C, so few columns leave it idle: then the transposed product C' = B' A' is computed in the workspace
// and turned ([256,128]x[128,2]: 2.5 us against 14, [10000,128]x[128,2]: 118 against 568, one thread).
//
// Rows are shared out among the threads here and not by sgemm, in the order in which loops share out elements: so a thread finds the rows
// it wrote in its own cache. Alone, [256,128]x[128,128] took 42 us instead of 55 on two threads; a chain of layers gains more.
#include <omp.h>

#include <algorithm>
#include <cstring>
#include <exception>

#include "cpu/dnnl.h"
#include "cpu/matmul_bf16.h"
#include "cpu/strided_copy.h"
#include "ops/geometry.h"
#include "ops/registry.h"

namespace langevin {

namespace {

constexpr int64_t kSerialElements = 16384;  // of the larger of A and C: below, a parallel region costs more than it gives
constexpr int64_t kLeastRows = 16;          // of a part

// How many parts the rows of C are divided into; 1 leaves the division to sgemm.
int row_parts(const MatmulGeometry& g) {
  const int threads = std::max(1, omp_get_max_threads());
  if (threads == 1 || g.transpose_a || g.m < kLeastRows * threads) return 1;
  return std::max(g.k, g.n) >= (kSerialElements + g.m - 1) / g.m ? threads : 1;
}

// Calls f(first row, end) for each part on a thread of its own, and throws what one of them threw.
template <class F>
void for_parts(int64_t rows, int parts, const F& f) {
  std::exception_ptr error;
#pragma omp parallel num_threads(parts)
  for (int part = omp_get_thread_num(); part < parts; part += omp_get_num_threads()) {
    try {
      f(part, rows * part / parts, rows * (part + 1) / parts);
    } catch (...) {
#pragma omp critical(langevin_matmul)
      error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
}

// The rows of C (and A) by which one product is divided; B is read whole.
RowSplit split_rows(const MatmulGeometry& g) {
  const int threads = std::max(1, omp_get_max_threads());
  if (g.transpose_a || g.m < kLeastRows * threads) return {};
  return {g.m, threads, {true, false}};
}

class ZeroKernel : public Kernel {
 public:
  explicit ZeroKernel(size_t bytes) : bytes_(bytes) {}
  void run(const KernelArgs& args) override {
    if (bytes_ > 0) std::memset(args.outputs[0], 0, bytes_);
  }

 private:
  size_t bytes_;
};

// One product, or several in a loop.
class GemmKernel : public Kernel {
 public:
  GemmKernel(const MatmulGeometry& g, const std::vector<BatchAxis>& axes) : g_(g), axes_(axes) {
    for (const BatchAxis& axis : axes_) count_ *= axis.size;
    if (count_ == 1) parts_ = row_parts(g);
  }

  void run(const KernelArgs& args) override {
    const float *a = static_cast<const float*>(args.inputs[0]), *b = static_cast<const float*>(args.inputs[1]);
    float* c = static_cast<float*>(args.outputs[0]);
    if (parts_ == 1) {
      for (int64_t i = 0; i < count_; ++i) product(i, a, b, c);
    } else {
      for_parts(g_.m, parts_, [&](int, int64_t first, int64_t end) { rows(first, end, a, b, c); });
    }
  }

  RowSplit row_split() const override { return count_ == 1 ? split_rows(g_) : RowSplit(); }
  void run_rows(const KernelArgs& args, int part) override {
    const RowSplit split = split_rows(g_);
    rows(split.rows * part / split.parts, split.rows * (part + 1) / split.parts, static_cast<const float*>(args.inputs[0]),
         static_cast<const float*>(args.inputs[1]), static_cast<float*>(args.outputs[0]));
  }

 private:
  void rows(int64_t first, int64_t end, const float* a, const float* b, float* c) const {
    dnnl_gemm(false, g_.transpose_b, end - first, g_.n, g_.k, a + first * g_.k, g_.k, b, g_.transpose_b ? g_.k : g_.n, c + first * g_.n, g_.n);
  }

  void product(int64_t i, const float* a, const float* b, float* c) const {
    int64_t rest = i, ia = 0, ib = 0;
    for (size_t axis = axes_.size(); axis-- > 0;) {
      const int64_t at = rest % axes_[axis].size;
      rest /= axes_[axis].size;
      ia += at * axes_[axis].a;
      ib += at * axes_[axis].b;
    }
    const int64_t lda = g_.transpose_a ? g_.m : g_.k, ldb = g_.transpose_b ? g_.k : g_.n;
    dnnl_gemm(g_.transpose_a, g_.transpose_b, g_.m, g_.n, g_.k, a + ia * g_.m * g_.k, lda, b + ib * g_.k * g_.n, ldb, c + i * g_.m * g_.n, g_.n);
  }

  MatmulGeometry g_;
  std::vector<BatchAxis> axes_;
  int64_t count_ = 1;
  int parts_ = 1;
};

// A product with few columns, as its transpose. B is turned first unless it already lies transposed: sgemm is slow where both must be.
class NarrowKernel : public Kernel {
 public:
  explicit NarrowKernel(const MatmulGeometry& g)
      : g_(g), turn_b_(!g.transpose_a && !g.transpose_b), turn_({g.k, g.n}, {g.n, 1}, {1, g.k}, sizeof(float)), parts_(row_parts(g)),
        split_(split_rows(g)) {
    split_.workspace = static_cast<size_t>(((g.m + split_.parts - 1) / split_.parts + (turn_b_ ? g.k : 0)) * g.n) * sizeof(float);
    back_ = ways_back(parts_);
    back_rows_ = ways_back(split_.parts);
  }

  static bool suits(const MatmulGeometry& g) { return g.n >= 2 && g.n <= 10 && g.m >= 16; }

  size_t workspace() const override { return static_cast<size_t>(g_.m * g_.n + (turn_b_ ? g_.k * g_.n : 0)) * sizeof(float); }

  RowSplit row_split() const override { return split_; }
  void run_rows(const KernelArgs& args, int part) override {
    const float *a = static_cast<const float*>(args.inputs[0]), *b = static_cast<const float*>(args.inputs[1]);
    const int64_t first = g_.m * part / split_.parts, end = g_.m * (part + 1) / split_.parts;
    float *turned_c = static_cast<float*>(args.workspace), *turned_b = turned_c + (end - first) * g_.n;
    if (turn_b_) {  // each part for itself: B is small
      turn_.run(b, turned_b);
      b = turned_b;
    }
    const size_t p = static_cast<size_t>(part);
    product(back_rows_[p], first, end, a, b, turned_c, static_cast<float*>(args.outputs[0]));
  }

  void run(const KernelArgs& args) override {
    const float *a = static_cast<const float*>(args.inputs[0]), *b = static_cast<const float*>(args.inputs[1]);
    float *turned_c = static_cast<float*>(args.workspace), *turned_b = turned_c + g_.m * g_.n;
    if (turn_b_) {
      turn_.run(b, turned_b);
      b = turned_b;
    }
    const auto part = [&](int p, int64_t first, int64_t end) {
      product(back_[static_cast<size_t>(p)], first, end, a, b, turned_c + first * g_.n, static_cast<float*>(args.outputs[0]));
    };
    if (parts_ == 1) part(0, 0, g_.m);
    else for_parts(g_.m, parts_, part);
  }

 private:
  // From the transpose of each part's rows to rows.
  std::vector<StridedCopy> ways_back(int parts) const {
    std::vector<StridedCopy> ways;
    for (int p = 0; p < parts; ++p) {
      const int64_t rows = g_.m * (p + 1) / parts - g_.m * p / parts;
      ways.emplace_back(Shape{rows, g_.n}, Shape{1, rows}, Shape{g_.n, 1}, sizeof(float));
    }
    return ways;
  }

  // Rows first..end of C, by way of their transpose in `mine`.
  void product(const StridedCopy& back, int64_t first, int64_t end, const float* a, const float* b, float* mine, float* c) const {
    const bool b_is_transposed = g_.transpose_b || turn_b_;
    dnnl_gemm(!b_is_transposed, !g_.transpose_a, g_.n, end - first, g_.k, b, b_is_transposed ? g_.k : g_.n, a + first * (g_.transpose_a ? 1 : g_.k),
              g_.transpose_a ? g_.m : g_.k, mine, end - first);
    back.run(mine, c + first * g_.n);
  }

  MatmulGeometry g_;
  bool turn_b_;
  StridedCopy turn_;
  int parts_;
  RowSplit split_;
  std::vector<StridedCopy> back_, back_rows_;
};

// Batched products through the primitive.
class BatchedKernel : public Kernel {
 public:
  explicit BatchedKernel(DnnlOp op) : op_(std::move(op)) {}
  size_t workspace() const override { return op_.scratchpad(); }
  void run(const KernelArgs& args) override {
    op_.bind(DnnlRole::Scratchpad, args.workspace);
    op_.bind(DnnlRole::Source, args.inputs[0]);
    op_.bind(DnnlRole::Weights, args.inputs[1]);
    op_.bind(DnnlRole::Destination, args.outputs[0]);
    op_.run();
  }

 private:
  DnnlOp op_;
};

DnnlOp batched_product(const MatmulGeometry& g, const BatchAxis& axis) {
  const auto operand = [&](int64_t step, int64_t rows, int64_t columns, bool transposed) {
    const int64_t matrices = step == 0 ? 1 : axis.size;
    return dnnl_strided({matrices, rows, columns}, {rows * columns, transposed ? 1 : columns, transposed ? rows : 1});
  };
  return DnnlOp::matmul(operand(axis.a, g.m, g.k, g.transpose_a), operand(axis.b, g.k, g.n, g.transpose_b),
                        dnnl_strided({axis.size, g.m, g.n}, {g.m * g.n, g.n, 1}));
}

}  // namespace

// A large result is stored as bfloat16 where its readers take that; a small one (scores, logits) stays float32, and so does a sum over the
// rows of both operands (a weight gradient).
constexpr int64_t kHalfResult = 1 << 17;  // elements

HalfUse matmul_half_use(const Instruction& in, int) { return bf16_product(in) ? HalfUse::Wanted : HalfUse::No; }

void layout_matmul(Instruction& in) {
  const bool bf16 = in.bfloat16 && bf16_product(in);
  for (TensorDesc& t : in.inputs) t.layout = bf16 && t.layout == Layout::PlainHalf ? Layout::PlainHalf : Layout::Plain;
  const bool half = bf16 && in.half_outputs[0] != HalfUse::No && in.outputs[0].size() >= kHalfResult && !matmul_geometry(in).transpose_a;
  in.outputs[0].layout = half ? Layout::PlainHalf : Layout::Plain;
}
bool in_place_matmul(const Instruction&, int, int) { return false; }

std::unique_ptr<Kernel> make_matmul(const Instruction& in) {
  if (in.bfloat16 && bf16_product(in)) return make_bf16_matmul(in);
  MatmulGeometry g = matmul_geometry(in);
  const size_t bytes = in.outputs[0].bytes();
  if (bytes == 0 || g.k == 0) return std::make_unique<ZeroKernel>(bytes);
  std::vector<BatchAxis> axes = batch_axes(g);
  if (axes.size() == 1 && axes[0].a == 1 && axes[0].b == 0 && !g.transpose_a) {  // one tall product
    g.m *= axes[0].size;
    axes.clear();
  }
  if (axes.size() == 1) {
    DnnlOp op = batched_product(g, axes[0]);
    if (op && op.fast()) return std::make_unique<BatchedKernel>(std::move(op));
  }
  if (axes.empty() && NarrowKernel::suits(g)) return std::make_unique<NarrowKernel>(g);
  return std::make_unique<GemmKernel>(g, axes);
}

}  // namespace langevin
