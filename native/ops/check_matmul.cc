// Check of matmul.
#include <algorithm>

#include "ops/check.h"
#include "ops/geometry.h"

namespace langevin {

namespace {

// The batch axes of `shape`, padded on the left with ones to `rank`.
Shape batch_of(const Shape& shape, size_t rank) {
  Shape batch(rank, 1);
  const size_t own = shape.size() - 2;
  std::copy(shape.begin(), shape.begin() + static_cast<std::ptrdiff_t>(own), batch.begin() + static_cast<std::ptrdiff_t>(rank - own));
  return batch;
}

}  // namespace

MatmulGeometry matmul_geometry(const Instruction& in) {
  expect_inputs(in, 2);
  expect_outputs(in, 1);
  const TensorDesc &a = in.inputs[0], &b = in.inputs[1], &c = in.outputs[0];
  expect_dtype(in, a, DType::F32, "input 0 (a)");
  expect_dtype(in, b, DType::F32, "input 1 (b)");
  expect_dtype(in, c, DType::F32, "output");
  const size_t ra = a.shape.size(), rb = b.shape.size();
  if (ra < 2 || rb < 2 || ra > 8 || rb > 8) {
    plan_fail(in, "takes operands of rank 2 to 8; got " + show_shape(a.shape) + " and " + show_shape(b.shape));
  }
  MatmulGeometry g;
  g.transpose_a = attr_bool_or(in, "transposeA", false);
  g.transpose_b = attr_bool_or(in, "transposeB", false);
  g.m = a.shape[g.transpose_a ? ra - 1 : ra - 2];
  g.k = a.shape[g.transpose_a ? ra - 2 : ra - 1];
  g.n = b.shape[g.transpose_b ? rb - 2 : rb - 1];
  const int64_t kb = b.shape[g.transpose_b ? rb - 1 : rb - 2];
  if (kb != g.k) plan_fail(in, "inner sizes must agree; got " + show_shape(a.shape) + " and " + show_shape(b.shape));

  const size_t rank = std::max(ra, rb) - 2;
  g.batch_a = batch_of(a.shape, rank);
  g.batch_b = batch_of(b.shape, rank);
  for (size_t i = 0; i < rank; ++i) {
    if (g.batch_a[i] != g.batch_b[i] && g.batch_a[i] != 1 && g.batch_b[i] != 1) {
      plan_fail(in, "batch axes do not broadcast: " + show_shape(a.shape) + " and " + show_shape(b.shape));
    }
    g.batch.push_back(g.batch_a[i] == 1 ? g.batch_b[i] : g.batch_a[i]);
  }
  Shape out = g.batch;
  out.push_back(g.m);
  out.push_back(g.n);
  expect_shape(in, c, out, "output");
  return g;
}

std::vector<BatchAxis> batch_axes(const MatmulGeometry& g) {
  std::vector<BatchAxis> axes;
  int64_t run_a = 1, run_b = 1;
  for (size_t i = g.batch.size(); i-- > 0;) {
    if (g.batch[i] != 1) {
      const BatchAxis next{g.batch[i], g.batch_a[i] == 1 ? 0 : run_a, g.batch_b[i] == 1 ? 0 : run_b};
      const bool joins = !axes.empty() && next.a == axes[0].a * axes[0].size && next.b == axes[0].b * axes[0].size;
      if (joins) axes[0].size *= next.size;
      else axes.insert(axes.begin(), next);
    }
    run_a *= g.batch_a[i];
    run_b *= g.batch_b[i];
  }
  return axes;
}

void check_matmul(const Instruction& in) { matmul_geometry(in); }

}  // namespace langevin
