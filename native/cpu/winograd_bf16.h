// 3x3 convolutions of stride 1 and their input gradients by Winograd's F(2x2, 3x3) (Lavin & Gray 2015, arXiv:1509.09308) with products of
// bfloat16 and float32 sums: 16 multiplications for 36. Of float32 data rounded to bfloat16 the result is off by 0.4% (root mean square; a
// direct sum by 0.2%); F(4x4) at its best points, 0, ±3/4, ±3/2, would be off by 1.2%, which is why it is not used.
#pragma once

#include "cpu/winograd_shape.h"

namespace langevin {

struct WinogradBf16 : WinogradShape {
  static constexpr int64_t kPositions = 16;

  bool half = false;  // of the result; else float32

  // False where the geometry is not of this kind or too small to gain.
  bool from(ConvDirection direction, const ConvGeometry& g);

  size_t packed_bytes() const { return static_cast<size_t>(kPositions * c * o) * 2; }
  void pack(const float* weights, void* packed) const;

  size_t workspace() const;
  // The source is bfloat16; `bias` may be null.
  void run(const void* source, const void* packed, const float* bias, void* result, void* workspace) const;

 private:
  int64_t tile_rows() const { return (oh + 1) / 2; }
  int64_t tile_columns() const { return (ow + 1) / 2; }
  int64_t tiles() const { return WinogradShape::tiles(2); }
  bool shared() const;
  int64_t round() const;  // tiles transformed before their products, where threads share them

  void transform(const void* source, int64_t first, int64_t end, int64_t stride, void* v) const;
  void products(const void* v, int64_t stride, const void* packed, int64_t panel, int64_t count, float* m) const;
  void untransform(const float* m, int64_t panel, int64_t first, int64_t count, const float* bias, void* result) const;
  void run_apart(int thread, const void* source, const void* packed, const float* bias, void* result, char* workspace) const;
  void run_shared(int thread, const void* source, const void* packed, const float* bias, void* result, char* workspace) const;
};

}  // namespace langevin
