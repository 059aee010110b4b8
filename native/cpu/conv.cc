// conv2d and its two adjoints: which oneDNN primitive in which formats, and the reorders around it. The arithmetic is oneDNN's (or
// conv_direct.cc's where it has no generated code).
//
// Activations whose channels are divisible by the machine's block are blocked, others plain; weights, their gradients and biases are
// plain at the interface. Inside, oneDNN chooses the weight format; packed parameters are kept until their version changes.
#include <omp.h>

#include <cstdlib>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "cpu/conv_direct.h"
#include "cpu/conv_narrow.h"
#include "cpu/conv_winograd.h"
#include "cpu/dnnl.h"
#include "cpu/winograd_weights.h"
#include "ops/registry.h"

namespace langevin {

namespace {

size_t align64(size_t bytes) { return (bytes + 63) / 64 * 64; }

// Winograd F(4x4, 3x3) or the direct algorithm: a fixed rule, because a measured choice would not repeat bit for bit in another process.
// This is the rule for oneDNN's kernels; with AVX-512 our own are asked first (conv_winograd.h, winograd_weights.h).
// GFLOP/s on two Zen 4 cores, direct / Winograd (forward, input gradient, weight gradient):
//   batch 64:  16->16 at 8x8    268/213  269/210  234/159      16->16 at 32x32  171/166  237/164  197/272
//              16->32 at 8x8    272/304  272/323  192/215      16->32 at 32x32  233/222  224/308  195/334
//              32->32 at 8x8    273/398  274/400  233/424      64->64 at 4x4    324/441  321/456  215/416
//              64->64 at 16x16  248/564  247/562  221/434      128->128 at 2x2  304/130  341/129  201/149
//   640->640 at 8x8: batch 4  258/314  260/306  196/265, batch 16  269/572  266/568  195/500;  64->64 at 8x8: batch 1  237/86, batch 8  270/357 273/232 234/203
// So: enough channels on both sides, tiles that are mostly full, and enough tiles to amortise the transformed weights.
// LANGEVIN_WINOGRAD=0 never takes it, =1 wherever it exists, =auto (or unset) follows the rule.
std::string winograd_setting() {
  const char* variable = std::getenv("LANGEVIN_WINOGRAD");
  const std::string setting = variable == nullptr || *variable == 0 ? "auto" : variable;
  if (setting != "0" && setting != "1" && setting != "auto") {
    throw PlanError("LANGEVIN_WINOGRAD must be 0 (never), 1 (wherever it exists) or auto; got '" + setting + "'");
  }
  return setting;
}

bool prefer_winograd(ConvDirection direction, const ConvGeometry& g) {
  const std::string setting = winograd_setting();
  if (setting == "0") return false;
  if (g.kh != 3 || g.kw != 3 || g.stride[0] != 1 || g.stride[1] != 1 || g.dilation[0] != 1 || g.dilation[1] != 1 || g.groups != 1) return false;
  // oneDNN 2.6.3 offers Winograd for uneven padding too and then returns a wrong input gradient.
  if (g.pad[0] != g.pad[2] || g.pad[1] != g.pad[3] || g.pad[0] > 1 || g.pad[1] > 1) return false;
  if (setting == "1") return true;
  const int64_t rows = direction == ConvDirection::InputGrad ? g.h : g.oh, columns = direction == ConvDirection::InputGrad ? g.w : g.ow;
  const int64_t tiles = g.n * ((rows + 3) / 4) * ((columns + 3) / 4);
  const double filled = static_cast<double>(g.n * rows * columns) / (16.0 * static_cast<double>(tiles));
  const int64_t channels = g.c * g.o;
  const bool enough_tiles = tiles >= 64 || (tiles >= 16 && channels >= 256 * 256) || (direction == ConvDirection::Forward && tiles >= 32);
  return channels >= (direction == ConvDirection::Forward ? 32 * 32 : 16 * 32) && filled >= 0.6 && enough_tiles;
}

// The first of: Winograd, direct code for the formats in which the tensors are, direct code in formats of oneDNN's choice, im2col on plain
// tensors. Empty where there is only oneDNN's reference loop, which is slower than ours.
DnnlOp choose_convolution(ConvDirection direction, const ConvGeometry& g, DnnlFormat x, DnnlFormat y, DnnlHalf half) {
  if (half.x || half.y) return DnnlOp::convolution(direction, g, x, y, false, half);  // bf16_convolution has seen that it is there
  const bool blocked = x == y && x == DnnlFormat::Blocked16;
  if (blocked && prefer_winograd(direction, g)) {
    DnnlOp op = DnnlOp::convolution(direction, g, x, y, true);
    if (op && op.fast()) return op;
  }
  DnnlOp fixed = DnnlOp::convolution(direction, g, x, y, false);
  if (fixed && fixed.fast()) return fixed;
  DnnlOp any = DnnlOp::convolution(direction, g, DnnlFormat::Any, DnnlFormat::Any, false);
  if (any && any.fast()) return any;
  DnnlOp plain = DnnlOp::convolution(direction, g, DnnlFormat::Plain, DnnlFormat::Plain, false);
  if (plain && !plain.reference()) return plain;
  return DnnlOp();
}

constexpr int64_t kSharedWeights = 128 * 1024;  // most weights that every thread may well read whole

// The weights are bfloat16 with the activations; their gradient is float32.
DnnlHalf half_operands(ConvDirection direction, Layout x, Layout y) {
  const bool any = is_half(x) || is_half(y);
  return {is_half(x), any && direction != ConvDirection::WeightGrad, is_half(y)};
}

// Is there generated code for bfloat16 operands in blocks of 16? The result may then be either.
bool bf16_convolution(const Instruction& in, ConvDirection direction) {
  const ConvGeometry g = conv_geometry(in, direction);
  if (!in.bfloat16 || machine_layout() != Layout::Blocked16 || g.empty() || g.groups != 1 || g.c % 16 != 0 || g.o % 16 != 0) return false;
  const bool backward = direction == ConvDirection::InputGrad;
  for (const bool result : {false, true}) {
    const DnnlHalf half{!backward || result, direction != ConvDirection::WeightGrad, direction != ConvDirection::Forward || result};
    const DnnlOp op = DnnlOp::convolution(direction, g, DnnlFormat::Blocked16, DnnlFormat::Blocked16, false, half);
    if (!op || !op.fast()) return false;
  }
  return true;
}

// Images shared out among the threads, a primitive for each, as loops share out elements: so a thread finds what it wrote in its own cache.
// oneDNN divides channels first: with four layers of stride 2 on 64 images of 28x28, a chain step took 4.9 ms on two threads, and alone the
// loops between the layers took longer than on one. Not with Winograd, which would transform the weights once a thread. Empty where it does
// not apply.
std::vector<DnnlOp> choose_parts(ConvDirection direction, const ConvGeometry& g, DnnlFormat x, DnnlFormat y, const DnnlOp& whole, DnnlHalf half) {
  const int threads = omp_get_max_threads();
  const bool weights_are_small = g.o * (g.c / g.groups) * g.kh * g.kw <= kSharedWeights;
  const bool winograd = whole.implementation().find("wino") != std::string::npos;
  if (threads < 2 || g.n % threads != 0 || direction == ConvDirection::WeightGrad || !whole.fast() || winograd || !weights_are_small) return {};
  ConvGeometry part = g;
  part.n /= threads;
  std::vector<DnnlOp> ops;
  omp_set_num_threads(1);
  for (int i = 0; i < threads; ++i) {
    DnnlOp op = DnnlOp::convolution(direction, part, x, y, false, half);
    if (op && op.fast()) ops.push_back(std::move(op));
  }
  omp_set_num_threads(threads);
  if (ops.size() != static_cast<size_t>(threads)) ops.clear();
  return ops;
}

// An operand of the primitive: bound directly, or through a copy in the primitive's format.
struct Operand {
  DnnlRole role = DnnlRole::Source;
  int index = 0;  // of the instruction's input or output
  bool output = false;
  DnnlOp reorder;   // empty: bound directly
  size_t step = 0;  // bytes from the images of one part to those of the next
  size_t offset = 0;
  bool persistent = false;      // the copy outlives the run, and is remade only for another version
  uint64_t packed_version = 0;  // of the copy; 0: none
  const void* packed_at = nullptr;
};

class ConvKernel : public Kernel {
 public:
  // One primitive for all images, or several for equal parts of them.
  ConvKernel(const Instruction& instruction, ConvDirection direction, std::vector<DnnlOp> ops, const ConvGeometry& g) : ops_(std::move(ops)) {
    const int64_t images = g.n / static_cast<int64_t>(ops_.size());
    scratchpad_ = align64(ops_[0].scratchpad());
    workspace_ = scratchpad_ * ops_.size();
    const auto activation = [&](const TensorDesc& t, int64_t c, int64_t h, int64_t w) {
      half_ = half_ || is_half(t.layout);
      return dnnl_activation(images, c, h, w, dnnl_format(t.layout), is_half(t.layout));
    };
    const auto &in = instruction.inputs, &out = instruction.outputs;
    const bool grad_input = direction == ConvDirection::InputGrad, grad_weight = direction == ConvDirection::WeightGrad;
    const TensorDesc &x = grad_input ? out[0] : in[0], &y = direction == ConvDirection::Forward ? out[0] : grad_input ? in[0] : in[1];
    add(DnnlRole::Source, 0, grad_input, activation(x, g.c, g.h, g.w), false, true);
    const bool parameter = !grad_weight && instruction.input_is_parameter.size() > 1 && instruction.input_is_parameter[1];
    add(DnnlRole::Weights, grad_weight ? 0 : 1, grad_weight, dnnl_weights(g, DnnlFormat::Plain), parameter, false);
    if (g.bias) add(DnnlRole::Bias, 2, false, ops_[0].desc(DnnlRole::Bias), false, false);
    add(DnnlRole::Destination, grad_weight ? 1 : 0, direction == ConvDirection::Forward, activation(y, g.o, g.oh, g.ow), false, true);
  }

