// resize2d and its gradient, one task a plane. Both walk the same table of weights (each output element reads at most two rows and two
// columns), so the gradient is the exact transpose of the resize.
//
// nearest: floor(i in / out). bilinear: half-pixel centres, (i + 0.5) in / out - 0.5 clamped to the image; or, with alignCorners, i (in - 1) / (out - 1).
#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/geometry.h"
#include "ops/registry.h"

namespace langevin {

namespace {

constexpr int64_t kParallelFrom = 32768;

// Output element i is low_weight x[low] + high_weight x[high].
struct Tap {
  int64_t low, high;
  float low_weight, high_weight;
};

std::vector<Tap> taps_of(int64_t in, int64_t out, bool bilinear, bool align_corners) {
  std::vector<Tap> taps;
  if (in == 0) return taps;  // then the result is empty too
  for (int64_t i = 0; i < out; ++i) {
    if (!bilinear) {
      const int64_t at = i * in / out;
      taps.push_back({at, at, 1.0f, 0.0f});
      continue;
    }
    const double centre = align_corners ? (out == 1 ? 0.0 : static_cast<double>(i) * static_cast<double>(in - 1) / static_cast<double>(out - 1))
                                        : (static_cast<double>(i) + 0.5) * static_cast<double>(in) / static_cast<double>(out) - 0.5;
    const double at = std::clamp(centre, 0.0, static_cast<double>(in - 1));
    const int64_t low = static_cast<int64_t>(std::floor(at)), high = std::min(low + 1, in - 1);
    const double fraction = at - static_cast<double>(low);
    taps.push_back({low, high, static_cast<float>(1.0 - fraction), static_cast<float>(fraction)});
  }
  return taps;
}

class ResizeKernel : public Kernel {
 public:
  ResizeKernel(const ResizeGeometry& g, bool gradient, int block) : g_(g), gradient_(gradient), block_(block) {
    rows_ = taps_of(g.h, g.oh, g.bilinear, g.align_corners);
    columns_ = taps_of(g.w, g.ow, g.bilinear, g.align_corners);
  }

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
    const float* in = static_cast<const float*>(args.inputs[0]);
    float* out = static_cast<float*>(args.outputs[0]);
    const int64_t count = g_.n * g_.c / B, x = g_.h * g_.w * B, y = g_.oh * g_.ow * B;
#pragma omp parallel for schedule(static) if (count * (x + y) >= kParallelFrom)
    for (int64_t i = 0; i < count; ++i) {
      if (gradient_) {
        scatter<B>(in + i * y, out + i * x);
      } else if (g_.bilinear) {
        gather<B>(in + i * x, out + i * y);
      } else {
        pick<B>(in + i * x, out + i * y);
      }
    }
  }

  template <int B>
  void pick(const float* x, float* y) const {
    for (const Tap& r : rows_) {
      for (const Tap& c : columns_) {
        for (int b = 0; b < B; ++b) y[b] = x[(r.low * g_.w + c.low) * B + b];
        y += B;
      }
    }
  }

  template <int B>
  void gather(const float* x, float* y) const {
    for (const Tap& r : rows_) {
      const float *low = x + r.low * g_.w * B, *high = x + r.high * g_.w * B;
      for (const Tap& c : columns_) {
        const int64_t left = c.low * B, right = c.high * B;
        for (int b = 0; b < B; ++b) {
          y[b] = r.low_weight * (c.low_weight * low[left + b] + c.high_weight * low[right + b]) +
                 r.high_weight * (c.low_weight * high[left + b] + c.high_weight * high[right + b]);
        }
        y += B;
      }
    }
  }

  template <int B>
  void scatter(const float* dy, float* dx) const {
    std::fill(dx, dx + g_.h * g_.w * B, 0.0f);
    for (const Tap& r : rows_) {
      float *low = dx + r.low * g_.w * B, *high = dx + r.high * g_.w * B;
      for (const Tap& c : columns_) {
        const int64_t left = c.low * B, right = c.high * B;
        for (int b = 0; b < B; ++b) {
          const float upper = r.low_weight * dy[b];
          low[left + b] += c.low_weight * upper;
          if (!g_.bilinear) continue;
          const float lower = r.high_weight * dy[b];
          low[right + b] += c.high_weight * upper;
          high[left + b] += c.low_weight * lower;
          high[right + b] += c.high_weight * lower;
        }
        dy += B;
      }
    }
  }

  ResizeGeometry g_;
  bool gradient_;
  int block_;
  std::vector<Tap> rows_, columns_;
};

void layout_as_input(Instruction& in) { in.outputs[0].layout = in.inputs[0].layout; }

}  // namespace

void layout_resize2d(Instruction& in) { layout_as_input(in); }
void layout_resize2d_grad(Instruction& in) { layout_as_input(in); }
bool in_place_resize2d(const Instruction&, int, int) { return false; }
bool in_place_resize2d_grad(const Instruction&, int, int) { return false; }

std::unique_ptr<Kernel> make_resize2d(const Instruction& in) {
  return std::make_unique<ResizeKernel>(resize_geometry(in, false), false, block_of(in.inputs[0].layout));
}
std::unique_ptr<Kernel> make_resize2d_grad(const Instruction& in) {
  return std::make_unique<ResizeKernel>(resize_geometry(in, true), true, block_of(in.inputs[0].layout));
}

}  // namespace langevin
