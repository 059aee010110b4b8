// conv2d and its two adjoints on CUDA: cuDNN (cudnn_convolution.h) with what it needs around it, or plain loops of our own (kernels/conv.cu) for what it
// refuses, for empty and for tiny ones.
//
// Images are ChannelsLast, weights and their gradient [O, I, kh, kw] at the interface and [O, kh, kw, I] for cuDNN: kernels of one plan share the reordered
// weights of a parameter, which the first of them makes once a version. cuDNN pads both sides alike; the rest of an uneven padding is made by a copy.
// With bfloat16 (channels in eights, as tensor cores take them) all operands and results of cuDNN are bfloat16, its sums float32; where a float32 result
// is wanted it is converted, so a weight gradient is rounded once to bfloat16 after its sum.
#include <algorithm>

#include "cuda/cudnn_convolution.h"
#include "cuda/half_use.h"
#include "cuda/index_launch.h"
#include "cuda/kernels/args_conv.h"
#include "cuda/launch.h"
#include "cuda/ops.h"

namespace langevin {

namespace {

constexpr size_t kAlignment = 256;
constexpr double kTiny = 1 << 15;         // operations; below, a launch of ours is the whole cost
constexpr int64_t kHalfChannels = 8;      // a row of 16 bytes

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

ConvDirection direction_of(const Instruction& in) {
  return in.op == op_conv2d ? ConvDirection::Forward : in.op == op_conv2d_input_grad ? ConvDirection::InputGrad : ConvDirection::WeightGrad;
}

bool half_convolution(const Instruction& in) {
  if (!in.bfloat16) return false;
  const ConvGeometry g = conv_geometry(in, direction_of(in));
  return !g.empty() && g.groups == 1 && g.c % kHalfChannels == 0 && g.o % kHalfChannels == 0;
}

// Is the order of the channels no matter of layout?
bool one_order(const Shape& image) { return image[1] == 1 || image[2] * image[3] == 1; }

// With the smaller padding of each axis on both its sides; the rest has become part of the image.
ConvGeometry even_padding(const ConvGeometry& g) {
  ConvGeometry even = g;
  for (const int axis : {0, 1}) {
    const int64_t both = std::min(g.pad[axis], g.pad[axis + 2]);
    (axis == 0 ? even.h : even.w) += g.pad[axis] + g.pad[axis + 2] - 2 * both;
    even.pad[axis] = even.pad[axis + 2] = both;
  }
  return even;
}

// The plain loops.
class OwnKernel : public Kernel {
 public:
  OwnKernel(const Instruction& in, ConvDirection direction, const ConvGeometry& g, CudaDevice& device) : device_(device) {
    args_.n = g.n, args_.c = g.c, args_.h = g.h, args_.w = g.w, args_.o = g.o, args_.oh = g.oh, args_.ow = g.ow;
    args_.kh = g.kh, args_.kw = g.kw, args_.groups = g.groups, args_.top = g.pad[0], args_.left = g.pad[1];
    for (const int axis : {0, 1}) args_.stride[axis] = g.stride[axis], args_.dilation[axis] = g.dilation[axis];
    args_.count = in.outputs[0].size();
    args_.first_half = is_half(in.inputs[0].layout), args_.second_half = is_half(in.inputs[1].layout), args_.result_half = is_half(in.outputs[0].layout);
    bias_ = g.bias;
    const bool weights = direction == ConvDirection::WeightGrad;
    function_ = device.kernel(weights                                 ? "langevin_conv_weight_grad"
                              : direction == ConvDirection::Forward ? "langevin_conv_forward"
                                                                      : "langevin_conv_input_grad");
    blocks_ = weights ? static_cast<unsigned>(std::min<int64_t>(args_.count, int64_t{1} << 30)) : blocks_for(args_.count);
    if (weights) {  // a block a result, with some terms for each thread
      for (threads_ = 32; threads_ < kBlockThreads && threads_ * kTerms < g.n * g.oh * g.ow;) threads_ *= 2;
      shared_ = threads_ * sizeof(float);
    }
  }

