// What the Winograd kernels of both precisions share: the sizes of a 3x3 convolution of stride 1, or of its input gradient, which is one of
// the turned weights. Activations lie in blocks of 16 channels. No arithmetic here.
#pragma once

#include "ops/geometry.h"

namespace langevin {

struct WinogradShape {
  int64_t n = 0, c = 0, h = 0, w = 0;  // source
  int64_t o = 0, oh = 0, ow = 0;       // result
  int64_t pad[2] = {0, 0};             // top, left: result row y reads source rows y - pad[0] .. y - pad[0] + 2
  bool turned = false;                 // an input gradient: weights [c,o,3,3] turned round, else [o,c,3,3]
  int threads = 1;

  // False where the geometry is not of this kind or channels do not fill blocks.
  bool from(ConvDirection direction, const ConvGeometry& g);

  // Tiles of side x side pixels of the result.
  int64_t tiles(int64_t side) const { return n * ((oh + side - 1) / side) * ((ow + side - 1) / side); }
  // Taps of result channel r and source channel s.
  const float* taps(const float* weights, int64_t r, int64_t s) const { return weights + (turned ? s * o + r : r * c + s) * 9; }
};

}  // namespace langevin
