// Checks of the ops that only move elements: transpose, slice, pad, concat. Any dtype, rank 8 at most.
#include <cmath>

#include "ops/check.h"
#include "ops/geometry.h"

namespace langevin {

namespace {

constexpr size_t kMaxRank = 8;
constexpr int64_t kLimit = int64_t{1} << 40;

void expect_one_to_one(const Instruction& in) {
  expect_inputs(in, 1);
  expect_outputs(in, 1);
  expect_dtype(in, in.outputs[0], in.inputs[0].dtype, "output");
  if (in.inputs[0].shape.size() > kMaxRank) plan_fail(in, "takes tensors of rank 8 at most; got " + to_string(in.inputs[0]));
}

}  // namespace

std::vector<int64_t> transpose_perm(const Instruction& in) {
  expect_one_to_one(in);
  const Shape& x = in.inputs[0].shape;
  const int64_t rank = static_cast<int64_t>(x.size());
  auto perm = attr_ints(in, "perm", static_cast<int>(rank), 0, rank - 1);
  std::vector<bool> seen(x.size(), false);
  Shape out;
  for (int64_t axis : perm) {
    if (seen[static_cast<size_t>(axis)]) plan_fail(in, "attribute 'perm' names axis " + std::to_string(axis) + " twice");
    seen[static_cast<size_t>(axis)] = true;
    out.push_back(x[static_cast<size_t>(axis)]);
  }
  expect_shape(in, in.outputs[0], out, "output");
  return perm;
}

SliceGeometry slice_geometry(const Instruction& in) {
  expect_one_to_one(in);
  const Shape& x = in.inputs[0].shape;
  const int rank = static_cast<int>(x.size());
  SliceGeometry g{attr_ints(in, "start", rank, 0, kLimit), attr_ints(in, "stop", rank, 0, kLimit), attr_ints(in, "step", rank, 1, kLimit)};
  Shape out;
  for (size_t i = 0; i < x.size(); ++i) {
    if (g.start[i] > g.stop[i] || g.stop[i] > x[i]) {
      plan_fail(in, "needs start <= stop <= size on axis " + std::to_string(i) + "; got " + std::to_string(g.start[i]) + ".." +
                        std::to_string(g.stop[i]) + " of " + show_shape(x));
    }
    out.push_back((g.stop[i] - g.start[i] + g.step[i] - 1) / g.step[i]);
  }
  expect_shape(in, in.outputs[0], out, "output");
  return g;
}

PadGeometry pad_geometry(const Instruction& in) {
  expect_one_to_one(in);
  const Shape& x = in.inputs[0].shape;
  const int rank = static_cast<int>(x.size());
  PadGeometry g{attr_ints(in, "low", rank, 0, kLimit), attr_ints(in, "high", rank, 0, kLimit), {}, attr_number_or(in, "value", 0)};
  g.interior = has_attr(in, "interior") ? attr_ints(in, "interior", rank, 0, int64_t{1} << 20) : std::vector<int64_t>(x.size(), 0);
  const DType dtype = in.inputs[0].dtype;
  const double most = dtype == DType::Bool ? 1 : dtype == DType::U8 ? 255 : 2147483647.0;
  const double least = dtype == DType::I32 ? -2147483648.0 : 0;
  if (dtype != DType::F32 && (g.value != std::floor(g.value) || g.value < least || g.value > most)) {
    plan_fail(in, "attribute 'value' must fit " + std::string(show_dtype(dtype)) + "; got " + std::to_string(g.value));
  }
  Shape out;
  for (size_t i = 0; i < x.size(); ++i) {
    const int64_t spread = x[i] == 0 ? 0 : x[i] + (x[i] - 1) * g.interior[i];
    out.push_back(g.low[i] + spread + g.high[i]);
  }
  expect_shape(in, in.outputs[0], out, "output");
  return g;
}

int64_t concat_axis(const Instruction& in) {
  expect_inputs(in, 1, 4096);
  expect_outputs(in, 1);
  const TensorDesc& first = in.inputs[0];
  const int64_t rank = static_cast<int64_t>(first.shape.size());
  if (rank < 1 || rank > static_cast<int64_t>(kMaxRank)) plan_fail(in, "takes tensors of rank 1 to 8; got " + to_string(first));
  const int64_t axis = attr_int(in, "axis", 0, rank - 1);
  Shape out = first.shape;
  out[static_cast<size_t>(axis)] = 0;
  for (const TensorDesc& t : in.inputs) {
    expect_dtype(in, t, first.dtype, "an input");
    Shape same = t.shape;
    if (static_cast<int64_t>(same.size()) != rank) plan_fail(in, "inputs must have one rank; got " + to_string(first) + " and " + to_string(t));
    const int64_t length = same[static_cast<size_t>(axis)];
    same[static_cast<size_t>(axis)] = first.shape[static_cast<size_t>(axis)];
    if (same != first.shape) plan_fail(in, "inputs must agree but for axis " + std::to_string(axis) + "; got " + to_string(first) + " and " + to_string(t));
    out[static_cast<size_t>(axis)] += length;
  }
  expect_dtype(in, in.outputs[0], first.dtype, "output");
  expect_shape(in, in.outputs[0], out, "output");
  return axis;
}

void check_transpose(const Instruction& in) { transpose_perm(in); }
void check_slice(const Instruction& in) { slice_geometry(in); }
void check_pad(const Instruction& in) { pad_geometry(in); }
void check_concat(const Instruction& in) { concat_axis(in); }

}  // namespace langevin
