// Checks, layouts and in-place rules of gather, scatter_add, scatter_rows, argmax, crop_flip, gaussian_rows and copy.
#include <algorithm>

#include "ops/check.h"
#include "ops/geometry.h"

namespace langevin {

namespace {

size_t axis_of(const Instruction& in, const TensorDesc& x) {
  const int64_t rank = static_cast<int64_t>(x.shape.size());
  if (rank == 0) plan_fail(in, "input 0 must have an axis; got a scalar");
  const int64_t axis = attr_int(in, "axis", -rank, rank - 1);
  return static_cast<size_t>(axis < 0 ? axis + rank : axis);
}

// x.shape[:axis] + indices.shape + x.shape[axis+1:]
Shape gathered_shape(const Shape& x, const Shape& indices, size_t axis) {
  Shape shape(x.begin(), x.begin() + static_cast<long>(axis));
  shape.insert(shape.end(), indices.begin(), indices.end());
  shape.insert(shape.end(), x.begin() + static_cast<long>(axis) + 1, x.end());
  return shape;
}

void expect_valid_index(const Instruction& in, const TensorDesc& x, size_t axis, const TensorDesc& indices) {
  if (x.shape[axis] == 0 && indices.size() > 0) {
    plan_fail(in, "axis " + std::to_string(axis) + " of " + show_shape(x.shape) + " is empty, so no index is valid");
  }
}

}  // namespace

AxisView::AxisView(const Shape& shape, int64_t axis) {
  if (axis < 0) axis += static_cast<int64_t>(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) {
    int64_t& d = static_cast<int64_t>(i) < axis ? outer : static_cast<int64_t>(i) == axis ? length : inner;
    d *= shape[i];
  }
}

AxisView axis_view(const Instruction& in) {
  const int64_t rank = static_cast<int64_t>(in.inputs[0].shape.size());
  return AxisView(in.inputs[0].shape, attr_int_or(in, "axis", -rank, rank - 1, 0));
}

void check_gather(const Instruction& in) {
  expect_inputs(in, 2);
  expect_outputs(in, 1);
  const size_t axis = axis_of(in, in.inputs[0]);
  expect_dtype(in, in.inputs[1], DType::I32, "input 1 (indices)");
  expect_valid_index(in, in.inputs[0], axis, in.inputs[1]);
  expect_dtype(in, in.outputs[0], in.inputs[0].dtype, "output 0");
  expect_shape(in, in.outputs[0], gathered_shape(in.inputs[0].shape, in.inputs[1].shape, axis), "output 0");
}

void check_scatter_add(const Instruction& in) {
  expect_inputs(in, 3);
  expect_outputs(in, 1);
  const TensorDesc& x = in.inputs[0];
  const size_t axis = axis_of(in, x);
  expect_dtype(in, x, {DType::F32, DType::I32}, "input 0 (x)");
  expect_dtype(in, in.inputs[1], DType::I32, "input 1 (indices)");
  expect_valid_index(in, x, axis, in.inputs[1]);
  expect_dtype(in, in.inputs[2], x.dtype, "input 2 (updates)");
  expect_shape(in, in.inputs[2], gathered_shape(x.shape, in.inputs[1].shape, axis), "input 2 (updates)");
  expect_dtype(in, in.outputs[0], x.dtype, "output 0");
  expect_shape(in, in.outputs[0], x.shape, "output 0");
}

void check_scatter_rows(const Instruction& in) {
  expect_inputs(in, 3);
  expect_outputs(in, 1);
  const TensorDesc& x = in.inputs[0];
  if (x.shape.empty()) plan_fail(in, "input 0 (x) must have rows; got a scalar");
  expect_dtype(in, in.inputs[1], DType::I32, "input 1 (indices)");
  expect_rank(in, in.inputs[1], 1, "input 1 (indices)");
  expect_valid_index(in, x, 0, in.inputs[1]);
  Shape rows = x.shape;
  rows[0] = in.inputs[1].shape[0];
  expect_dtype(in, in.inputs[2], x.dtype, "input 2 (rows)");
  expect_shape(in, in.inputs[2], rows, "input 2 (rows)");
  expect_dtype(in, in.outputs[0], x.dtype, "output 0");
  expect_shape(in, in.outputs[0], x.shape, "output 0");
}

void check_argmax(const Instruction& in) {
  expect_inputs(in, 1);
  expect_outputs(in, 1);
  const TensorDesc& x = in.inputs[0];
  const size_t axis = axis_of(in, x);
  expect_dtype(in, x, {DType::F32, DType::I32}, "input 0 (x)");
  if (x.shape[axis] == 0) plan_fail(in, "axis " + std::to_string(axis) + " of " + show_shape(x.shape) + " is empty");
  expect_dtype(in, in.outputs[0], DType::I32, "output 0");
  expect_shape(in, in.outputs[0], gathered_shape(x.shape, {}, axis), "output 0");
}

void check_crop_flip(const Instruction& in) {
  expect_inputs(in, 3);
  expect_outputs(in, 1);
  const TensorDesc& x = in.inputs[0];
  expect_dtype(in, x, {DType::F32, DType::U8}, "input 0 (x)");
  expect_rank(in, x, 4, "input 0 (x)");
  expect_dtype(in, in.inputs[1], DType::I32, "input 1 (offsets)");
  expect_shape(in, in.inputs[1], {x.shape[0], 2}, "input 1 (offsets)");
  expect_dtype(in, in.inputs[2], DType::Bool, "input 2 (flip)");
  expect_shape(in, in.inputs[2], {x.shape[0]}, "input 2 (flip)");
  expect_dtype(in, in.outputs[0], x.dtype, "output 0");
  expect_shape(in, in.outputs[0], x.shape, "output 0");
  if (x.shape[3] > INT32_MAX) plan_fail(in, "images may be at most 2^31 wide; got " + show_shape(x.shape));
  attr_int(in, "pad", 0, std::max<int64_t>(0, std::min(x.shape[2], x.shape[3]) - 1));  // reflection needs pad < H, W
}

void check_gaussian_rows(const Instruction& in) {
  expect_inputs(in, 5);
  expect_outputs(in, 1);
  const TensorDesc &mean = in.inputs[2], &z = in.inputs[4];
  expect_rank(in, mean, 2, "input 2 (mean)");
  expect_rank(in, z, 2, "input 4 (z)");
  expect_dtype(in, in.inputs[0], DType::Bool, "input 0 (mask)");
  expect_shape(in, in.inputs[0], {z.shape[0]}, "input 0 (mask)");
  expect_dtype(in, in.inputs[1], DType::I32, "input 1 (classes)");
  expect_shape(in, in.inputs[1], {z.shape[0]}, "input 1 (classes)");
  expect_dtype(in, mean, DType::F32, "input 2 (mean)");
  expect_dtype(in, in.inputs[3], DType::F32, "input 3 (factor)");
  expect_shape(in, in.inputs[3], {mean.shape[0], mean.shape[1], z.shape[1]}, "input 3 (factor)");
  expect_dtype(in, z, DType::F32, "input 4 (z)");
  if (z.shape[0] > 0 && mean.shape[0] == 0) plan_fail(in, "needs at least one class; got mean " + show_shape(mean.shape));
  expect_dtype(in, in.outputs[0], DType::F32, "output 0");
  expect_shape(in, in.outputs[0], {z.shape[0], mean.shape[1]}, "output 0");
}

void check_copy(const Instruction& in) {
  expect_inputs(in, 1);
  expect_outputs(in, 1);
  expect_dtype(in, in.outputs[0], in.inputs[0].dtype, "output 0");
  expect_shape(in, in.outputs[0], in.inputs[0].shape, "output 0");
}

void layout_gather(Instruction& in) { layout_plain(in); }
void layout_scatter_add(Instruction& in) { layout_plain(in); }
void layout_scatter_rows(Instruction& in) { layout_plain(in); }
void layout_argmax(Instruction& in) { layout_plain(in); }
void layout_crop_flip(Instruction& in) { layout_plain(in); }
void layout_gaussian_rows(Instruction& in) { layout_plain(in); }
void layout_copy(Instruction& in) { in.outputs[0].layout = in.inputs[0].layout; }  // as it comes

bool in_place_gather(const Instruction&, int, int) { return false; }
bool in_place_scatter_add(const Instruction&, int input, int) { return input == 0; }
bool in_place_scatter_rows(const Instruction&, int input, int) { return input == 0; }
bool in_place_argmax(const Instruction&, int, int) { return false; }
bool in_place_crop_flip(const Instruction&, int, int) { return false; }
bool in_place_gaussian_rows(const Instruction&, int, int) { return false; }
bool in_place_copy(const Instruction&, int, int) { return true; }

}  // namespace langevin