  // False where oneDNN has no reorder that the formats need, or where parts would need one of activations.
  bool complete() const { return complete_; }
  const char* kind() const override { return half_ ? "bf16" : ""; }
  size_t workspace() const override { return workspace_; }
  size_t persistent() const override { return persistent_; }

  void run(const KernelArgs& args) override {
    char* workspace = static_cast<char*>(args.workspace);
    for (size_t p = 0; p < ops_.size(); ++p) ops_[p].bind(DnnlRole::Scratchpad, workspace + p * scratchpad_);
    for (int i = 0; i < count_; ++i) {
      Operand& o = operands_[i];
      const void* given = o.output ? args.outputs[o.index] : args.inputs[o.index];
      const char* memory = static_cast<const char*>(o.reorder ? converted(o, given, args) : given);
      for (size_t p = 0; p < ops_.size(); ++p) ops_[p].bind(o.role, memory + p * o.step);
    }
    run_parts();
    for (int i = 0; i < count_; ++i) {
      Operand& o = operands_[i];
      if (!o.output || !o.reorder) continue;
      o.reorder.bind(DnnlRole::Source, workspace + o.offset);
      o.reorder.bind(DnnlRole::Destination, args.outputs[o.index]);
      o.reorder.run();
    }
  }

 private:
  // Within a parallel region oneDNN uses the calling thread alone.
  void run_parts() {
    if (ops_.size() == 1) return ops_[0].run();
    const int parts = static_cast<int>(ops_.size());
    std::exception_ptr error;
#pragma omp parallel num_threads(parts)
    for (int p = omp_get_thread_num(); p < parts; p += omp_get_num_threads()) {
      try {
        ops_[static_cast<size_t>(p)].run();
      } catch (...) {
#pragma omp critical(langevin_convolution)
        error = std::current_exception();
      }
    }
    if (error) std::rethrow_exception(error);
  }

