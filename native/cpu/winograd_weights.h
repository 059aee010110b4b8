// Weight gradients of 3x3 convolutions of stride 1 and 2 by Winograd's algorithm (Lavin & Gray 2015, arXiv:1509.09308, with the gradient of
// the output in the place of the filter), in float32 whatever the operands are stored in.
//
// Of one axis, a tile is 4 pixels of the output's gradient. Stride 1: 3 taps from 6 products for 12, at the points 0, ±3/4, ±3/2, infinity; in
// the plane 36 for 144. Stride 2: source rows of even number meet taps 0 and 2 (5 products for 8, at ±1/2, ±3/2, infinity), those of odd number
// tap 1 (4 for 4); in the plane 81 for 144.
//
// Error against exact sums of normal numbers, as a share of their root mean square, 16 tiles / 256 tiles (numpy, one sum after another):
//   stride 1: rms 6.1e-7 / 1.6e-6, largest 2.7e-6 / 6.3e-6; points 0, ±1, ±2: 1.0e-6 / 3.3e-6 and 6.0e-6 / 2.9e-5
//   stride 2: rms 3.6e-7 / 1.0e-6, largest 1.3e-6 / 4.5e-6
//   directly: rms 2.9e-7 / 1.2e-6, largest 1.3e-6 / 6.0e-6
#pragma once

#include "ops/geometry.h"

namespace langevin {

struct WinogradWeights {
  int64_t n = 0, c = 0, h = 0, w = 0;  // source, in blocks of 16 channels
  int64_t o = 0, oh = 0, ow = 0;       // the output's gradient, the same
  int64_t pad[2] = {0, 0};             // top, left
  int64_t stride = 1;                  // both ways
  bool half_source = false, half_gradient = false;
  int threads = 1;

  // True where the processor and the geometry allow it; then *conv holds it.
  static bool from(const ConvGeometry& g, bool half_source, bool half_gradient, WinogradWeights* conv);
  // Is it large enough, and are its tiles full enough, to gain?
  bool preferred() const;

  size_t workspace() const;
  // result: [o, c, 3, 3].
  void run(const void* source, const void* gradient, float* result, void* workspace) const;

 private:
  struct Places;  // of the parts of the workspace

  int64_t slots() const { return stride == 1 ? 36 : 81; }
  int64_t tile_rows() const { return (oh + 3) / 4; }
  int64_t tile_columns() const { return (ow + 3) / 4; }
  int64_t tiles() const { return n * tile_rows() * tile_columns(); }
  int64_t round() const;  // tiles transformed at a time
  bool apart() const;     // each thread has tiles of its own and sums all channels over them, else they share tiles and divide channels
  int64_t panels() const { return (o / 16 + 3) / 4; }
  int64_t panel_block(int64_t panel) const { return o / 16 * panel / panels(); }  // its first block of 16 channels

  Places places(int thread, void* workspace) const;
  void transform(const void* source, const void* gradient, int64_t origin, int64_t first, int64_t end, int64_t all, const Places& at) const;
  void products(const Places& at, int64_t block, int64_t panel, int64_t count, float* sums, bool add) const;
  void run_apart(int thread, const void* source, const void* gradient, float* result, void* workspace) const;
  void run_shared(int thread, const void* source, const void* gradient, float* result, void* workspace) const;
};

}  // namespace langevin
