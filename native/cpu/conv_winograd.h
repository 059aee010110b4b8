// Our own Winograd kernels as kernels of convolutions (conv.cc asks for one first).
#pragma once

#include <memory>

#include "ops/geometry.h"

namespace langevin {

// Empty where there is none for these layouts and this geometry, or, unless it is to be `forced`, oneDNN is as fast.
std::unique_ptr<Kernel> make_winograd_kernel(const Instruction& in, ConvDirection direction, const ConvGeometry& g, bool forced);

}  // namespace langevin