  const char* kind() const override { return args_.first_half ? "bf16" : ""; }

  const float* bias(const KernelArgs& args) const { return bias_ ? static_cast<const float*>(args.inputs[2]) : nullptr; }

  void run(const KernelArgs& args) override {
    if (args_.count == 0) return;
    ConvArgs mine = args_;
    mine.first = args.inputs[0], mine.second = args.inputs[1], mine.result = args.outputs[0];
    mine.bias = bias(args);
    launch(device_, function_, {blocks_}, {threads_}, shared_, mine);
  }

 private:
  static constexpr int64_t kTerms = 8;
  CudaDevice& device_;
  ConvArgs args_{};
  bool bias_ = false;
  CUfunction function_ = nullptr;
  unsigned blocks_ = 1, threads_ = kBlockThreads;
  size_t shared_ = 0;
};

// Weights in cuDNN's order and precision: as they are, shared among a plan's kernels, or made at each run.
class Weights {
 public:
  Weights(const Instruction& in, const ConvGeometry& g, bool half, CudaDevice& device) : device_(device) {
    args_.inner = g.c / g.groups, args_.taps = g.kh * g.kw, args_.count = g.o * args_.inner * args_.taps, args_.last_half = half;
    as_they_are_ = !half && (args_.inner == 1 || args_.taps == 1);
    if (as_they_are_) return;
    function_ = device.kernel("langevin_conv_weights");
    parameter_ = in.input_is_parameter.size() > 1 && in.input_is_parameter[1];
    if (!parameter_) return;
    std::weak_ptr<PackedParameter>& known = (*in.parameters)[std::to_string(in.input_values[1]) + (half ? " ohwi bf16" : " ohwi")];
    packed_ = known.lock();
    if (packed_) return;
    packed_ = std::make_shared<PackedParameter>();
    known = packed_;
    owner_ = true;
  }

  size_t workspace() const { return as_they_are_ || parameter_ ? 0 : bytes(); }
  size_t persistent() const { return owner_ ? bytes() : 0; }

  // Called at every run, whoever then needs them: others may rely on this kernel to have made them.
  void* get(const KernelArgs& args, void* workspace) {
    if (as_they_are_) return const_cast<void*>(args.inputs[1]);
    if (!parameter_) return make(args.inputs[1], workspace);
    if (owner_ && (packed_->version != args.input_versions[1] || packed_->memory != args.persistent)) {
      *packed_ = {args.input_versions[1], make(args.inputs[1], args.persistent)};
    }
    return const_cast<void*>(packed_->memory);
  }

 private:
  size_t bytes() const { return static_cast<size_t>(args_.count) * (args_.last_half ? 2 : 4); }

  void* make(const void* from, void* to) {
    ConvWeightsArgs mine = args_;
    mine.from = from, mine.to = to;
    launch(device_, function_, {blocks_for(args_.count)}, {kBlockThreads}, 0, mine);
    return to;
  }

  CudaDevice& device_;
  ConvWeightsArgs args_{};
  CUfunction function_ = nullptr;
  bool as_they_are_ = false, parameter_ = false, owner_ = false;
  std::shared_ptr<PackedParameter> packed_;
};

// A copy of images into others of another size or precision, or the addition of a bias; nothing where it would change nothing.
class ImageCopy {
 public:
  ImageCopy() = default;
  ImageCopy(const ConvGeometry& from, const ConvGeometry& to, int64_t channels, bool from_half, bool to_half, bool bias) {
    args_.c = channels, args_.from_h = from.h, args_.from_w = from.w, args_.to_h = to.h, args_.to_w = to.w;
    args_.top = from.pad[0] - to.pad[0], args_.left = from.pad[1] - to.pad[1];
    args_.count = from.n * channels * to.h * to.w;
    args_.from_half = from_half, args_.to_half = to_half;
    args_.wide = !is_narrow({args_.count});
    moves_ = from.h != to.h || from.w != to.w || from_half != to_half;
    adds_ = bias;
  }

  bool moves() const { return moves_; }  // to memory of its own
  bool needed() const { return moves_ || adds_; }
  size_t bytes() const { return static_cast<size_t>(args_.count) * (args_.to_half ? 2 : 4); }

