// Stride-1 convolutions from blocked channels to at most four plain ones: the gradient with respect to an image, and layers whose result
// is an image. oneDNN computes a whole padded block of channels for these: on one Zen 4 core it took 2 to 4 times as long, for 1 and for 3
// results, at 16 and at 64 source channels, 8x8 and 32x32 images.
#pragma once

#include "ops/geometry.h"

namespace langevin {

// result[n,r,y,x] = bias[r] + sum over s,i,j of weight[s,r,i,j] source[n,s,y + offset[0] + i,x + offset[1] + j], zero outside the source.
struct NarrowConv {
  static constexpr int kMost = 4;  // result channels

  int64_t n = 0, s = 0, sh = 0, sw = 0;  // source, blocked by `block` (8 or 16)
  int64_t r = 0, rh = 0, rw = 0;         // result, plain
  int64_t kh = 0, kw = 0;
  int64_t offset[2] = {0, 0};
  int block = 16;
  bool input_grad = false, bias = false;

  // True where the geometry is of this kind; then *narrow holds it.
  static bool from(ConvDirection direction, const ConvGeometry& g, Layout source, Layout result, NarrowConv* narrow);

  size_t packed_bytes() const { return static_cast<size_t>(s * r * kh * kw) * sizeof(float); }
  void pack(const float* weight, float* packed) const;  // from [O,C,kh,kw]
  void run(const float* source, const float* packed, const float* bias, float* result) const;
};

}  // namespace langevin
