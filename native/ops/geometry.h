// What the attributes and shapes of the structured ops mean, decoded once and shared by checks, layouts and kernels of any device.
// Each function throws PlanError where the instruction is malformed (arity, dtypes, ranks, attributes, output shapes), so check_<name> is
// a call of it. Nothing here touches memory or layouts.
#pragma once

#include <array>
#include <vector>

#include "runtime/backend.h"

namespace langevin {

enum class ConvDirection : uint8_t { Forward, InputGrad, WeightGrad };

// y[n,o,p,q] = bias[o] + sum over c,i,j of w[o,c,i,j] x[n, g c.., p stride - pad + i dilation, ...]; the adjoints have the same geometry.
struct ConvGeometry {
  int64_t n = 0, c = 0, h = 0, w = 0;  // x
  int64_t o = 0, oh = 0, ow = 0;       // y
  int64_t kh = 0, kw = 0, groups = 1;
  int64_t stride[2] = {1, 1}, dilation[2] = {1, 1};
  int64_t pad[4] = {0, 0, 0, 0};  // top, left, bottom, right
  bool bias = false;

  bool empty() const { return n == 0 || c == 0 || h == 0 || w == 0 || o == 0 || oh == 0 || ow == 0; }
  double flops() const;  // multiply-adds times two, borders included
};
ConvGeometry conv_geometry(const Instruction& instruction, ConvDirection direction);

// c[b..., m, n] = sum over k of a[b..., m, k] b[b..., k, n]; `batch` is the broadcast of both batches, right-aligned.
struct MatmulGeometry {
  int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false, transpose_b = false;
  Shape batch, batch_a, batch_b;  // equal lengths; batch_a and batch_b hold 1 where they broadcast
};
MatmulGeometry matmul_geometry(const Instruction& instruction);

// A batch axis after merging: how far each operand moves (in matrices), 0 where it repeats.
struct BatchAxis {
  int64_t size, a, b;
};
// Axes that both operands walk (or repeat) alike become one; axes of size 1 vanish. Outermost first.
std::vector<BatchAxis> batch_axes(const MatmulGeometry& g);

// A shape seen as [outer, length, inner] around an axis.
struct AxisView {
  AxisView(const Shape& shape, int64_t axis);  // the axis may count from the end
  int64_t outer = 1, length = 1, inner = 1;
};
// Of input 0 around the attribute 'axis', else around its first.
AxisView axis_view(const Instruction& instruction);

// Windows over the last two axes of [N,C,H,W].
struct PoolGeometry {
  int64_t n = 0, c = 0, h = 0, w = 0, oh = 0, ow = 0;
  int64_t kernel[2] = {1, 1}, stride[2] = {1, 1}, pad[4] = {0, 0, 0, 0};
  bool count_include_pad = true;
};
enum class PoolOp : uint8_t { Average, AverageGrad, Max, MaxGrad, MaxSelect };
PoolGeometry pool_geometry(const Instruction& instruction, PoolOp op);

struct ResizeGeometry {
  int64_t n = 0, c = 0, h = 0, w = 0, oh = 0, ow = 0;  // from h x w to oh x ow (the gradient goes back)
  bool bilinear = false, align_corners = false;
};
ResizeGeometry resize_geometry(const Instruction& instruction, bool gradient);

std::vector<int64_t> transpose_perm(const Instruction& instruction);

struct SliceGeometry {
  std::vector<int64_t> start, stop, step;
};
SliceGeometry slice_geometry(const Instruction& instruction);

struct PadGeometry {
  std::vector<int64_t> low, high, interior;
  double value = 0;
};
PadGeometry pad_geometry(const Instruction& instruction);

int64_t concat_axis(const Instruction& instruction);

}  // namespace langevin