  void add(DnnlRole role, int index, bool output, const DnnlDesc& given, bool parameter, bool by_image) {
    Operand& o = operands_[count_++];
    o.role = role, o.index = index, o.output = output;
    if (by_image && ops_.size() > 1) o.step = given.get_size();
    const DnnlDesc& wanted = ops_[0].desc(role);
    if (given == wanted) return;
    complete_ = complete_ && o.step == 0;
    o.reorder = output ? DnnlOp::reorder(wanted, given) : DnnlOp::reorder(given, wanted);
    complete_ = complete_ && static_cast<bool>(o.reorder);
    o.persistent = parameter;
    size_t& total = parameter ? persistent_ : workspace_;
    o.offset = total;
    total += align64(wanted.get_size());
    scratch_[count_ - 1] = workspace_;
    workspace_ += align64(o.reorder.scratchpad());
  }

  // The operand in the primitive's format: for an input filled here, for an output only the place.
  void* converted(Operand& o, const void* memory, const KernelArgs& args) {
    char* place = static_cast<char*>(o.persistent ? args.persistent : args.workspace) + o.offset;
    o.reorder.bind(DnnlRole::Scratchpad, static_cast<char*>(args.workspace) + scratch_[&o - operands_]);
    if (o.output) return place;
    const uint64_t version = o.persistent ? args.input_versions[o.index] : 0;
    if (version != 0 && version == o.packed_version && place == o.packed_at) return place;
    o.reorder.bind(DnnlRole::Source, memory);
    o.reorder.bind(DnnlRole::Destination, place);
    o.reorder.run();
    o.packed_version = version, o.packed_at = place;
    return place;
  }

