// Kernels of the data path: crop_flip, gaussian_rows, and copy.
#include <omp.h>

#include <algorithm>
#include <cstring>

#include "cpu/index_simd.h"
#include "ops/check.h"

namespace langevin {

namespace {

constexpr size_t kSerialBytes = 1 << 18;  // moved before a parallel region pays

class CopyKernel : public Kernel {
 public:
  explicit CopyKernel(const Instruction& in) : bytes_(in.inputs[0].bytes()) {
    parts_ = bytes_ < 8 * kSerialBytes ? 1 : omp_get_max_threads();
  }
  void run(const KernelArgs& args) override {
    const char* from = static_cast<const char*>(args.inputs[0]);
    char* to = static_cast<char*>(args.outputs[0]);
    if (to == from) return;
    const size_t share = (bytes_ / static_cast<size_t>(parts_) + 64) / 64 * 64;
#pragma omp parallel for num_threads(parts_) schedule(static, 1) if (parts_ > 1)
    for (int p = 0; p < parts_; ++p) {
      const size_t first = share * static_cast<size_t>(p);
      if (first < bytes_) std::memcpy(to + first, from + first, std::min(share, bytes_ - first));
    }
  }

 private:
  size_t bytes_;
  int parts_;
};

// Index i of an axis of n, mirrored at the borders without repeating the edge.
int64_t reflect(int64_t i, int64_t n) { return i < 0 ? -i : i >= n ? 2 * (n - 1) - i : i; }

class CropFlipKernel : public Kernel {
 public:
  explicit CropFlipKernel(const Instruction& in) : pad_(attr_int(in, "pad", 0, INT32_MAX)), bytes_(bytes_of(in.inputs[0].dtype)) {
    const Shape& s = in.inputs[0].shape;
    images_ = s[0], channels_ = s[1], height_ = s[2], width_ = s[3];
    threads_ = in.inputs[0].bytes() < kSerialBytes ? 1 : omp_get_max_threads();
    table_ = (static_cast<size_t>(width_) * 4 + 63) / 64 * 64;
  }
  size_t workspace() const override { return table_ * static_cast<size_t>(threads_); }

  void run(const KernelArgs& args) override {
    const int32_t* offsets = static_cast<const int32_t*>(args.inputs[1]);
    const uint8_t* flips = static_cast<const uint8_t*>(args.inputs[2]);
#pragma omp parallel num_threads(threads_) if (threads_ > 1)
    {
      char* own = static_cast<char*>(args.workspace) + table_ * static_cast<size_t>(omp_get_thread_num());
      int32_t* columns = reinterpret_cast<int32_t*>(own);
#pragma omp for schedule(static)
      for (int64_t i = 0; i < images_; ++i) {
        const int64_t dy = shift(offsets[2 * i]), dx = shift(offsets[2 * i + 1]);
        for (int64_t j = 0; j < width_; ++j) {
          columns[j] = static_cast<int32_t>(reflect((flips[i] != 0 ? width_ - 1 - j : j) + dx, width_));
        }
        if (bytes_ == 4) image<uint32_t>(args, i, dy, columns);
        else image<uint8_t>(args, i, dy, columns);
      }
    }
  }

 private:
  int64_t shift(int32_t offset) const { return std::min(2 * pad_, std::max<int64_t>(0, offset)) - pad_; }

  template <class T>
  void image(const KernelArgs& args, int64_t i, int64_t dy, const int32_t* columns) const {
    const int64_t plane = height_ * width_, first = i * channels_ * plane;
    const T* x = static_cast<const T*>(args.inputs[0]) + first;
    T* out = static_cast<T*>(args.outputs[0]) + first;
    for (int64_t c = 0; c < channels_; ++c, x += plane, out += plane) {
      for (int64_t y = 0; y < height_; ++y) {
        const T* from = x + reflect(y + dy, height_) * width_;
        T* to = out + y * width_;
        for (int64_t j = 0; j < width_; ++j) to[j] = from[columns[j]];
      }
    }
  }

