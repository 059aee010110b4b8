// resize2d and its gradient on CUDA (kernels/resize.cu). What an element reads is computed where it is read, from whole numbers (ResizeAxis), so there is
// no table to keep on the device.
#include <algorithm>

#include "cuda/index_launch.h"
#include "cuda/kernels/args_pool.h"
#include "cuda/ops.h"
#include "ops/geometry.h"

namespace langevin {

namespace {

// Element i of the result stands at (scale i + shift) / unit of the input.
struct AxisScale {
  int64_t in, out, scale, shift, unit;

  AxisScale(const ResizeGeometry& g, int axis) : in(axis == 0 ? g.h : g.w), out(axis == 0 ? g.oh : g.ow) {
    if (!g.bilinear) {
      scale = in, shift = 0, unit = std::max<int64_t>(1, out);  // floor(i in / out)
    } else if (g.align_corners) {
      scale = out > 1 ? in - 1 : 0, shift = 0, unit = std::max<int64_t>(1, out - 1);  // i (in - 1) / (out - 1)
    } else {
      scale = 2 * in, shift = in - out, unit = std::max<int64_t>(1, 2 * out);  // (i + 1/2) in / out - 1/2
    }
  }
  // The greatest number that arises on the way.
  int64_t reach() const { return std::max(scale * (out + 1) + std::abs(shift), (in + 1) * unit + std::abs(shift) + scale); }

  template <class Index>
  ResizeAxis<Index> axis(bool bilinear) const {
    using Signed = typename SignedIndex<Index>::Type;
    ResizeAxis<Index> a;
    a.in = static_cast<Signed>(in), a.out = static_cast<Signed>(out);
    a.scale = static_cast<Signed>(scale), a.shift = static_cast<Signed>(shift);
    a.unit = divisor_of<Index>(unit);
    a.bilinear = bilinear ? 1 : 0;
    return a;
  }
};

template <class Index>
class ResizeKernel : public Kernel {
 public:
  ResizeKernel(const ResizeGeometry& g, bool gradient, int64_t step, CudaDevice& device) {
    const int64_t height = gradient ? g.h : g.oh, width = gradient ? g.w : g.ow, count = g.n * g.c * height * width;
    args_.count = static_cast<Index>(count);
    args_.b = divisor_of<Index>(step);
    args_.width = divisor_of<Index>(width);
    args_.height = divisor_of<Index>(height);
    args_.rows = AxisScale(g, 0).axis<Index>(g.bilinear);
    args_.columns = AxisScale(g, 1).axis<Index>(g.bilinear);
    launch_ = {&device, kernel_of<Index>(device, gradient ? "langevin_resize_grad" : "langevin_resize"), count};
  }
  void run(const KernelArgs& args) override {
    args_.from = static_cast<const float*>(args.inputs[0]);
    args_.to = static_cast<float*>(args.outputs[0]);
    launch_.run(args_);
  }

 private:
  ResizeArgs<Index> args_;
  ElementLaunch launch_;
};

std::unique_ptr<Kernel> make_resize(const Instruction& in, bool gradient, CudaDevice& device) {
  const ResizeGeometry g = resize_geometry(in, gradient);
  const bool narrow = is_narrow({in.inputs[0].size(), in.outputs[0].size(), AxisScale(g, 0).reach(), AxisScale(g, 1).reach()});
  return make_by_width<ResizeKernel>(narrow, g, gradient, image_step(in.inputs[0]), device);
}

}  // namespace

void cuda_layout_resize2d(Instruction& in) { layout_as_image(in.inputs[0], in.outputs[0]); }
void cuda_layout_resize2d_grad(Instruction& in) { layout_as_image(in.inputs[0], in.outputs[0]); }
bool cuda_in_place_resize2d(const Instruction&, int, int) { return false; }
bool cuda_in_place_resize2d_grad(const Instruction&, int, int) { return false; }

std::unique_ptr<Kernel> cuda_make_resize2d(const Instruction& in, CudaDevice& device) { return make_resize(in, false, device); }
std::unique_ptr<Kernel> cuda_make_resize2d_grad(const Instruction& in, CudaDevice& device) { return make_resize(in, true, device); }

}  // namespace langevin