  void run(CudaDevice& device, CUfunction function, const void* from, void* to, const float* bias) const {
    ConvImageArgs mine = args_;
    mine.from = from, mine.to = to, mine.bias = bias;
    launch(device, function, {blocks_for(mine.count)}, {kBlockThreads}, 0, mine);
  }

 private:
  ConvImageArgs args_{};
  bool moves_ = false, adds_ = false;
};

class CudnnKernel : public Kernel {
 public:
  // Null where cuDNN has no algorithm.
  static std::unique_ptr<Kernel> make(const Instruction& in, ConvDirection direction, const ConvGeometry& g, CudaDevice& device) {
    std::unique_ptr<CudnnConvolution> convolution = CudnnConvolution::make(device, direction, even_padding(g), is_half(in.inputs[0].layout));
    if (!convolution) return nullptr;
    return std::unique_ptr<Kernel>(new CudnnKernel(in, direction, g, device, std::move(convolution)));
  }

  const char* kind() const override { return half_ ? "bf16" : ""; }
  size_t workspace() const override { return workspace_ + kAlignment; }
  size_t persistent() const override { return weights_ ? weights_->persistent() : 0; }

  void run(const KernelArgs& args) override {
    const uintptr_t start = reinterpret_cast<uintptr_t>(args.workspace);
    char* base = reinterpret_cast<char*>((start + kAlignment - 1) / kAlignment * kAlignment);
    void* weights = weights_ ? weights_->get(args, base + weights_at_) : nullptr;
    if (refused_ || !convolve(args, base, weights)) {
      refused_ = true;
      own_.run(args);
    }
  }

 private:
  CudnnKernel(const Instruction& in, ConvDirection direction, const ConvGeometry& g, CudaDevice& device, std::unique_ptr<CudnnConvolution> convolution)
      : device_(device), direction_(direction), half_(is_half(in.inputs[0].layout)), convolution_(std::move(convolution)), own_(in, direction, g, device) {
    const ConvGeometry even = even_padding(g);
    const bool result_half = is_half(in.outputs[0].layout);
    space_at_ = reserve(convolution_->workspace());
    if (direction == ConvDirection::WeightGrad) {
      before_ = ImageCopy(g, even, g.c, half_, half_, false);
      back_.inner = g.c / g.groups, back_.taps = g.kh * g.kw, back_.count = in.outputs[0].size(), back_.last_half = half_;
      turn_back_ = half_ || (back_.inner > 1 && back_.taps > 1);
      if (turn_back_) back_function_ = device.kernel("langevin_conv_weights_back"), result_at_ = reserve(static_cast<size_t>(back_.count) * (half_ ? 2 : 4));
    } else {
      weights_ = std::make_unique<Weights>(in, g, half_, device);
      weights_at_ = reserve(weights_->workspace());
      if (direction == ConvDirection::Forward) {
        before_ = ImageCopy(g, even, g.c, half_, half_, false);
        ConvGeometry y;  // its image is y
        y.n = g.n, y.h = g.oh, y.w = g.ow;
        after_ = ImageCopy(y, y, g.o, half_, result_half, g.bias);
      } else {
        after_ = ImageCopy(even, g, g.c, half_, result_half, false);
      }
      const int64_t made = direction == ConvDirection::Forward ? g.n * g.o * g.oh * g.ow : g.n * g.c * even.h * even.w;
      if (after_.moves()) result_at_ = reserve(static_cast<size_t>(made) * (half_ ? 2 : 4));
    }
    if (before_.moves()) before_at_ = reserve(before_.bytes());
    if (before_.needed() || after_.needed()) image_function_ = device.kernel("langevin_conv_image");
  }

  size_t reserve(size_t bytes) {
    const size_t at = workspace_;
    workspace_ += aligned(bytes);
    return at;
  }

