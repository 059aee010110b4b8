// Checks of normal, uniform, random_int and shuffle_index.
#include "ops/check.h"

namespace langevin {

namespace {

constexpr int64_t kMostElements = int64_t{1} << 34;  // a block counter has 32 bits and serves four elements

void check_key(const Instruction& in) {
  expect_inputs(in, 1);
  expect_outputs(in, 1);
  expect_dtype(in, in.inputs[0], DType::I32, "input 0 (key)");
  expect_shape(in, in.inputs[0], {4}, "input 0 (key)");
  attr_int_or(in, "stream", 0, UINT32_MAX, 0);
}

void check_draw(const Instruction& in, DType dtype) {
  check_key(in);
  const TensorDesc& out = in.outputs[0];
  expect_dtype(in, out, dtype, "output 0");
  if (has_attr(in, "shape")) {
    const Shape shape = attr_ints(in, "shape", -1, 0, INT64_C(1) << 40);
    if (shape != out.shape) {
      plan_fail(in, "output 0 must have the shape of attribute 'shape', " + show_shape(shape) + "; got " + show_shape(out.shape));
    }
  }
  if (out.size() > kMostElements) plan_fail(in, "draws at most 2^34 elements; got " + show_shape(out.shape));
}

}  // namespace

void check_normal(const Instruction& in) { check_draw(in, DType::F32); }
void check_uniform(const Instruction& in) { check_draw(in, DType::F32); }
void check_random_int(const Instruction& in) {
  check_draw(in, DType::I32);
  attr_int(in, "bound", 1, INT32_MAX);
}
void check_shuffle_index(const Instruction& in) {
  check_key(in);
  const int64_t n = attr_int(in, "n", 1, INT32_MAX);
  const int64_t count = attr_int(in, "count", 0, n);
  expect_dtype(in, in.outputs[0], DType::I32, "output 0");
  expect_shape(in, in.outputs[0], {count}, "output 0");
}

void layout_normal(Instruction& in) { layout_plain(in); }
void layout_uniform(Instruction& in) { layout_plain(in); }
void layout_random_int(Instruction& in) { layout_plain(in); }
void layout_shuffle_index(Instruction& in) { layout_plain(in); }

bool in_place_normal(const Instruction&, int, int) { return false; }
bool in_place_uniform(const Instruction&, int, int) { return false; }
bool in_place_random_int(const Instruction&, int, int) { return false; }
bool in_place_shuffle_index(const Instruction&, int, int) { return false; }

}  // namespace langevin
