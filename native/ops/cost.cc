// See cost.h.
#include "ops/cost.h"

#include "ops/geometry.h"
#include "ops/loop_program.h"
#include "ops/registry.h"

namespace langevin {

namespace {

double elements(const Shape& shape) {
  double n = 1;
  for (int64_t d : shape) n *= static_cast<double>(d);
  return n;
}

double matmul_operations(const Instruction& in) {
  const MatmulGeometry g = matmul_geometry(in);
  return 2 * elements(g.batch) * static_cast<double>(g.m) * static_cast<double>(g.n) * static_cast<double>(g.k);
}

double loop_operations(const Instruction& in) {
  const LoopProgram program = decode_loop(in);
  double each = 0;
  for (const LoopEntry& e : program.entries) each += static_cast<int>(e.op) < kLoopFunctions ? 1 : 0;
  for (const LoopOutput& o : program.outputs) each += o.reduce == Reduce::None ? 0 : 1;
  return each * elements(program.shape);
}

double operations(const Instruction& in) {
  switch (in.op) {
    case op_matmul: return matmul_operations(in);
    case op_conv2d: return conv_geometry(in, ConvDirection::Forward).flops();
    case op_conv2d_input_grad: return conv_geometry(in, ConvDirection::InputGrad).flops();
    case op_conv2d_weight_grad: return conv_geometry(in, ConvDirection::WeightGrad).flops();
    case op_loop: return loop_operations(in);
    default: return 0;  // moves and draws are measured by their bytes
  }
}

}  // namespace

Cost cost_of(const Instruction& in) {
  Cost cost;
  if (in.name != "reorder") cost.operations = operations(in);
  for (const TensorDesc& t : in.inputs) cost.bytes += static_cast<double>(t.bytes());
  for (const TensorDesc& t : in.outputs) cost.bytes += static_cast<double>(t.bytes());
  return cost;
}

}  // namespace langevin
