// normal, uniform, random_int and shuffle_index on CUDA (kernels/random.cu).
#include "cuda/index_launch.h"
#include "cuda/kernels/args_random.h"
#include "cuda/ops.h"
#include "ops/check.h"

namespace langevin {

namespace {

uint32_t stream_of(const Instruction& in) { return static_cast<uint32_t>(attr_int_or(in, "stream", 0, UINT32_MAX, 0)); }

class DrawKernel : public Kernel {
 public:
  DrawKernel(const Instruction& in, const char* kernel, uint32_t bound, CudaDevice& device) {
    args_.size = in.outputs[0].size();
    args_.stream = stream_of(in);
    args_.bound = bound;
    launch_ = {&device, device.kernel(kernel), (args_.size + 3) / 4};  // a thread a block of four words
  }
  void run(const KernelArgs& args) override {
    args_.key = static_cast<const int32_t*>(args.inputs[0]);
    args_.out = args.outputs[0];
    launch_.run(args_);
  }

 private:
  RandomArgs args_;
  ElementLaunch launch_;
};

class ShuffleKernel : public Kernel {
 public:
  ShuffleKernel(const Instruction& in, CudaDevice& device) {
    args_.size = in.outputs[0].size();
    args_.n = attr_int(in, "n", 1, INT32_MAX);
    args_.stream = stream_of(in);
    launch_ = {&device, device.kernel("langevin_shuffle_index"), args_.size};
  }
  void run(const KernelArgs& args) override {
    args_.key = static_cast<const int32_t*>(args.inputs[0]);
    args_.out = static_cast<int32_t*>(args.outputs[0]);
    launch_.run(args_);
  }

 private:
  ShuffleArgs args_;
  ElementLaunch launch_;
};

}  // namespace

void cuda_layout_normal(Instruction& in) { layout_plain(in); }
void cuda_layout_uniform(Instruction& in) { layout_plain(in); }
void cuda_layout_random_int(Instruction& in) { layout_plain(in); }
void cuda_layout_shuffle_index(Instruction& in) { layout_plain(in); }

bool cuda_in_place_normal(const Instruction&, int, int) { return false; }
bool cuda_in_place_uniform(const Instruction&, int, int) { return false; }
bool cuda_in_place_random_int(const Instruction&, int, int) { return false; }
bool cuda_in_place_shuffle_index(const Instruction&, int, int) { return false; }

std::unique_ptr<Kernel> cuda_make_normal(const Instruction& in, CudaDevice& device) {
  return std::make_unique<DrawKernel>(in, "langevin_random_normal", 1, device);
}
std::unique_ptr<Kernel> cuda_make_uniform(const Instruction& in, CudaDevice& device) {
  return std::make_unique<DrawKernel>(in, "langevin_random_uniform", 1, device);
}
std::unique_ptr<Kernel> cuda_make_random_int(const Instruction& in, CudaDevice& device) {
  return std::make_unique<DrawKernel>(in, "langevin_random_int", static_cast<uint32_t>(attr_int(in, "bound", 1, INT32_MAX)), device);
}
std::unique_ptr<Kernel> cuda_make_shuffle_index(const Instruction& in, CudaDevice& device) { return std::make_unique<ShuffleKernel>(in, device); }

}  // namespace langevin
