// Kernels of normal, uniform, random_int and shuffle_index: pure functions of (key, stream, element), so the same on any number of
// threads. The draws themselves stand in random_simd.cc and ops/philox.h.
#include <omp.h>

#include <algorithm>

#include "cpu/random_simd.h"
#include "ops/check.h"

namespace langevin {

namespace {

constexpr int64_t kSerial = 8192;  // elements drawn before a parallel region pays

RandomKey read_key(const void* memory) {
  const int32_t* k = static_cast<const int32_t*>(memory);
  return {static_cast<uint32_t>(k[0]), static_cast<uint32_t>(k[1]), static_cast<uint32_t>(k[2]), static_cast<uint32_t>(k[3])};
}

uint32_t stream_of(const Instruction& in) { return static_cast<uint32_t>(attr_int_or(in, "stream", 0, UINT32_MAX, 0)); }

// Calls draw(first, n) for stretches of whole blocks that cover 0..size.
template <class Draw>
void split(int64_t size, int threads, const Draw& draw) {
  const int parts = size < kSerial ? 1 : threads;
  if (parts == 1) return draw(0, size);
  const int64_t share = ((size + parts - 1) / parts + 63) / 64 * 64;
#pragma omp parallel for num_threads(parts) schedule(static, 1)
  for (int p = 0; p < parts; ++p) {
    const int64_t first = share * p;
    if (first < size) draw(first, std::min(share, size - first));
  }
}

class RandomKernel : public Kernel {
 public:
  explicit RandomKernel(const Instruction& in) : size_(in.outputs[0].size()), stream_(stream_of(in)), threads_(omp_get_max_threads()) {}

 protected:
  int64_t size_;
  uint32_t stream_;
  int threads_;
};

class FloatKernel : public RandomKernel {
 public:
  using Draw = void (*)(const RandomKey&, uint32_t, int64_t, size_t, float*);
  FloatKernel(const Instruction& in, Draw draw) : RandomKernel(in), draw_(draw) {}
  void run(const KernelArgs& args) override {
    const RandomKey key = read_key(args.inputs[0]);
    float* out = static_cast<float*>(args.outputs[0]);
    split(size_, threads_, [&](int64_t first, int64_t n) { draw_(key, stream_, first, static_cast<size_t>(n), out + first); });
  }

 private:
  Draw draw_;
};

class IntKernel : public RandomKernel {
 public:
  explicit IntKernel(const Instruction& in) : RandomKernel(in), bound_(static_cast<uint32_t>(attr_int(in, "bound", 1, INT32_MAX))) {}
  void run(const KernelArgs& args) override {
    const RandomKey key = read_key(args.inputs[0]);
    int32_t* out = static_cast<int32_t*>(args.outputs[0]);
    const RandomTable& table = random_table();
    split(size_, threads_,
          [&](int64_t first, int64_t n) { table.bounded(key, stream_, first, static_cast<size_t>(n), bound_, out + first); });
  }

 private:
  uint32_t bound_;
};

class ShuffleKernel : public RandomKernel {
 public:
  explicit ShuffleKernel(const Instruction& in) : RandomKernel(in), n_(attr_int(in, "n", 1, INT32_MAX)) {}
  void run(const KernelArgs& args) override {
    if (size_ == 0) return;
    const RandomKey key = read_key(args.inputs[0]);
    const uint64_t step = static_cast<uint64_t>(key.step_high) << 32 | key.step_low;
    const uint64_t per_epoch = static_cast<uint64_t>(n_ / size_);
    const int64_t base = static_cast<int64_t>(step % per_epoch) * size_;
    const ShuffleOrder order =
        shuffle_order(static_cast<uint32_t>(n_), static_cast<uint32_t>(step / per_epoch), stream_, key.seed_low, key.seed_high);
    int32_t* out = static_cast<int32_t*>(args.outputs[0]);
    split(size_, threads_, [&](int64_t first, int64_t n) {
      for (int64_t i = first; i < first + n; ++i) out[i] = static_cast<int32_t>(order.at(static_cast<uint32_t>(base + i)));
    });
  }

 private:
  int64_t n_;
};

}  // namespace

std::unique_ptr<Kernel> make_normal(const Instruction& in) { return std::make_unique<FloatKernel>(in, random_table().normal); }
std::unique_ptr<Kernel> make_uniform(const Instruction& in) { return std::make_unique<FloatKernel>(in, random_table().uniform); }
std::unique_ptr<Kernel> make_random_int(const Instruction& in) { return std::make_unique<IntKernel>(in); }
std::unique_ptr<Kernel> make_shuffle_index(const Instruction& in) { return std::make_unique<ShuffleKernel>(in); }

}  // namespace langevin
