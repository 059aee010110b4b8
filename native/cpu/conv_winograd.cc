// See conv_winograd.h. Transformed weights of parameters are kept until their version changes.
#include "cpu/conv_winograd.h"

#include <string>

#include "cpu/winograd.h"
#include "cpu/winograd_bf16.h"

namespace langevin {

namespace {

size_t align64(size_t bytes) { return (bytes + 63) / 64 * 64; }

// Kernels of one plan share the transformed weights of a parameter; the first of them makes and keeps them. Where a kernel has none to keep
// (packed_bytes() is 0), it takes the weights as they are.
template <class Conv>
class WinogradKernel : public Kernel {
 public:
  WinogradKernel(const Instruction& in, const Conv& conv, const char* kind)
      : conv_(conv), kind_(kind), bias_(in.inputs.size() > 2), parameter_(in.input_is_parameter[1] && conv.packed_bytes() > 0) {
    if (!parameter_) return;
    const std::string form = std::string(" winograd ") + kind + (conv.turned ? " turned" : "");
    std::weak_ptr<PackedParameter>& known = (*in.parameters)[std::to_string(in.input_values[1]) + form];
    packed_ = known.lock();
    if (packed_) return;
    packed_ = std::make_shared<PackedParameter>();
    known = packed_;
    owner_ = true;
  }

  const char* kind() const override { return kind_; }
  size_t workspace() const override { return align64(conv_.workspace()) + (parameter_ ? 0 : conv_.packed_bytes()); }
  size_t persistent() const override { return owner_ ? conv_.packed_bytes() : 0; }

  void run(const KernelArgs& args) override {
    const float* bias = bias_ ? static_cast<const float*>(args.inputs[2]) : nullptr;
    conv_.run(args.inputs[0], weights(args), bias, args.outputs[0], args.workspace);
  }

 private:
  const void* weights(const KernelArgs& args) {
    const float* given = static_cast<const float*>(args.inputs[1]);
    if (conv_.packed_bytes() == 0) return given;
    if (!parameter_) {
      void* place = static_cast<char*>(args.workspace) + align64(conv_.workspace());
      conv_.pack(given, place);
      return place;
    }
    if (owner_ && (packed_->version != args.input_versions[1] || packed_->memory != args.persistent)) {
      conv_.pack(given, args.persistent);
      *packed_ = {args.input_versions[1], args.persistent};
    }
    return packed_->memory;
  }

  Conv conv_;
  const char* kind_;
  bool bias_, parameter_, owner_ = false;
  std::shared_ptr<PackedParameter> packed_;
};

}  // namespace

std::unique_ptr<Kernel> make_winograd_kernel(const Instruction& in, ConvDirection direction, const ConvGeometry& g, bool forced) {
  const Layout source = in.inputs[0].layout, result = in.outputs[0].layout;
  if (source == Layout::Blocked16Half && block_of(result) == 16) {
    WinogradBf16 conv;
    conv.half = is_half(result);
    if (conv.from(direction, g)) return std::make_unique<WinogradKernel<WinogradBf16>>(in, conv, "bf16");
  }
  if (source == Layout::Blocked16 && result == Layout::Blocked16) {
    Winograd conv;
    if (conv.from(direction, g) && (forced || conv.preferred())) return std::make_unique<WinogradKernel<Winograd>>(in, conv, "");
  }
  return nullptr;
}

}  // namespace langevin
