// The data path on CUDA (kernels/data.cu): crop_flip, gaussian_rows, and copy.
#include "cuda/index_launch.h"
#include "cuda/kernels/args_data.h"
#include "cuda/ops.h"
#include "ops/check.h"

namespace langevin {

namespace {

class CopyKernel : public Kernel {
 public:
  CopyKernel(const Instruction& in, CudaDevice& device) : device_(device), bytes_(in.inputs[0].bytes()) {}
  void run(const KernelArgs& args) override {
    if (bytes_ == 0 || args.outputs[0] == args.inputs[0]) return;
    const CUdeviceptr to = reinterpret_cast<CUdeviceptr>(args.outputs[0]), from = reinterpret_cast<CUdeviceptr>(args.inputs[0]);
    check_cuda(driver().cuMemcpyDtoDAsync_(to, from, bytes_, device_.stream()), "copying on the device");
  }

 private:
  CudaDevice& device_;
  size_t bytes_;
};

template <class Index>
class CropFlipKernel : public Kernel {
 public:
  CropFlipKernel(const Instruction& in, CudaDevice& device) {
    const TensorDesc& x = in.inputs[0];
    const int64_t step = image_step(x);
    args_.count = x.size();
    args_.b = divisor_of<Index>(step);
    args_.width = divisor_of<Index>(x.shape[3]);
    args_.height = divisor_of<Index>(x.shape[2]);
    args_.per_image = divisor_of<Index>(is_channels_last(x.layout) ? 1 : x.shape[1]);
    args_.pad = attr_int(in, "pad", 0, INT32_MAX);
    launch_ = {&device, kernel_of<Index>(device, "langevin_crop_flip_" + std::to_string(x.element())), x.size()};
  }
  void run(const KernelArgs& args) override {
    args_.x = args.inputs[0];
    args_.offsets = static_cast<const int32_t*>(args.inputs[1]);
    args_.flips = static_cast<const uint8_t*>(args.inputs[2]);
    args_.out = args.outputs[0];
    launch_.run(args_);
  }

 private:
  CropFlipArgs<Index> args_;
  ElementLaunch launch_;
};

class GaussianRowsKernel : public Kernel {
 public:
  GaussianRowsKernel(const Instruction& in, CudaDevice& device) {
    args_.rows = in.outputs[0].shape[0];
    args_.dims = in.outputs[0].shape[1];
    args_.classes_count = in.inputs[2].shape[0];
    args_.rank = in.inputs[4].shape[1];
    args_.bands = (args_.dims + kDrawResults - 1) / kDrawResults;
    constexpr unsigned kThreads = kDrawLanes * kDrawResults;
    launch_ = {&device, device.kernel("langevin_gaussian_rows"), args_.rows * args_.bands, kThreads, kThreads * sizeof(float)};
  }
  void run(const KernelArgs& args) override {
    args_.mask = static_cast<const uint8_t*>(args.inputs[0]);
    args_.classes = static_cast<const int32_t*>(args.inputs[1]);
    args_.mean = static_cast<const float*>(args.inputs[2]);
    args_.factor = static_cast<const float*>(args.inputs[3]);
    args_.z = static_cast<const float*>(args.inputs[4]);
    args_.out = static_cast<float*>(args.outputs[0]);
    launch_.run(args_);
  }

 private:
  GaussianRowsArgs args_;
  BlockLaunch launch_;
};

}  // namespace

void cuda_layout_crop_flip(Instruction& in) {
  layout_as_image(in.inputs[0], in.outputs[0]);
}
void cuda_layout_gaussian_rows(Instruction& in) { layout_plain(in); }
void cuda_layout_copy(Instruction& in) { in.outputs[0].layout = in.inputs[0].layout; }  // as it comes

bool cuda_in_place_crop_flip(const Instruction&, int, int) { return false; }
bool cuda_in_place_gaussian_rows(const Instruction&, int, int) { return false; }
bool cuda_in_place_copy(const Instruction&, int, int) { return true; }

std::unique_ptr<Kernel> cuda_make_crop_flip(const Instruction& in, CudaDevice& device) {
  return make_by_width<CropFlipKernel>(is_narrow({in.inputs[0].size(), 2 * in.inputs[0].shape[0]}), in, device);
}
std::unique_ptr<Kernel> cuda_make_gaussian_rows(const Instruction& in, CudaDevice& device) { return std::make_unique<GaussianRowsKernel>(in, device); }
std::unique_ptr<Kernel> cuda_make_copy(const Instruction& in, CudaDevice& device) { return std::make_unique<CopyKernel>(in, device); }

}  // namespace langevin