  // False where cuDNN refuses.
  bool convolve(const KernelArgs& args, char* base, void* weights) {
    void* first = const_cast<void*>(args.inputs[0]);
    if (before_.moves()) {
      before_.run(device_, image_function_, first, base + before_at_, nullptr);
      first = base + before_at_;
    }
    void* result = after_.moves() || turn_back_ ? base + result_at_ : args.outputs[0];
    const bool done = direction_ == ConvDirection::Forward     ? convolution_->run(first, weights, result, base + space_at_)
                      : direction_ == ConvDirection::InputGrad ? convolution_->run(result, weights, first, base + space_at_)
                                                               : convolution_->run(first, result, const_cast<void*>(args.inputs[1]), base + space_at_);
    if (!done) return false;
    if (after_.needed()) after_.run(device_, image_function_, result, args.outputs[0], own_.bias(args));
    if (turn_back_) {
      back_.from = result, back_.to = args.outputs[0];
      launch(device_, back_function_, {blocks_for(back_.count)}, {kBlockThreads}, 0, back_);
    }
    return true;
  }

  CudaDevice& device_;
  ConvDirection direction_;
  bool half_, refused_ = false;
  std::unique_ptr<CudnnConvolution> convolution_;
  OwnKernel own_;  // what runs where cuDNN refuses at last
  std::unique_ptr<Weights> weights_;
  ImageCopy before_, after_;
  ConvWeightsArgs back_{};
  bool turn_back_ = false;
  CUfunction image_function_ = nullptr, back_function_ = nullptr;
  size_t workspace_ = 0, space_at_ = 0, weights_at_ = 0, before_at_ = 0, result_at_ = 0;
};

void layout_convolution(Instruction& in) {
  const bool half = half_convolution(in);
  const auto choose = [](TensorDesc& t, bool half_too, bool keep) {
    const Layout order = one_order(t.shape) && !(keep && is_channels_last(t.layout)) ? Layout::Plain : Layout::ChannelsLast;
    t.layout = half_too ? half_layout(order) : order;
  };
  const bool weight_grad = in.op == op_conv2d_weight_grad;
  choose(in.inputs[0], half, true);
  if (weight_grad) choose(in.inputs[1], half, true);
  else in.inputs[1].layout = Layout::Plain;
  if (in.inputs.size() > 2) in.inputs[2].layout = Layout::Plain;
  if (weight_grad) in.outputs[0].layout = Layout::Plain;
  else choose(in.outputs[0], half && in.half_outputs[0] != HalfUse::No, false);
}

std::unique_ptr<Kernel> make_convolution(const Instruction& in, CudaDevice& device) {
  const ConvDirection direction = direction_of(in);
  const ConvGeometry g = conv_geometry(in, direction);
  if (!g.empty() && g.flops() > kTiny) {
    std::unique_ptr<Kernel> kernel = CudnnKernel::make(in, direction, g, device);
    if (kernel) return kernel;
  }
  return std::make_unique<OwnKernel>(in, direction, g, device);
}

}  // namespace

HalfUse cuda_conv_half_use(const Instruction& in, int input) {
  const bool image = input == 0 || (input == 1 && in.op == op_conv2d_weight_grad);
  return image && half_convolution(in) ? HalfUse::Wanted : HalfUse::No;
}

void cuda_layout_conv2d(Instruction& in) { layout_convolution(in); }
void cuda_layout_conv2d_input_grad(Instruction& in) { layout_convolution(in); }
void cuda_layout_conv2d_weight_grad(Instruction& in) { layout_convolution(in); }

bool cuda_in_place_conv2d(const Instruction&, int, int) { return false; }
bool cuda_in_place_conv2d_input_grad(const Instruction&, int, int) { return false; }
bool cuda_in_place_conv2d_weight_grad(const Instruction&, int, int) { return false; }

std::unique_ptr<Kernel> cuda_make_conv2d(const Instruction& in, CudaDevice& device) { return make_convolution(in, device); }
std::unique_ptr<Kernel> cuda_make_conv2d_input_grad(const Instruction& in, CudaDevice& device) { return make_convolution(in, device); }
std::unique_ptr<Kernel> cuda_make_conv2d_weight_grad(const Instruction& in, CudaDevice& device) { return make_convolution(in, device); }

}  // namespace langevin
