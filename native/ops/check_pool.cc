// Checks of the pooling and resizing ops.
#include "ops/check.h"
#include "ops/geometry.h"

namespace langevin {

namespace {

constexpr int64_t kLimit = int64_t{1} << 24;

int64_t output_length(const Instruction& in, int64_t length, int64_t pad, int64_t kernel, int64_t stride) {
  const int64_t room = length + pad - kernel;
  if (room < 0) plan_fail(in, "the window of " + std::to_string(kernel) + " is longer than the padded input of " + std::to_string(length + pad));
  return room / stride + 1;
}

void expect_floats(const Instruction& in, size_t inputs) {
  expect_inputs(in, inputs);
  expect_outputs(in, 1);
  for (const TensorDesc& t : in.inputs) {
    expect_dtype(in, t, DType::F32, "an input");
    expect_rank(in, t, 4, "an input");
  }
  expect_dtype(in, in.outputs[0], DType::F32, "output");
  expect_rank(in, in.outputs[0], 4, "output");
}

}  // namespace

PoolGeometry pool_geometry(const Instruction& in, PoolOp op) {
  const bool two = op == PoolOp::MaxGrad || op == PoolOp::MaxSelect;
  expect_floats(in, two ? 2 : 1);
  const Shape& x = op == PoolOp::AverageGrad ? in.outputs[0].shape : in.inputs[0].shape;
  PoolGeometry g;
  const auto kernel = attr_ints(in, "kernel", 2, 1, kLimit);
  const auto stride = attr_ints(in, "stride", 2, 1, kLimit);
  const auto pad = attr_ints(in, "padding", 4, 0, kLimit);
  for (int i = 0; i < 2; ++i) g.kernel[i] = kernel[i], g.stride[i] = stride[i];
  for (int i = 0; i < 4; ++i) g.pad[i] = pad[i];
  if (op == PoolOp::Average || op == PoolOp::AverageGrad) g.count_include_pad = attr_bool(in, "countIncludePad");
  if (op == PoolOp::AverageGrad) {
    const auto size = attr_ints(in, "inputSize", 2, 0, kLimit);
    if (x[2] != size[0] || x[3] != size[1]) plan_fail(in, "output must have the size of attribute 'inputSize'; got " + show_shape(x));
  }
  g.n = x[0], g.c = x[1], g.h = x[2], g.w = x[3];
  g.oh = output_length(in, g.h, g.pad[0] + g.pad[2], g.kernel[0], g.stride[0]);
  g.ow = output_length(in, g.w, g.pad[1] + g.pad[3], g.kernel[1], g.stride[1]);
  if (g.w > 0 && g.h > INT32_MAX / g.w) plan_fail(in, "image planes must have fewer than 2^31 elements; got " + show_shape(x));
  const Shape y = {g.n, g.c, g.oh, g.ow};
  switch (op) {
    case PoolOp::Average:
    case PoolOp::Max: expect_shape(in, in.outputs[0], y, "output"); break;
    case PoolOp::AverageGrad: expect_shape(in, in.inputs[0], y, "input 0 (dy)"); break;
    case PoolOp::MaxGrad:
      expect_shape(in, in.inputs[1], y, "input 1 (dy)");
      expect_shape(in, in.outputs[0], x, "output");
      break;
    case PoolOp::MaxSelect:
      expect_shape(in, in.inputs[1], x, "input 1 (t)");
      expect_shape(in, in.outputs[0], y, "output");
      break;
  }
  return g;
}

ResizeGeometry resize_geometry(const Instruction& in, bool gradient) {
  expect_floats(in, 1);
  const Shape& x = gradient ? in.outputs[0].shape : in.inputs[0].shape;
  const Shape& y = gradient ? in.inputs[0].shape : in.outputs[0].shape;
  ResizeGeometry g;
  const std::string mode = attr_string(in, "mode");
  if (mode != "nearest" && mode != "bilinear") plan_fail(in, "attribute 'mode' must be 'nearest' or 'bilinear'; got '" + mode + "'");
  g.bilinear = mode == "bilinear";
  g.align_corners = attr_bool(in, "alignCorners");
  if (g.align_corners && !g.bilinear) plan_fail(in, "attribute 'alignCorners' goes with mode 'bilinear' only");
  const char* size_name = gradient ? "inputSize" : "size";
  const auto size = attr_ints(in, size_name, 2, 0, kLimit);
  const Shape& sized = gradient ? x : y;
  if (sized[2] != size[0] || sized[3] != size[1]) {
    plan_fail(in, std::string("output must have the size of attribute '") + size_name + "'; got " + show_shape(sized));
  }
  g.n = x[0], g.c = x[1], g.h = x[2], g.w = x[3], g.oh = y[2], g.ow = y[3];
  if (g.h > kLimit || g.w > kLimit || g.oh > kLimit || g.ow > kLimit) plan_fail(in, "images must be at most 2^24 on a side");
  if (y[0] != x[0] || y[1] != x[1]) plan_fail(in, "must keep batch and channels; got " + show_shape(x) + " and " + show_shape(y));
  if ((g.h == 0 || g.w == 0) && g.oh != 0 && g.ow != 0) plan_fail(in, "cannot resize the empty image " + show_shape(x));
  return g;
}

void check_avgpool2d(const Instruction& in) { pool_geometry(in, PoolOp::Average); }
void check_avgpool2d_grad(const Instruction& in) { pool_geometry(in, PoolOp::AverageGrad); }
void check_maxpool2d(const Instruction& in) { pool_geometry(in, PoolOp::Max); }
void check_maxpool2d_grad(const Instruction& in) { pool_geometry(in, PoolOp::MaxGrad); }
void check_maxpool2d_select(const Instruction& in) { pool_geometry(in, PoolOp::MaxSelect); }
void check_resize2d(const Instruction& in) { resize_geometry(in, false); }
void check_resize2d_grad(const Instruction& in) { resize_geometry(in, true); }

}  // namespace langevin
