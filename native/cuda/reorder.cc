// Reorders of activations: a transposition of [C, H W] an image between row-major and channels-last, a change of precision in one order. Lowering
// asks for one of the two at a time.
#include "cuda/kernels/args_loop.h"
#include "cuda/launch.h"
#include "cuda/ops.h"

namespace langevin {

namespace {

constexpr int64_t kFew = 8;  // rows or columns up to which a tile of 32 x 32 would be mostly empty

class TransposeKernel : public Kernel {
 public:
  TransposeKernel(CudaDevice& device, const TransposeArgs& sizes) : device_(device), args_(sizes) {
    const int64_t rows = args_.rows, columns = args_.columns;
    if (rows <= kFew) {
      name_ = "langevin_transpose_few_rows";
      blocks_ = blocks_for(args_.images * columns);
    } else if (columns <= kFew) {
      name_ = "langevin_transpose_few_columns";
      blocks_ = blocks_for(args_.images * rows);
    } else {
      name_ = "langevin_transpose_tiles";
      blocks_ = static_cast<unsigned>(args_.images * ((rows + 31) / 32) * ((columns + 31) / 32));
      shared_ = 32 * 33 * sizeof(float);
    }
  }

  void run(const KernelArgs& args) override {
    if (function_ == nullptr) function_ = device_.kernel(name_);
    args_.from = static_cast<const float*>(args.inputs[0]);
    args_.to = static_cast<float*>(args.outputs[0]);
    if (args_.images > 0) launch(device_, function_, Extent{blocks_}, Extent{kBlockThreads}, shared_, args_);
  }

 private:
  CudaDevice& device_;
  TransposeArgs args_;
  const char* name_;
  unsigned blocks_ = 0;
  size_t shared_ = 0;
  CUfunction function_ = nullptr;
};

class ConvertKernel : public Kernel {
 public:
  ConvertKernel(CudaDevice& device, int64_t count, bool to_half) : device_(device), count_(count), to_half_(to_half) {}

  void run(const KernelArgs& args) override {
    if (function_ == nullptr) function_ = device_.kernel(to_half_ ? "langevin_to_half" : "langevin_from_half");
    if (count_ > 0) launch(device_, function_, Extent{blocks_for(count_, 4)}, Extent{kBlockThreads}, 0, ConvertArgs{args.inputs[0], args.outputs[0], count_});
  }

 private:
  CudaDevice& device_;
  int64_t count_;
  bool to_half_;
  CUfunction function_ = nullptr;
};

}  // namespace

std::unique_ptr<Kernel> cuda_make_reorder(const TensorDesc& from, const TensorDesc& to, CudaDevice& device) {
  const bool precision = is_half(from.layout) != is_half(to.layout), order = is_channels_last(from.layout) != is_channels_last(to.layout);
  const bool image = from.shape.size() == 4 && !is_half(from.layout);
  if (from.shape != to.shape || from.dtype != DType::F32 || to.dtype != DType::F32 || precision == order || (order && !image)) {
    throw PlanError("internal: no reorder from " + to_string(from) + " to " + to_string(to));
  }
  if (precision) return std::make_unique<ConvertKernel>(device, from.size(), is_half(to.layout));
  const int64_t channels = from.shape[1], area = from.shape[2] * from.shape[3];
  const bool back = is_channels_last(from.layout);
  const int64_t images = from.size() == 0 ? 0 : from.shape[0];
  return std::make_unique<TransposeKernel>(device, TransposeArgs{nullptr, nullptr, images, back ? area : channels, back ? channels : area});
}

}  // namespace langevin
