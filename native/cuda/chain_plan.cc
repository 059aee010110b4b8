// See chain_plan.h.
#include "cuda/chain_plan.h"

#include <algorithm>

#include "cuda/loop_statements.h"
#include "ops/geometry.h"
#include "ops/registry.h"
#include "runtime/memory_plan.h"

namespace langevin {

namespace {

constexpr int64_t kMostRowsEach = 64;     // rows for each multiprocessor: with more, products on tensor cores are worth their launches
constexpr int64_t kMostWhole = 4096;      // elements of what each block computes, or copies into shared memory, for itself
constexpr int64_t kLongestFold = 1024;    // terms of a reduction, which one thread adds up
constexpr int64_t kMostPartials = 4096;   // of a product
constexpr size_t kAlignment = 16;
constexpr int kMostTile = 32, kTileRows = 8;

bool is_draw(int op) { return op == op_normal || op == op_uniform || op == op_random_int; }

int64_t row_size(const Shape& shape) {
  int64_t n = 1;
  for (size_t d = 1; d < shape.size(); ++d) n *= shape[d];
  return n;
}

class Analysis {
 public:
  Analysis(const DecodedPlan& plan, const std::vector<int>& carried, const ChainDevice& device) : plan_(plan), carried_(carried), device_(device) {}

  std::unique_ptr<ChainPlan> run() {
    if (plan_.bfloat16) return nullptr;
    name_values();
    if (!find_carries() || !find_rows() || !find_steps() || !choose_tile()) return nullptr;
    return std::make_unique<ChainPlan>(std::move(out_));
  }

 private:
  ChainValue& value(int v) { return out_.values[static_cast<size_t>(out_.shown[static_cast<size_t>(v)])]; }
  int shown(int v) const { return out_.shown[static_cast<size_t>(v)]; }
  const Shape& shape(int v) const { return plan_.values[static_cast<size_t>(v)].shape; }
  bool of_rows(int v) const { return !shape(v).empty() && shape(v)[0] == out_.rows; }

  void name_values() {
    out_.values.resize(plan_.values.size());
    for (size_t v = 0; v < plan_.values.size(); ++v) out_.shown.push_back(static_cast<int>(v));
    int source = 0;
    const auto name = [&](int v) {
      ChainValue& known = out_.values[static_cast<size_t>(v)];
      known.source = source++;
      known.once = true;
    };
    for (int v : plan_.inputs) name(v);
    for (const auto& constant : plan_.constants) name(constant.value);
    for (const DecodedCode& code : plan_.code) {
      if (code.op == kReshape) out_.shown[static_cast<size_t>(code.outputs[0])] = shown(code.inputs[0]);
    }
  }

  bool find_carries() {
    for (size_t o = 0; o < carried_.size(); ++o) {
      if (carried_[o] < 0) continue;
      ChainCarry carry;
      carry.input = carried_[o];
      carry.from = shown(plan_.outputs[o].value);
      carry.to = plan_.inputs[static_cast<size_t>(carry.input)];
      if (value(carry.from).source >= 0) return false;  // moves inputs about: no chain
      ChainValue& to = value(carry.to);
      to.carried = to.needed = true;
      to.once = false;
      value(carry.from).needed = true;
      out_.carries.push_back(carry);
    }
    return !out_.carries.empty();
  }

  // The rows are those of the largest carried input of numbers. A key is the same for all rows even where it has as many words.
  bool find_rows() {
    int largest = -1;
    for (const ChainCarry& c : out_.carries) {
      const TensorDesc& t = plan_.values[static_cast<size_t>(c.to)];
      if (t.dtype != DType::F32 || t.shape.empty()) continue;
      if (largest < 0 || t.size() > plan_.values[static_cast<size_t>(largest)].size()) largest = c.to;
    }
    if (largest < 0) return false;
    out_.rows = shape(largest)[0];
    if (out_.rows < 1 || out_.rows > kMostRowsEach * device_.multiprocessors) return false;
    std::vector<bool> key(plan_.values.size(), false);
    for (const DecodedCode& code : plan_.code) {
      if (code.op != kReshape && is_draw(code.op)) key[static_cast<size_t>(shown(code.inputs[0]))] = true;
    }
    for (const ChainCarry& c : out_.carries) value(c.to).rows = of_rows(c.to) && !key[static_cast<size_t>(c.to)];
    return true;
  }