  std::vector<DnnlOp> ops_;
  size_t scratchpad_ = 0;  // of one of them
  Operand operands_[4];
  size_t scratch_[4] = {0, 0, 0, 0};
  int count_ = 0;
  size_t workspace_ = 0, persistent_ = 0;
  bool complete_ = true, half_ = false;
};

// Our own loops, between reorders to plain where a tensor is blocked.
class DirectConvKernel : public Kernel {
 public:
  DirectConvKernel(const Instruction& instruction, ConvDirection direction, const ConvGeometry& g) : direction_(direction), geometry_(g) {
    for (size_t i = 0; i < instruction.inputs.size(); ++i) convert(static_cast<int>(i), instruction.inputs[i], true);
    convert(3, instruction.outputs[0], false);
  }

  size_t workspace() const override { return workspace_; }

  void run(const KernelArgs& args) override {
    char* workspace = static_cast<char*>(args.workspace);
    const float* in[3] = {nullptr, nullptr, nullptr};
    for (int i = 0; i < (geometry_.bias ? 3 : 2); ++i) {
      in[i] = static_cast<const float*>(reorder_[i] ? workspace + offset_[i] : args.inputs[i]);
      if (reorder_[i]) reorder(i, args, args.inputs[i], workspace + offset_[i]);
    }
    float* out = reorder_[3] ? reinterpret_cast<float*>(workspace + offset_[3]) : static_cast<float*>(args.outputs[0]);
    switch (direction_) {
      case ConvDirection::Forward: conv_direct(geometry_, in[0], in[1], in[2], out); break;
      case ConvDirection::InputGrad: conv_direct_input_grad(geometry_, in[0], in[1], out); break;
      case ConvDirection::WeightGrad: conv_direct_weight_grad(geometry_, in[0], in[1], out); break;
    }
    if (reorder_[3]) reorder(3, args, out, args.outputs[0]);
  }

 private:
  void convert(int slot, const TensorDesc& t, bool input) {
    if (t.layout == Layout::Plain || t.size() == 0) return;
    TensorDesc plain = t;
    plain.layout = Layout::Plain;
    reorder_[slot] = input ? make_reorder_kernel(t, plain) : make_reorder_kernel(plain, t);
    offset_[slot] = workspace_;
    workspace_ += align64(t.bytes());
  }

  void reorder(int slot, const KernelArgs& args, const void* from, void* to) {
    const KernelArgs inner{&from, &to, nullptr, nullptr, args.input_versions};
    reorder_[slot]->run(inner);
  }

  ConvDirection direction_;
  ConvGeometry geometry_;
  std::unique_ptr<Kernel> reorder_[4];
  size_t offset_[4] = {0, 0, 0, 0};
  size_t workspace_ = 0;
};

// Few plain result channels from blocked ones (conv_narrow.h). The few weights are packed at every run.
class NarrowConvKernel : public Kernel {
 public:
  explicit NarrowConvKernel(const NarrowConv& conv) : conv_(conv) {}
  size_t workspace() const override { return conv_.packed_bytes(); }
  void run(const KernelArgs& args) override {
    float* packed = static_cast<float*>(args.workspace);
    conv_.pack(static_cast<const float*>(args.inputs[1]), packed);
    const float* bias = conv_.bias ? static_cast<const float*>(args.inputs[2]) : nullptr;
    conv_.run(static_cast<const float*>(args.inputs[0]), packed, bias, static_cast<float*>(args.outputs[0]));
  }

 private:
  NarrowConv conv_;
};

// Weight gradients by our own Winograd, of operands in blocks of 16 in either precision.
class WinogradWeightsKernel : public Kernel {
 public:
  explicit WinogradWeightsKernel(const WinogradWeights& conv) : conv_(conv) {}
  const char* kind() const override { return conv_.half_source || conv_.half_gradient ? "bf16" : ""; }
  size_t workspace() const override { return conv_.workspace(); }
  void run(const KernelArgs& args) override { conv_.run(args.inputs[0], args.inputs[1], static_cast<float*>(args.outputs[0]), args.workspace); }

