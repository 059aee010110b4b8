// Convolution and its adjoints as plain loops over row-major tensors: for geometries that oneDNN has no good code for (among them empty
// ones, which need their zeros). Right for every geometry; not fast.
#pragma once

#include "ops/geometry.h"

namespace langevin {

void conv_direct(const ConvGeometry& g, const float* x, const float* w, const float* bias, float* y);
void conv_direct_input_grad(const ConvGeometry& g, const float* dy, const float* w, float* dx);
void conv_direct_weight_grad(const ConvGeometry& g, const float* x, const float* dy, float* dw);

}  // namespace langevin