  // What the carried outputs depend on, in order.
  bool find_steps() {
    std::vector<bool> taken(plan_.code.size(), false);
    for (size_t c = plan_.code.size(); c-- > 0;) {
      const DecodedCode& code = plan_.code[c];
      if (code.op == kReshape) continue;
      ChainStep step;
      step.code = static_cast<int>(c);
      for (size_t o = 0; o < code.outputs.size(); ++o) {
        if (value(code.outputs[o]).needed) step.outputs.push_back(static_cast<int>(o));
      }
      if (step.outputs.empty()) continue;
      for (int v : operands(step)) value(v).needed = true;
      out_.steps.push_back(std::move(step));
    }
    std::reverse(out_.steps.begin(), out_.steps.end());
    for (ChainStep& step : out_.steps) {
      if (!understand(step)) return false;
    }
    for (ChainCarry& c : out_.carries) {
      if (value(c.from).rows != value(c.to).rows) return false;
    }
    return views_fit();
  }

  std::vector<int> operands(const ChainStep& step) const {
    const DecodedCode& code = plan_.code[static_cast<size_t>(step.code)];
    if (code.op != op_loop) return code.inputs;
    const std::vector<bool> live = live_registers(chain_loop(plan_, step));
    std::vector<int> list;
    for (size_t i = 0; i < code.inputs.size(); ++i) {
      if (live[i]) list.push_back(code.inputs[i]);
    }
    return list;
  }

  // A view of rows shows the same rows.
  bool views_fit() {
    for (size_t v = 0; v < plan_.values.size(); ++v) {
      const ChainValue& known = value(static_cast<int>(v));
      if (known.needed && known.rows && !of_rows(static_cast<int>(v))) return false;
    }
    return true;
  }

  // Sets what a step is and what its results are; false for what this kind of kernel does not do.
  bool understand(ChainStep& step) {
    const DecodedCode& code = plan_.code[static_cast<size_t>(step.code)];
    step.once = true;
    bool any = false;
    for (int v : operands(step)) {
      step.once = step.once && value(v).once;
      any = any || value(v).rows;
    }
    bool good = false;
    if (code.op == op_loop) good = loop(step, any);
    else if (code.op == op_matmul) good = product(step);
    else if (is_draw(code.op)) good = draw(step, any);
    else if (code.op == op_slice) good = slice(step, any);
    else if (code.op == op_copy) step.rows = any, good = true;
    if (!good) return false;
    for (int o : step.outputs) {
      const int v = code.outputs[static_cast<size_t>(o)];
      ChainValue& result = value(v);
      if (step.rows && !of_rows(v)) return false;
      result.rows = step.rows;
      result.once = step.once;
      if (!step.rows && size_of(shape(v)) > kMostWhole) return false;
    }
    return true;
  }

  bool loop(ChainStep& step, bool any) {
    const LoopProgram p = chain_loop(plan_, step);
    step.rows = any;
    if (any && (p.shape.empty() || p.shape[0] != out_.rows)) return false;
    int64_t terms = 1;
    for (int axis : p.axes) {
      if (any && axis == 0) return false;
      terms *= p.shape[static_cast<size_t>(axis)];
    }
    if (terms > kLongestFold) return false;
    for (int v : operands(step)) {
      if (value(v).rows && (shape(v).size() != p.shape.size() || !of_rows(v))) return false;  // rows along another axis
    }
    return true;
  }

