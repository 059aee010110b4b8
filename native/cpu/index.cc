// Kernels that read and write by index: gather, scatter_add, scatter_rows, argmax. Indices are clamped, so no value of theirs reads
// or writes elsewhere. Every result is independent of the number of threads.
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/index_simd.h"
#include "ops/check.h"
#include "ops/geometry.h"

namespace langevin {

namespace {

constexpr size_t kSerialBytes = 1 << 18;  // moved before a parallel region pays

int64_t clamped(int32_t index, int64_t length) { return std::min<int64_t>(length - 1, std::max<int64_t>(0, index)); }

class GatherKernel : public Kernel {
 public:
  explicit GatherKernel(const Instruction& in)
      : axis_(axis_view(in)), count_(in.inputs[1].size()), row_(static_cast<size_t>(axis_.inner) * bytes_of(in.inputs[0].dtype)) {
    const size_t moved = row_ * static_cast<size_t>(axis_.outer * count_);
    threads_ = moved < kSerialBytes ? 1 : omp_get_max_threads();
  }

  void run(const KernelArgs& args) override {
    const char* x = static_cast<const char*>(args.inputs[0]);
    const int32_t* indices = static_cast<const int32_t*>(args.inputs[1]);
    char* out = static_cast<char*>(args.outputs[0]);
    const int64_t rows = axis_.outer * count_;
#pragma omp parallel for num_threads(threads_) schedule(static) if (threads_ > 1)
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t from = i / count_ * axis_.length + clamped(indices[i % count_], axis_.length);
      std::memcpy(out + static_cast<size_t>(i) * row_, x + static_cast<size_t>(from) * row_, row_);
    }
  }

 private:
  AxisView axis_;
  int64_t count_;
  size_t row_;
  int threads_;
};

// Threads take columns (or outer slices), each all indices in order: sums are always taken in the same order.
class ScatterAddKernel : public Kernel {
 public:
  explicit ScatterAddKernel(const Instruction& in)
      : axis_(axis_view(in)), count_(in.inputs[1].size()), bytes_(in.inputs[0].bytes()), whole_(in.inputs[0].dtype == DType::I32) {
    const size_t moved = static_cast<size_t>(axis_.outer * count_ * axis_.inner) * 4;
    const int most = moved < kSerialBytes ? 1 : omp_get_max_threads();
    by_outer_ = axis_.outer >= most;
    parts_ = by_outer_ ? most : static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(most, axis_.inner / 64)));
  }

  void run(const KernelArgs& args) override {
    if (args.outputs[0] != args.inputs[0]) std::memcpy(args.outputs[0], args.inputs[0], bytes_);
#pragma omp parallel for num_threads(parts_) schedule(static, 1) if (parts_ > 1)
    for (int p = 0; p < parts_; ++p) {
      const int64_t size = by_outer_ ? axis_.outer : axis_.inner;
      const int64_t first = size * p / parts_, end = size * (p + 1) / parts_;
      if (by_outer_) add(args, first, end, 0, axis_.inner);
      else add(args, 0, axis_.outer, first, end);
    }
  }

 private:
  void add(const KernelArgs& args, int64_t outer_first, int64_t outer_end, int64_t column, int64_t column_end) const {
    const int32_t* indices = static_cast<const int32_t*>(args.inputs[1]);
    const int64_t n = column_end - column;
    for (int64_t o = outer_first; o < outer_end; ++o) {
      for (int64_t i = 0; i < count_; ++i) {
        const int64_t to = (o * axis_.length + clamped(indices[i], axis_.length)) * axis_.inner + column;
        const int64_t from = (o * count_ + i) * axis_.inner + column;
        const float* x = static_cast<const float*>(args.inputs[2]) + from;
        float* out = static_cast<float*>(args.outputs[0]) + to;
        if (whole_) add_ints(static_cast<const uint32_t*>(args.inputs[2]) + from, n, static_cast<uint32_t*>(args.outputs[0]) + to);
        else if (n >= 8) add_into(x, static_cast<size_t>(n), out);
        else add_few(x, n, out);
      }
    }
  }
  static void add_ints(const uint32_t* x, int64_t n, uint32_t* out) {
    for (int64_t i = 0; i < n; ++i) out[i] += x[i];
  }
  static void add_few(const float* x, int64_t n, float* out) {
    for (int64_t i = 0; i < n; ++i) out[i] += x[i];
  }

  AxisView axis_;
  int64_t count_;
  size_t bytes_;
  bool whole_, by_outer_;
  int parts_;
};

