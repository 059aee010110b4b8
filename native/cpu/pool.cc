// Pooling and its gradients: loops over windows, one task an image plane (or a plane of channel blocks, whose channels are the inner,
// vectorised axis). Each task writes its own output, in a fixed order.
//
// The maximum is the first in row-major order of the window; NaN counts as maximum (the first NaN wins); padding never wins. Windows that
// lie wholly in the padding give -infinity, and no gradient.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "ops/geometry.h"
#include "ops/registry.h"

namespace langevin {

namespace {

constexpr int kMaxBlock = 16;
constexpr int64_t kParallelFrom = 32768;

// The part of one window that lies inside the image.
struct Window {
  int64_t top, bottom, left, right;
};
Window window_at(const PoolGeometry& g, int64_t p, int64_t q) {
  const int64_t y = p * g.stride[0] - g.pad[0], x = q * g.stride[1] - g.pad[1];
  return {std::max<int64_t>(y, 0), std::min(y + g.kernel[0], g.h), std::max<int64_t>(x, 0), std::min(x + g.kernel[1], g.w)};
}

// 1 / number of elements that the mean divides by; 0 for a window without any.
float mean_weight(const PoolGeometry& g, const Window& v) {
  const int64_t inside = std::max<int64_t>(v.bottom - v.top, 0) * std::max<int64_t>(v.right - v.left, 0);
  const int64_t count = g.count_include_pad ? g.kernel[0] * g.kernel[1] : inside;
  return count == 0 ? 0.0f : 1.0f / static_cast<float>(count);
}

// B channels side by side: 1 for plain tensors.
template <int B>
void average(const PoolGeometry& g, const float* x, float* y) {
  for (int64_t p = 0; p < g.oh; ++p) {
    for (int64_t q = 0; q < g.ow; ++q, y += B) {
      const Window v = window_at(g, p, q);
      const float weight = mean_weight(g, v);
      float total[B] = {};
      for (int64_t i = v.top; i < v.bottom; ++i) {
        for (int64_t j = v.left; j < v.right; ++j) {
          const float* at = x + (i * g.w + j) * B;
          for (int b = 0; b < B; ++b) total[b] += at[b];
        }
      }
      for (int b = 0; b < B; ++b) y[b] = total[b] * weight;
    }
  }
}

template <int B>
void average_grad(const PoolGeometry& g, const float* dy, float* dx) {
  std::fill(dx, dx + g.h * g.w * B, 0.0f);
  for (int64_t p = 0; p < g.oh; ++p) {
    for (int64_t q = 0; q < g.ow; ++q, dy += B) {
      const Window v = window_at(g, p, q);
      const float weight = mean_weight(g, v);
      float share[B];
      for (int b = 0; b < B; ++b) share[b] = dy[b] * weight;
      for (int64_t i = v.top; i < v.bottom; ++i) {
        for (int64_t j = v.left; j < v.right; ++j) {
          float* at = dx + (i * g.w + j) * B;
          for (int b = 0; b < B; ++b) at[b] += share[b];
        }
      }
    }
  }
}

// Position (row-major in the image) of the maximum of each channel, -1 where the window is empty; and its value.
template <int B>
void find_maximum(const PoolGeometry& g, const Window& v, const float* x, float* value, int32_t* position) {
  for (int b = 0; b < B; ++b) value[b] = -std::numeric_limits<float>::infinity(), position[b] = -1;
  for (int64_t i = v.top; i < v.bottom; ++i) {
    for (int64_t j = v.left; j < v.right; ++j) {
      const float* at = x + (i * g.w + j) * B;
      const int32_t here = static_cast<int32_t>(i * g.w + j);
      for (int b = 0; b < B; ++b) {
        // Nothing replaces a NaN (value == value is false of it); a NaN replaces any number; and the first element stands even at -infinity.
        const bool better = (value[b] == value[b]) & ((at[b] > value[b]) | (at[b] != at[b]) | (position[b] < 0));
        value[b] = better ? at[b] : value[b];
        position[b] = better ? here : position[b];
      }
    }
  }
}

// y = the maximum, or `t` at the position of x's maximum.
template <int B>
void maximum(const PoolGeometry& g, const float* x, const float* t, float* y) {
  float value[B];
  int32_t position[B];
  for (int64_t p = 0; p < g.oh; ++p) {
    for (int64_t q = 0; q < g.ow; ++q, y += B) {
      find_maximum<B>(g, window_at(g, p, q), x, value, position);
      for (int b = 0; b < B; ++b) y[b] = t == nullptr ? value[b] : position[b] < 0 ? 0.0f : t[static_cast<int64_t>(position[b]) * B + b];
    }
  }
}

template <int B>
void maximum_grad(const PoolGeometry& g, const float* x, const float* dy, float* dx) {
  float value[B];
  int32_t position[B];
  std::fill(dx, dx + g.h * g.w * B, 0.0f);
  for (int64_t p = 0; p < g.oh; ++p) {
    for (int64_t q = 0; q < g.ow; ++q, dy += B) {
      find_maximum<B>(g, window_at(g, p, q), x, value, position);
      for (int b = 0; b < B; ++b) {
        if (position[b] >= 0) dx[static_cast<int64_t>(position[b]) * B + b] += dy[b];
      }
    }
  }
}

class PoolKernel : public Kernel {
 public:
  PoolKernel(const PoolGeometry& g, PoolOp op, int block) : g_(g), op_(op), block_(block) {}