 private:
  WinogradWeights conv_;
};

// True where it is to be taken, by the rule or the setting.
bool choose_winograd_weights(const Instruction& in, ConvDirection direction, const ConvGeometry& g, WinogradWeights* conv) {
  if (direction != ConvDirection::WeightGrad || block_of(in.inputs[0].layout) != 16 || block_of(in.inputs[1].layout) != 16) return false;
  const std::string setting = winograd_setting();
  if (setting == "0" || !WinogradWeights::from(g, is_half(in.inputs[0].layout), is_half(in.inputs[1].layout), conv)) return false;
  return setting == "1" || conv->preferred();
}

std::unique_ptr<Kernel> make_convolution(const Instruction& in, ConvDirection direction) {
  const ConvGeometry g = conv_geometry(in, direction);
  const TensorDesc& x = direction == ConvDirection::InputGrad ? in.outputs[0] : in.inputs[0];
  const TensorDesc& y = direction == ConvDirection::Forward ? in.outputs[0] : direction == ConvDirection::InputGrad ? in.inputs[0] : in.inputs[1];
  NarrowConv narrow;
  if (NarrowConv::from(direction, g, in.inputs[0].layout, in.outputs[0].layout, &narrow)) return std::make_unique<NarrowConvKernel>(narrow);
  const std::string setting = winograd_setting();
  if (setting != "0") {
    std::unique_ptr<Kernel> kernel = make_winograd_kernel(in, direction, g, setting == "1");
    if (kernel) return kernel;
  }
  WinogradWeights weights;
  if (choose_winograd_weights(in, direction, g, &weights)) return std::make_unique<WinogradWeightsKernel>(weights);
  if (!g.empty()) {
    const DnnlFormat x_format = dnnl_format(x.layout), y_format = dnnl_format(y.layout);
    const DnnlHalf half = half_operands(direction, x.layout, y.layout);
    DnnlOp op = choose_convolution(direction, g, x_format, y_format, half);
    if (op) {
      std::vector<DnnlOp> parts = choose_parts(direction, g, x_format, y_format, op, half);
      if (!parts.empty()) {
        auto kernel = std::make_unique<ConvKernel>(in, direction, std::move(parts), g);
        if (kernel->complete()) return kernel;
      }
      std::vector<DnnlOp> whole;
      whole.push_back(std::move(op));
      auto kernel = std::make_unique<ConvKernel>(in, direction, std::move(whole), g);
      if (kernel->complete()) return kernel;
    }
  }
  return std::make_unique<DirectConvKernel>(in, direction, g);
}

// Blocked where the channels fill whole blocks.
void layout_convolution(Instruction& in, ConvDirection direction) {
  const bool second_is_activation = direction == ConvDirection::WeightGrad, output_is_activation = !second_is_activation;
  const auto choose = [](TensorDesc& t) { t.layout = t.shape[1] > 0 && t.shape[1] % machine_block() == 0 ? machine_layout() : Layout::Plain; };
  layout_plain(in);
  choose(in.inputs[0]);
  if (second_is_activation) choose(in.inputs[1]);
  if (output_is_activation) choose(in.outputs[0]);
  if (!bf16_convolution(in, direction)) return;
  in.inputs[0].layout = Layout::Blocked16Half;
  if (second_is_activation) in.inputs[1].layout = Layout::Blocked16Half;
  if (output_is_activation && in.half_outputs[0] != HalfUse::No) in.outputs[0].layout = Layout::Blocked16Half;
}

}  // namespace

HalfUse conv_half_use(const Instruction& in, int input) {
  const ConvDirection direction = in.op == op_conv2d ? ConvDirection::Forward : in.op == op_conv2d_input_grad ? ConvDirection::InputGrad : ConvDirection::WeightGrad;
  const bool activation = input == 0 || (input == 1 && direction == ConvDirection::WeightGrad);
  return activation && bf16_convolution(in, direction) ? HalfUse::Wanted : HalfUse::No;
}

void layout_conv2d(Instruction& in) { layout_convolution(in, ConvDirection::Forward); }
void layout_conv2d_input_grad(Instruction& in) { layout_convolution(in, ConvDirection::InputGrad); }
void layout_conv2d_weight_grad(Instruction& in) { layout_convolution(in, ConvDirection::WeightGrad); }

bool in_place_conv2d(const Instruction&, int, int) { return false; }
bool in_place_conv2d_input_grad(const Instruction&, int, int) { return false; }
bool in_place_conv2d_weight_grad(const Instruction&, int, int) { return false; }

std::unique_ptr<Kernel> make_conv2d(const Instruction& in) { return make_convolution(in, ConvDirection::Forward); }
std::unique_ptr<Kernel> make_conv2d_input_grad(const Instruction& in) { return make_convolution(in, ConvDirection::InputGrad); }
std::unique_ptr<Kernel> make_conv2d_weight_grad(const Instruction& in) { return make_convolution(in, ConvDirection::WeightGrad); }

}  // namespace langevin
