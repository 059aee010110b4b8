// Pooling and its gradients on CUDA (kernels/pool.cu), over plain images and images with channels last alike. The gradient of a maximum finds the
// position of each window's maximum first (int32, in the workspace), then gathers.
#include "cuda/index_launch.h"
#include "cuda/kernels/args_pool.h"
#include "cuda/ops.h"
#include "ops/geometry.h"

namespace langevin {

namespace {

template <class Index>
WindowAxis<Index> window_axis(const PoolGeometry& g, int axis) {
  using Signed = typename SignedIndex<Index>::Type;
  WindowAxis<Index> w;
  w.kernel = static_cast<Signed>(g.kernel[axis]);
  w.pad = static_cast<Signed>(g.pad[axis]);
  w.size = static_cast<Signed>(axis == 0 ? g.h : g.w);
  w.windows = static_cast<Signed>(axis == 0 ? g.oh : g.ow);
  w.stride = divisor_of<Index>(g.stride[axis]);
  return w;
}

const char* kernel_name(PoolOp op) {
  switch (op) {
    case PoolOp::Average: return "langevin_pool_average";
    case PoolOp::AverageGrad: return "langevin_pool_average_grad";
    case PoolOp::Max: return "langevin_pool_maximum";
    case PoolOp::MaxGrad: return "langevin_pool_maximum_grad";
    case PoolOp::MaxSelect: return "langevin_pool_select";
  }
  return "";
}

template <class Index>
class PoolKernel : public Kernel {
 public:
  PoolKernel(const PoolGeometry& g, PoolOp op, int64_t step, CudaDevice& device) : g_(g), op_(op) {
    const int64_t windows = g.n * g.c * g.oh * g.ow, inputs = g.n * g.c * g.h * g.w;
    const bool by_input = op == PoolOp::AverageGrad || op == PoolOp::MaxGrad;
    launch_ = {&device, kernel_of<Index>(device, kernel_name(op)), by_input ? inputs : windows};
    fill(args_, step, by_input);
    if (op != PoolOp::MaxGrad) return;
    find_ = {&device, kernel_of<Index>(device, "langevin_pool_positions"), windows};
    fill(find_args_, step, false);
  }
  size_t workspace() const override { return op_ == PoolOp::MaxGrad ? static_cast<size_t>(find_.count) * sizeof(int32_t) : 0; }

  void run(const KernelArgs& args) override {
    args_.x = static_cast<const float*>(args.inputs[0]);
    if (op_ == PoolOp::MaxGrad || op_ == PoolOp::MaxSelect) args_.other = static_cast<const float*>(args.inputs[1]);
    args_.out = static_cast<float*>(args.outputs[0]);
    if (op_ == PoolOp::MaxGrad) {
      find_args_.x = args_.x;
      find_args_.positions = args_.positions = static_cast<int32_t*>(args.workspace);
      find_.run(find_args_);
    }
    launch_.run(args_);
  }

 private:
  void fill(PoolArgs<Index>& args, int64_t step, bool by_input) const {
    args.count = static_cast<Index>(g_.n * g_.c * (by_input ? g_.h * g_.w : g_.oh * g_.ow));
    args.b = divisor_of<Index>(step);
    args.width = divisor_of<Index>(by_input ? g_.w : g_.ow);
    args.height = divisor_of<Index>(by_input ? g_.h : g_.oh);
    args.rows = window_axis<Index>(g_, 0);
    args.columns = window_axis<Index>(g_, 1);
    args.mean_of = g_.count_include_pad ? g_.kernel[0] * g_.kernel[1] : 0;
  }

  PoolGeometry g_;
  PoolOp op_;
  PoolArgs<Index> args_, find_args_;
  ElementLaunch launch_, find_;
};

std::unique_ptr<Kernel> make_pool(const Instruction& in, PoolOp op, CudaDevice& device) {
  const PoolGeometry g = pool_geometry(in, op);
  // A padded side and a window beyond its end: the farthest that window arithmetic reaches.
  const auto reach = [&](int64_t size, int i) { return size + g.pad[i] + g.pad[i + 2] + 2 * g.kernel[i] + g.stride[i]; };
  const bool narrow = is_narrow({g.n * g.c * g.h * g.w, g.n * g.c * g.oh * g.ow, reach(g.h, 0), reach(g.w, 1)});
  return make_by_width<PoolKernel>(narrow, g, op, image_step(in.inputs[0]), device);
}

// Channels are independent: whatever order the first operand has, all take.
void layout_as_first(Instruction& in) {
  const Layout layout = full_layout(in.inputs[0].layout);
  for (TensorDesc& t : in.inputs) t.layout = layout;
  in.outputs[0].layout = layout;
}

}  // namespace

void cuda_layout_avgpool2d(Instruction& in) { layout_as_first(in); }
void cuda_layout_avgpool2d_grad(Instruction& in) { layout_as_first(in); }
void cuda_layout_maxpool2d(Instruction& in) { layout_as_first(in); }
void cuda_layout_maxpool2d_grad(Instruction& in) { layout_as_first(in); }
void cuda_layout_maxpool2d_select(Instruction& in) { layout_as_first(in); }

bool cuda_in_place_avgpool2d(const Instruction&, int, int) { return false; }
bool cuda_in_place_avgpool2d_grad(const Instruction&, int, int) { return false; }
bool cuda_in_place_maxpool2d(const Instruction&, int, int) { return false; }
bool cuda_in_place_maxpool2d_grad(const Instruction&, int, int) { return false; }
bool cuda_in_place_maxpool2d_select(const Instruction&, int, int) { return false; }

std::unique_ptr<Kernel> cuda_make_avgpool2d(const Instruction& in, CudaDevice& device) { return make_pool(in, PoolOp::Average, device); }
std::unique_ptr<Kernel> cuda_make_avgpool2d_grad(const Instruction& in, CudaDevice& device) { return make_pool(in, PoolOp::AverageGrad, device); }
std::unique_ptr<Kernel> cuda_make_maxpool2d(const Instruction& in, CudaDevice& device) { return make_pool(in, PoolOp::Max, device); }
std::unique_ptr<Kernel> cuda_make_maxpool2d_grad(const Instruction& in, CudaDevice& device) { return make_pool(in, PoolOp::MaxGrad, device); }
std::unique_ptr<Kernel> cuda_make_maxpool2d_select(const Instruction& in, CudaDevice& device) { return make_pool(in, PoolOp::MaxSelect, device); }

}  // namespace langevin