  bool product(ChainStep& step) {
    const DecodedCode& code = plan_.code[static_cast<size_t>(step.code)];
    const MatmulGeometry g = matmul_geometry(code.instruction);
    const int a = code.inputs[0], b = code.inputs[1];
    if (!g.batch.empty() || g.transpose_a || g.m != out_.rows || !value(a).rows || value(b).rows || g.k < 1 || g.n < 1) return false;
    step.rows = true;
    ChainValue& factor = value(b);
    if (factor.carried || (factor.factor && factor.width != shape(b)[1])) return false;
    factor.factor = true;
    factor.width = shape(b)[1];
    factor.step = factor.source < 0 ? factor.width : factor.width % 4 != 0 ? factor.width | 1 : factor.width / 4 % 2 != 0 ? factor.width : factor.width + 4;
    return true;
  }

  bool draw(ChainStep& step, bool any) {
    const DecodedCode& code = plan_.code[static_cast<size_t>(step.code)];
    step.rows = of_rows(code.outputs[0]);
    return !any;
  }

  bool slice(ChainStep& step, bool any) {
    const DecodedCode& code = plan_.code[static_cast<size_t>(step.code)];
    const SliceGeometry g = slice_geometry(code.instruction);
    step.rows = any;
    return !any || (g.start[0] == 0 && g.step[0] == 1 && g.stop[0] == out_.rows);
  }

  // ---- memory ------------------------------------------------------------------------------------------------------------------------------
  // As many multiprocessors as there are share the rows, as far as a block's memory goes.
  bool choose_tile() {
    const int64_t each = (out_.rows + device_.multiprocessors - 1) / device_.multiprocessors;
    int tile = 1;
    while (tile < each && tile < kMostTile) tile *= 2;
    for (; tile >= 1; tile /= 2) {
      out_.tile = tile;
      place();
      if (out_.shared <= device_.shared) return true;
    }
    return false;
  }

  size_t bytes(const ChainValue& v) const {
    const int64_t n = v.rows ? v.size * out_.tile : v.factor ? v.size / std::max<int64_t>(v.width, 1) * v.step : v.size;
    return (static_cast<size_t>(n) * 4 + kAlignment - 1) / kAlignment * kAlignment;
  }

  void place() {
    std::vector<Interval> intervals;
    std::vector<size_t*> places;
    const int end = static_cast<int>(out_.steps.size());
    const auto keep = [&](size_t* to, size_t size, int first, int last) {
      intervals.push_back({size, first, last, 0});
      places.push_back(to);
    };
    const auto at_home = [&](int v) -> ChainCarry* {  // the carry whose value is written over its input
      for (ChainCarry& c : out_.carries) {
        if (c.in_place && c.from == v) return &c;
      }
      return nullptr;
    };
    for (ChainCarry& c : out_.carries) c.in_place = may_overwrite(c);
    for (size_t i = 0; i < out_.values.size(); ++i) {
      ChainValue& v = out_.values[i];
      if (!v.needed || shown(static_cast<int>(i)) != static_cast<int>(i)) continue;
      v.size = v.rows ? row_size(shape(static_cast<int>(i))) : size_of(shape(static_cast<int>(i)));
      v.shared = v.source < 0 || v.carried || v.factor || v.size <= kMostWhole;
      if (!v.shared || at_home(static_cast<int>(i)) != nullptr) continue;
      const bool always = v.once || v.carried;
      keep(&v.offset, bytes(v), always ? 0 : made_at(static_cast<int>(i)), always ? end : last_use(static_cast<int>(i)));
    }
    for (size_t s = 0; s < out_.steps.size(); ++s) {
      ChainStep& step = out_.steps[s];
      const DecodedCode& code = plan_.code[static_cast<size_t>(step.code)];
      if (code.op != op_matmul) continue;
      const MatmulGeometry g = matmul_geometry(code.instruction);
      step.product = share_out(g.n, g.k);
      const size_t partials = step.product.parts > 1 ? static_cast<size_t>(step.product.parts * out_.tile * g.n) * 4 : 0;
      keep(&step.partial, (partials + kAlignment - 1) / kAlignment * kAlignment, static_cast<int>(s), static_cast<int>(s));
    }
    out_.shared = place_intervals(intervals);
    for (size_t i = 0; i < places.size(); ++i) *places[i] = intervals[i].offset;
    for (ChainCarry& c : out_.carries) {
      if (c.in_place) value(c.from).offset = value(c.to).offset;
    }
  }