  int64_t pad_, images_, channels_, height_, width_;
  size_t bytes_, table_;
  int threads_;
};

// Rows of one class are drawn together, four a pass over the class's factor, which is what costs: it is read from memory once for
// every thread's share of output dimensions.
class GaussianRowsKernel : public Kernel {
 public:
  explicit GaussianRowsKernel(const Instruction& in)
      : rows_(in.outputs[0].shape[0]), dims_(in.outputs[0].shape[1]), classes_(in.inputs[2].shape[0]), rank_(in.inputs[4].shape[1]) {
    threads_ = rows_ * dims_ * std::max<int64_t>(1, rank_) < (1 << 16) ? 1 : omp_get_max_threads();
  }
  size_t workspace() const override { return static_cast<size_t>(rows_ + classes_ + 1) * sizeof(int64_t); }

  void run(const KernelArgs& args) override {
    int64_t* order = static_cast<int64_t*>(args.workspace);
    int64_t* start = order + rows_;
    group(args, order, start);
    float* out = static_cast<float*>(args.outputs[0]);
    const uint8_t* mask = static_cast<const uint8_t*>(args.inputs[0]);
    for (int64_t i = 0; i < rows_; ++i) {
      if (mask[i] == 0) std::fill(out + i * dims_, out + (i + 1) * dims_, 0.0f);
    }
#pragma omp parallel for num_threads(threads_) schedule(static, 1) if (threads_ > 1)
    for (int p = 0; p < threads_; ++p) {
      const int64_t first = dims_ * p / threads_, end = dims_ * (p + 1) / threads_;
      for (int64_t k = 0; k < classes_; ++k) {
        if (start[k] < start[k + 1]) draw_class(args, k, order + start[k], start[k + 1] - start[k], first, end);
      }
    }
  }

 private:
  int64_t class_of(const KernelArgs& args, int64_t row) const {
    return std::min<int64_t>(classes_ - 1, std::max<int64_t>(0, static_cast<const int32_t*>(args.inputs[1])[row]));
  }

  // Masked rows by class, in order: those of class k are order[start[k]..start[k + 1]). A counting sort.
  void group(const KernelArgs& args, int64_t* order, int64_t* start) const {
    const uint8_t* mask = static_cast<const uint8_t*>(args.inputs[0]);
    std::fill(start, start + classes_ + 1, 0);
    for (int64_t i = 0; i < rows_; ++i) {
      if (mask[i] != 0) ++start[class_of(args, i)];
    }
    int64_t sum = 0;
    for (int64_t k = 0; k <= classes_; ++k) {
      sum += start[k];
      start[k] = sum;
    }
    for (int64_t i = rows_; i-- > 0;) {
      if (mask[i] != 0) order[--start[class_of(args, i)]] = i;
    }
  }

  void draw_class(const KernelArgs& args, int64_t k, const int64_t* rows, int64_t count, int64_t first, int64_t end) const {
    const float* mean = static_cast<const float*>(args.inputs[2]) + k * dims_;
    const float* factor = static_cast<const float*>(args.inputs[3]) + k * dims_ * rank_;
    const float* z = static_cast<const float*>(args.inputs[4]);
    float* out = static_cast<float*>(args.outputs[0]);
    for (int64_t j = first; j < end; ++j) {
      for (int64_t i = 0; i < count; i += 4) {
        const int together = static_cast<int>(std::min<int64_t>(4, count - i));
        const float* columns[4] = {};
        float dots[4];
        for (int q = 0; q < together; ++q) columns[q] = z + rows[i + q] * rank_;
        dot_rows(factor + j * rank_, columns, together, static_cast<size_t>(rank_), dots);
        for (int q = 0; q < together; ++q) out[rows[i + q] * dims_ + j] = mean[j] + dots[q];
      }
    }
  }

  int64_t rows_, dims_, classes_, rank_;
  int threads_;
};

}  // namespace

std::unique_ptr<Kernel> make_copy(const Instruction& in) { return std::make_unique<CopyKernel>(in); }
std::unique_ptr<Kernel> make_crop_flip(const Instruction& in) { return std::make_unique<CropFlipKernel>(in); }
std::unique_ptr<Kernel> make_gaussian_rows(const Instruction& in) { return std::make_unique<GaussianRowsKernel>(in); }

}  // namespace langevin
