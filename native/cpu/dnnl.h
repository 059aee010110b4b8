// The one place that names oneDNN: primitives with their memory descriptions and bound arguments, behind a handful of functions.
// Written for the API of versions 2 and 3 (dnnl.cc holds what differs). Algorithms are chosen by the callers, not here.
#pragma once

#include <array>
#include <cstdint>
#include <dnnl.hpp>
#include <string>
#include <vector>

#include "ops/geometry.h"
#include "runtime/tensor.h"

namespace langevin {

// Channel block of the machine's layout: 16 with AVX-512, otherwise 8 (AVX2, SSE4.1). Follows ONEDNN_MAX_CPU_ISA.
int machine_block();
Layout machine_layout();  // Blocked16 or Blocked8

using DnnlDesc = dnnl::memory::desc;

enum class DnnlFormat : uint8_t { Any, Plain, Blocked8, Blocked16 };
inline DnnlFormat dnnl_format(Layout l) {
  return block_of(l) == 16 ? DnnlFormat::Blocked16 : block_of(l) == 8 ? DnnlFormat::Blocked8 : DnnlFormat::Plain;
}

// Are there primitives of bfloat16 with the processor's own instructions? Follows ONEDNN_MAX_CPU_ISA.
bool dnnl_has_bf16();

// An activation [N,C,H,W], float32 or bfloat16; a float32 weight [O,C/groups,kh,kw], which with groups > 1 oneDNN wants as [g,O/g,C/g,kh,kw] (same memory).
DnnlDesc dnnl_activation(int64_t n, int64_t c, int64_t h, int64_t w, DnnlFormat format, bool half);
DnnlDesc dnnl_weights(const ConvGeometry& g, DnnlFormat format);
DnnlDesc dnnl_strided(const Shape& shape, const Shape& strides);  // float32, strides in elements

// The operands of a primitive. For the two gradients of a convolution Source, Weights and Destination are x-, w- and y-shaped whichever is the
// result; a reorder goes from Source to Destination; a product is Source x Weights.
enum class DnnlRole : uint8_t { Source, Weights, Bias, Destination, Scratchpad };

// Which operands of a convolution are bfloat16; a bias is float32 always.
struct DnnlHalf {
  bool x = false, w = false, y = false;
};

// A primitive. Empty where oneDNN has none for the request. run() passes bound memory; oneDNN itself may allocate a little, we do not.
class DnnlOp {
 public:
  static DnnlOp convolution(ConvDirection direction, const ConvGeometry& g, DnnlFormat x, DnnlFormat y, bool winograd, DnnlHalf half = {});
  static DnnlOp reorder(const DnnlDesc& from, const DnnlDesc& to);
  static DnnlOp matmul(const DnnlDesc& a, const DnnlDesc& b, const DnnlDesc& c);

  explicit operator bool() const { return static_cast<bool>(primitive_); }
  const std::string& implementation() const { return implementation_; }
  bool fast() const;  // generated code made for the purpose, neither a reference loop nor im2col
  bool reference() const;

  const DnnlDesc& desc(DnnlRole role) const;
  size_t scratchpad() const;  // bytes to bind to Scratchpad
  void bind(DnnlRole role, const void* memory);
  void run();  // every role must be bound

 private:
  struct Argument {
    DnnlRole role;
    DnnlDesc desc;
    dnnl::memory memory;
    const void* bound;
  };

  void add(DnnlRole role, int index, const DnnlDesc& desc);
  Argument* find(DnnlRole role);
  template <class PrimitiveDesc>
  void describe(const PrimitiveDesc& pd);

  dnnl::primitive primitive_;
  std::string implementation_;
  std::vector<Argument> arguments_;
  std::vector<dnnl_exec_arg_t> execution_;
};

// C = op(A) op(B), row-major float32, C of m x n; lda, ldb, ldc are row lengths of the arrays as stored.
void dnnl_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
               int64_t ldc);

}  // namespace langevin