  int made_at(int v) const {
    for (size_t s = 0; s < out_.steps.size(); ++s) {
      const DecodedCode& code = plan_.code[static_cast<size_t>(out_.steps[s].code)];
      if (std::find(code.outputs.begin(), code.outputs.end(), v) != code.outputs.end()) return static_cast<int>(s);
    }
    return 0;
  }
  int last_use(int v) const {
    for (const ChainCarry& c : out_.carries) {
      if (c.from == v) return static_cast<int>(out_.steps.size());
    }
    for (size_t s = out_.steps.size(); s-- > 0;) {
      for (int operand : operands(out_.steps[s])) {
        if (shown(operand) == v) return static_cast<int>(s);
      }
    }
    return 0;
  }

  // Does the loop that makes it read the input element for element, as the last one that reads it?
  bool may_overwrite(const ChainCarry& c) const {
    const int s = made_at(c.from);
    const ChainStep& step = out_.steps[static_cast<size_t>(s)];
    const DecodedCode& code = plan_.code[static_cast<size_t>(step.code)];
    if (code.op != op_loop || shown(c.to) != c.to) return false;
    const LoopProgram p = chain_loop(plan_, step);
    for (size_t i = 0; i < step.outputs.size(); ++i) {
      if (code.outputs[static_cast<size_t>(step.outputs[i])] == c.from && p.outputs[i].reduce != Reduce::None) return false;
    }
    if (!p.axes.empty() || shape(c.from) != shape(c.to)) return false;
    for (int v : code.inputs) {
      if (shown(v) == c.to && shape(v) != p.shape) return false;
    }
    for (const ChainCarry& other : out_.carries) {
      if (&other != &c && other.from == c.from) return false;
    }
    for (size_t later = static_cast<size_t>(s) + 1; later < out_.steps.size(); ++later) {
      for (int v : operands(out_.steps[later])) {
        if (shown(v) == c.to) return false;
      }
    }
    return true;
  }

  ChainProduct share_out(int64_t n, int64_t k) const {
    ChainProduct p;
    p.rows = std::min(out_.tile, kTileRows);
    p.columns = p.rows == kTileRows && n >= 64 && n % 2 == 0 ? 2 : 1;
    p.quads = k % 4 == 0;
    const int64_t units = p.quads ? k / 4 : k, shortest = p.quads ? 2 : 8;
    const int64_t threads = out_.tile / p.rows * (n / p.columns);
    const int64_t parts = std::min({kChainThreads / threads, units / shortest, kMostPartials / (out_.tile * n)});
    p.parts = static_cast<int>(std::max<int64_t>(1, parts));
    return p;
  }

  const DecodedPlan& plan_;
  const std::vector<int>& carried_;
  const ChainDevice device_;
  ChainPlan out_;
};

}  // namespace

LoopProgram chain_loop(const DecodedPlan& plan, const ChainStep& step) {
  LoopProgram p = decode_loop(plan.code[static_cast<size_t>(step.code)].instruction);
  std::vector<LoopOutput> needed;
  for (int o : step.outputs) needed.push_back(p.outputs[static_cast<size_t>(o)]);
  p.outputs = std::move(needed);
  const bool reduces = std::any_of(p.outputs.begin(), p.outputs.end(), [](const LoopOutput& o) { return o.reduce != Reduce::None; });
  if (!reduces) p.axes.clear();
  return p;
}

std::unique_ptr<ChainPlan> chain_plan(const DecodedPlan& plan, const std::vector<int>& carried, const ChainDevice& device) {
  return Analysis(plan, carried, device).run();
}

}  // namespace langevin
