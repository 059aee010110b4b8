// Checks of conv2d and its two adjoints: decodes the geometry and compares every shape with it.
#include "ops/check.h"
#include "ops/geometry.h"

namespace langevin {

namespace {

constexpr int64_t kLimit = int64_t{1} << 24;  // of any one kernel size, stride, dilation or padding: products stay far from overflow

// Length of the output along one axis, or PlanError where the window does not fit into the padded input.
int64_t output_length(const Instruction& in, int64_t length, int64_t pad, int64_t kernel, int64_t dilation, int64_t stride) {
  const int64_t room = length + pad - ((kernel - 1) * dilation + 1);
  if (room < 0) {
    plan_fail(in, "the window of " + std::to_string((kernel - 1) * dilation + 1) + " is longer than the padded input of " +
                      std::to_string(length + pad));
  }
  return room / stride + 1;
}

void read_attributes(const Instruction& in, ConvGeometry& g) {
  const auto stride = attr_ints(in, "stride", 2, 1, kLimit);
  const auto dilation = attr_ints(in, "dilation", 2, 1, kLimit);
  const auto pad = attr_ints(in, "padding", 4, 0, kLimit);
  for (int i = 0; i < 2; ++i) g.stride[i] = stride[i], g.dilation[i] = dilation[i];
  for (int i = 0; i < 4; ++i) g.pad[i] = pad[i];
  g.groups = attr_int(in, "groups", 1, kLimit);
}

// The names the messages use; x and y are operand or result according to the direction.
struct Operands {
  const TensorDesc *x, *y, *w;
  const char *x_name, *y_name, *w_name;
};

Operands operands_of(const Instruction& in, ConvDirection direction) {
  const TensorDesc *a = &in.inputs[0], *b = &in.inputs[1], *out = &in.outputs[0];
  switch (direction) {
    case ConvDirection::Forward: return {a, out, b, "input 0 (x)", "output", "input 1 (w)"};
    case ConvDirection::InputGrad: return {out, a, b, "output", "input 0 (dy)", "input 1 (w)"};
    case ConvDirection::WeightGrad: return {a, b, out, "input 0 (x)", "input 1 (dy)", "output"};
  }
  plan_fail(in, "internal: unknown direction");
}

}  // namespace

double ConvGeometry::flops() const {
  return 2.0 * static_cast<double>(n) * static_cast<double>(o) * static_cast<double>(oh * ow) * static_cast<double>(c / groups) *
         static_cast<double>(kh * kw);
}

ConvGeometry conv_geometry(const Instruction& in, ConvDirection direction) {
  const bool forward = direction == ConvDirection::Forward;
  expect_inputs(in, 2, forward ? 3 : 2);
  expect_outputs(in, 1);
  for (const TensorDesc& t : in.inputs) expect_dtype(in, t, DType::F32, "an input");
  expect_dtype(in, in.outputs[0], DType::F32, "output");
  const Operands t = operands_of(in, direction);
  expect_rank(in, *t.x, 4, t.x_name);
  expect_rank(in, *t.w, 4, t.w_name);
  expect_rank(in, *t.y, 4, t.y_name);

  ConvGeometry g;
  read_attributes(in, g);
  g.n = t.x->shape[0], g.c = t.x->shape[1], g.h = t.x->shape[2], g.w = t.x->shape[3];
  g.o = t.w->shape[0], g.kh = t.w->shape[2], g.kw = t.w->shape[3];
  if (g.kh < 1 || g.kw < 1 || g.kh > kLimit || g.kw > kLimit) {
    plan_fail(in, std::string(t.w_name) + " must have a kernel of 1 x 1 or more; got " + show_shape(t.w->shape));
  }
  if (g.c % g.groups != 0 || g.o % g.groups != 0) {
    plan_fail(in, "groups " + std::to_string(g.groups) + " must divide the channels " + std::to_string(g.c) + " and " + std::to_string(g.o));
  }
  expect_shape(in, *t.w, {g.o, g.c / g.groups, g.kh, g.kw}, t.w_name);
  g.oh = output_length(in, g.h, g.pad[0] + g.pad[2], g.kh, g.dilation[0], g.stride[0]);
  g.ow = output_length(in, g.w, g.pad[1] + g.pad[3], g.kw, g.dilation[1], g.stride[1]);
  expect_shape(in, *t.y, {g.n, g.o, g.oh, g.ow}, t.y_name);
  if (direction == ConvDirection::InputGrad) {
    const auto size = attr_ints(in, "inputSize", 2, 0, kLimit);
    expect_shape(in, *t.x, {g.n, g.c, size[0], size[1]}, "output (inputSize)");
  }
  if (direction == ConvDirection::WeightGrad) {
    const auto size = attr_ints(in, "kernelSize", 2, 1, kLimit);
    expect_shape(in, *t.w, {g.o, g.c / g.groups, size[0], size[1]}, "output (kernelSize)");
  }
  g.bias = in.inputs.size() == 3;
  if (g.bias) expect_shape(in, in.inputs[2], {g.o}, "input 2 (bias)");
  return g;
}

void check_conv2d(const Instruction& in) { conv_geometry(in, ConvDirection::Forward); }
void check_conv2d_input_grad(const Instruction& in) { conv_geometry(in, ConvDirection::InputGrad); }
void check_conv2d_weight_grad(const Instruction& in) { conv_geometry(in, ConvDirection::WeightGrad); }

}  // namespace langevin