  void run(const KernelArgs& args) override {
    switch (block_) {
      case 16: return planes<16>(args);
      case 8: return planes<8>(args);
      default: return planes<1>(args);
    }
  }

 private:
  template <int B>
  void planes(const KernelArgs& args) const {
    static_assert(B <= kMaxBlock);
    const float *a = static_cast<const float*>(args.inputs[0]),
                *b = op_ == PoolOp::MaxGrad || op_ == PoolOp::MaxSelect ? static_cast<const float*>(args.inputs[1]) : nullptr;
    float* out = static_cast<float*>(args.outputs[0]);
    const int64_t count = g_.n * g_.c / B, x = g_.h * g_.w * B, y = g_.oh * g_.ow * B;
    const int64_t work = count * y * g_.kernel[0] * g_.kernel[1];
#pragma omp parallel for schedule(static) if (work >= kParallelFrom)
    for (int64_t i = 0; i < count; ++i) {
      switch (op_) {
        case PoolOp::Average: average<B>(g_, a + i * x, out + i * y); break;
        case PoolOp::AverageGrad: average_grad<B>(g_, a + i * y, out + i * x); break;
        case PoolOp::Max: maximum<B>(g_, a + i * x, nullptr, out + i * y); break;
        case PoolOp::MaxGrad: maximum_grad<B>(g_, a + i * x, b + i * y, out + i * x); break;
        case PoolOp::MaxSelect: maximum<B>(g_, a + i * x, b + i * x, out + i * y); break;
      }
    }
  }

  PoolGeometry g_;
  PoolOp op_;
  int block_;
};

std::unique_ptr<Kernel> make_pool(const Instruction& in, PoolOp op) {
  return std::make_unique<PoolKernel>(pool_geometry(in, op), op, block_of(in.inputs[0].layout));
}

// Channels are independent: whatever layout the first operand has, all take.
void layout_as_first(Instruction& in) {
  const Layout layout = in.inputs[0].layout;
  for (TensorDesc& t : in.inputs) t.layout = layout;
  in.outputs[0].layout = layout;
}

}  // namespace

void layout_avgpool2d(Instruction& in) { layout_as_first(in); }
void layout_avgpool2d_grad(Instruction& in) { layout_as_first(in); }
void layout_maxpool2d(Instruction& in) { layout_as_first(in); }
void layout_maxpool2d_grad(Instruction& in) { layout_as_first(in); }
void layout_maxpool2d_select(Instruction& in) { layout_as_first(in); }

bool in_place_avgpool2d(const Instruction&, int, int) { return false; }
bool in_place_avgpool2d_grad(const Instruction&, int, int) { return false; }
bool in_place_maxpool2d(const Instruction&, int, int) { return false; }
bool in_place_maxpool2d_grad(const Instruction&, int, int) { return false; }
bool in_place_maxpool2d_select(const Instruction&, int, int) { return false; }

std::unique_ptr<Kernel> make_avgpool2d(const Instruction& in) { return make_pool(in, PoolOp::Average); }
std::unique_ptr<Kernel> make_avgpool2d_grad(const Instruction& in) { return make_pool(in, PoolOp::AverageGrad); }
std::unique_ptr<Kernel> make_maxpool2d(const Instruction& in) { return make_pool(in, PoolOp::Max); }
std::unique_ptr<Kernel> make_maxpool2d_grad(const Instruction& in) { return make_pool(in, PoolOp::MaxGrad); }
std::unique_ptr<Kernel> make_maxpool2d_select(const Instruction& in) { return make_pool(in, PoolOp::MaxSelect); }

}  // namespace langevin
