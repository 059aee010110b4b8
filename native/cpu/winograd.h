// 3x3 convolutions of stride 1 and their input gradients in float32 by Winograd's F(4x4, 3x3) (Lavin & Gray 2015, arXiv:1509.09308): 36
// multiplications for 144. Its points are 0, ±5/8, ±3/2 and infinity; of sixteen choices tried, none of short binary fractions was better.
// Errors forward, of normal numbers (rms and greatest, in units of the exact result's rms; scripts/winograd-error.mjs), ours and oneDNN's:
// 64 channels at 8x8 8.1e-7, 6.8e-6 and 8.2e-7, 5.5e-6; 128: 1.1e-6, 7.2e-6 and 1.1e-6, 6.9e-6; 640: 7.9e-7, 5.8e-6 and 1.3e-6, 8.6e-6.
// The direct algorithm has 2.2e-7 and 1.1e-6. Summed in one chain 640 channels would give 2.4e-6, so no more than 128 are.
#pragma once

#include "cpu/winograd_shape.h"

namespace langevin {

struct Winograd : WinogradShape {
  static constexpr int64_t kPositions = 36, kTile = 4;

  // False where the geometry is not of this kind or the processor has not AVX-512.
  bool from(ConvDirection direction, const ConvGeometry& g);
  bool preferred() const;  // is it faster than oneDNN? A fixed rule

  // Transformed weights, where they are worth keeping; 0: run() transforms pieces of the weights on the way, because all of them would have
  // to come from main memory again, at four times their size.
  size_t packed_bytes() const;
  void pack(const float* weights, void* packed) const;

  size_t workspace() const;
  // `weights`: packed, or as they are where none are packed. `bias` may be null.
  void run(const void* source, const void* weights, const float* bias, void* result, void* workspace) const;

 private:
  int64_t tile_rows() const { return (oh + kTile - 1) / kTile; }
  int64_t tile_columns() const { return (ow + kTile - 1) / kTile; }
  int64_t tiles() const { return WinogradShape::tiles(kTile); }
  int64_t limit() const;  // most tiles transformed at a time

  void transform(const float* source, int64_t first, int64_t end, float* v, int64_t tile, int64_t block_step, int64_t position) const;
  void untransform(const float* m, int64_t channel, int64_t width, int64_t position, int64_t first, int64_t count, const float* bias, float* result) const;
  void run_apart(int thread, const float* source, const float* packed, const float* bias, float* result, float* workspace) const;
  void run_shared(int thread, const float* source, const float* weights, const float* bias, float* result, float* workspace) const;
};

}  // namespace langevin
