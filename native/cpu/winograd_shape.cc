// See winograd_shape.h.
#include "cpu/winograd_shape.h"

#include <omp.h>

#include <algorithm>

namespace langevin {

bool WinogradShape::from(ConvDirection direction, const ConvGeometry& g) {
  if (direction == ConvDirection::WeightGrad || g.kh != 3 || g.kw != 3 || g.groups != 1 || g.empty()) return false;
  if (g.stride[0] != 1 || g.stride[1] != 1 || g.dilation[0] != 1 || g.dilation[1] != 1 || g.c % 16 != 0 || g.o % 16 != 0) return false;
  n = g.n, turned = direction == ConvDirection::InputGrad, threads = std::max(1, omp_get_max_threads());
  if (turned) {
    c = g.o, h = g.oh, w = g.ow, o = g.c, oh = g.h, ow = g.w;
    pad[0] = 2 - g.pad[0], pad[1] = 2 - g.pad[1];
  } else {
    c = g.c, h = g.h, w = g.w, o = g.o, oh = g.oh, ow = g.ow;
    pad[0] = g.pad[0], pad[1] = g.pad[1];
  }
  return true;
}

}  // namespace langevin