// In place only the rows named are written. Threads take columns, each all rows in order, so that the last of equals wins.
class ScatterRowsKernel : public Kernel {
 public:
  explicit ScatterRowsKernel(const Instruction& in)
      : axis_(in.inputs[0].shape, 0), count_(in.inputs[1].size()), bytes_(in.inputs[0].bytes()) {
    row_ = static_cast<size_t>(axis_.inner) * bytes_of(in.inputs[0].dtype);
    const size_t moved = row_ * static_cast<size_t>(count_);
    parts_ = moved < 4 * kSerialBytes || row_ < 4096 ? 1 : omp_get_max_threads();
  }

  void run(const KernelArgs& args) override {
    if (args.outputs[0] != args.inputs[0]) std::memcpy(args.outputs[0], args.inputs[0], bytes_);
    const int32_t* indices = static_cast<const int32_t*>(args.inputs[1]);
    const char* rows = static_cast<const char*>(args.inputs[2]);
    char* out = static_cast<char*>(args.outputs[0]);
#pragma omp parallel for num_threads(parts_) schedule(static, 1) if (parts_ > 1)
    for (int p = 0; p < parts_; ++p) {
      const size_t first = row_ * static_cast<size_t>(p) / static_cast<size_t>(parts_);
      const size_t end = row_ * static_cast<size_t>(p + 1) / static_cast<size_t>(parts_);
      for (int64_t i = 0; i < count_; ++i) {
        const size_t to = static_cast<size_t>(clamped(indices[i], axis_.length)) * row_;
        std::memcpy(out + to + first, rows + static_cast<size_t>(i) * row_ + first, end - first);
      }
    }
  }

 private:
  AxisView axis_;
  int64_t count_;
  size_t bytes_, row_;
  int parts_;
};

class ArgmaxKernel : public Kernel {
 public:
  explicit ArgmaxKernel(const Instruction& in) : axis_(axis_view(in)), whole_(in.inputs[0].dtype == DType::I32) {
    threads_ = in.inputs[0].bytes() < kSerialBytes ? 1 : omp_get_max_threads();
  }
  void run(const KernelArgs& args) override {
    if (whole_) find(static_cast<const int32_t*>(args.inputs[0]), static_cast<int32_t*>(args.outputs[0]));
    else find(static_cast<const float*>(args.inputs[0]), static_cast<int32_t*>(args.outputs[0]));
  }

 private:
  template <class T>
  void find(const T* x, int32_t* out) const {
    const int64_t results = axis_.outer * axis_.inner;
#pragma omp parallel for num_threads(threads_) schedule(static) if (threads_ > 1)
    for (int64_t e = 0; e < results; ++e) {
      const T* column = x + e / axis_.inner * axis_.length * axis_.inner + e % axis_.inner;
      int64_t best = 0;
      T value = column[0];
      for (int64_t k = 1; k < axis_.length && value == value; ++k) {  // the first NaN ends the search
        const T next = column[k * axis_.inner];
        if (next > value || next != next) {
          value = next;
          best = k;
        }
      }
      out[e] = static_cast<int32_t>(best);
    }
  }

  AxisView axis_;
  bool whole_;
  int threads_;
};

}  // namespace

std::unique_ptr<Kernel> make_gather(const Instruction& in) { return std::make_unique<GatherKernel>(in); }
std::unique_ptr<Kernel> make_scatter_add(const Instruction& in) { return std::make_unique<ScatterAddKernel>(in); }
std::unique_ptr<Kernel> make_scatter_rows(const Instruction& in) { return std::make_unique<ScatterRowsKernel>(in); }
std::unique_ptr<Kernel> make_argmax(const Instruction& in) { return std::make_unique<ArgmaxKernel>(in); }

}  // namespace langevin
