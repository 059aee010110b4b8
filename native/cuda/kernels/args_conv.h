// What the kernels of conv.cu are called with; shared by host and device. Plain data.
#pragma once

#include <cstdint>

namespace langevin {

// Weights between [O, I, taps] in float32 and [O, taps, I], which may be bfloat16.
struct ConvWeightsArgs {
  const void* from;
  void* to;
  int64_t inner, taps, count;
  int32_t last_half;  // is the one with the channels last bfloat16?
};

// Images [N, H, W, C] into others of another height and width: `to` at (y, x) is `from` at (y - top, x - left), zero outside of it, plus bias[c].
struct ConvImageArgs {
  const void* from;
  void* to;
  const float* bias;  // or null
  int64_t c, from_h, from_w, to_h, to_w, top, left;
  int64_t count;  // of `to`
  int32_t from_half, to_half, wide;  // wide: indices need 64 bits
};

// A convolution or an adjoint of it (ops/geometry.h has the meaning). Images [N, H, W, C], weights and their gradient [O, I, kh, kw].
struct ConvArgs {
  const void* first;   // x; for the input gradient dy
  const void* second;  // weights (float32); for the weight gradient dy
  const float* bias;   // or null
  void* result;
  int64_t n, c, h, w, o, oh, ow, kh, kw, groups;
  int64_t stride[2], dilation[2], top, left;
  int64_t count;  // of the result
  int32_t first_half, second_half, result_half;
};

}  // namespace langevin
