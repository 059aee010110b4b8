// See lowering.h. The passes run in the order of lower_plan, at the end of the file.
#include "runtime/lowering.h"

#include <algorithm>
#include <array>

#include "ops/check.h"
#include "runtime/errors.h"
#include "runtime/memory_plan.h"
#include "runtime/regions.h"

namespace langevin {

namespace {

size_t align64(size_t bytes) { return (bytes + 63) & ~size_t{63}; }

class Lowering {
 public:
  Lowering(const DecodedPlan& plan, Backend& backend) : plan_(plan), backend_(backend), slots_(plan.values.size(), no_slots()) {}

  Lowered run() {
    if (plan_.bfloat16) half_uses();
    sources();
    for (const DecodedCode& code : plan_.code) {
      if (code.op == kReshape) {
        slots_[code.outputs[0]][0] = slot(code.inputs[0], Layout::Plain);
      } else {
        instruction(code);
      }
    }
    outputs();
    kernels();
    form_regions(out_, plan_.outputs);
    lifetimes();
    in_place();
    place();
    return std::move(out_);
  }

 private:
  using Slots = std::array<int, kLayouts>;  // buffer of a value in each layout, or -1
  static Slots no_slots() {
    Slots s;
    s.fill(-1);
    return s;
  }

  // What each value's readers say to bfloat16. Inputs, outputs and reshaped values keep float32.
  void half_uses() {
    const std::string missing = backend_.missing_for_bfloat16();
    if (!missing.empty()) {
      throw CodedError("E_DEVICE", "precision 'bfloat16' needs a processor with " + missing + "; use precision 'float32' on this one");
    }
    half_.assign(plan_.values.size(), HalfUse::May);
    for (const DecodedCode& code : plan_.code) {
      Instruction instruction = code.instruction;
      instruction.bfloat16 = true;
      for (size_t i = 0; i < code.inputs.size(); ++i) {
        HalfUse& all = half_[code.inputs[i]];
        const HalfUse one = code.op == kReshape ? HalfUse::No : backend_.half_use(instruction, static_cast<int>(i));
        all = all == HalfUse::No || one == HalfUse::No ? HalfUse::No : std::max(all, one);
      }
    }
    for (const DecodedPlan::Output& output : plan_.outputs) half_[output.value] = HalfUse::No;
  }

  int new_buffer(Buffer::Kind kind, size_t bytes) {
    Buffer b;
    b.kind = kind;
    b.bytes = bytes;
    out_.buffers.push_back(b);
    return static_cast<int>(out_.buffers.size()) - 1;
  }

  void sources() {
    for (size_t i = 0; i < plan_.inputs.size(); ++i) {
      const int value = plan_.inputs[i];
      const int b = new_buffer(Buffer::Input, plan_.values[value].bytes());
      out_.buffers[b].index = static_cast<int>(i);
      out_.buffers[b].version = static_cast<int>(i);
      slots_[value][0] = b;
    }
    for (size_t i = 0; i < plan_.constants.size(); ++i) {
      const int value = plan_.constants[i].value;
      const int b = new_buffer(Buffer::Constant, plan_.values[value].bytes());
      out_.buffers[b].index = static_cast<int>(i);
      out_.buffers[b].version = static_cast<int>(plan_.inputs.size() + i);
      slots_[value][0] = b;
    }
  }

  bool exists(int value, Layout layout) const { return slots_[value][static_cast<int>(layout)] >= 0; }

  // The layout in which a value is shown to the backend: a blocked one where it exists, float32 before bfloat16.
  Layout existing(int value) const {
    for (Layout l : {Layout::Blocked16, Layout::Blocked8, Layout::ChannelsLast, Layout::Plain, Layout::Blocked16Half, Layout::ChannelsLastHalf, Layout::PlainHalf}) {
      if (exists(value, l)) return l;
    }
    return Layout::Plain;
  }
  // The layout to make `layout` from: one step changes the order or the precision.
  Layout origin(int value, Layout layout) const {
    const Layout other = is_half(layout) ? full_layout(layout) : half_layout(layout);
    if (exists(value, other)) return other;
    if (is_half(layout)) return full_layout(layout);
    if (exists(value, Layout::Plain)) return Layout::Plain;
    return full_layout(existing(value));
  }

  // The buffer that holds `value` in `layout`; adds a reorder where there is none yet.
  int slot(int value, Layout layout) {
    const int have = slots_[value][static_cast<int>(layout)];
    if (have >= 0) return have;
    TensorDesc from = plan_.values[value];
    from.layout = origin(value, layout);
    TensorDesc to = plan_.values[value];
    to.layout = layout;
    const int source = slot(value, from.layout);
    const int version = out_.buffers[source].version;
    const int target = new_buffer(version >= 0 ? Buffer::Persistent : Buffer::Arena, to.bytes());
    out_.buffers[target].version = version;
    Step step;
    step.op = "reorder";
    step.instruction.name = "reorder";
    step.instruction.inputs = {from};
    step.instruction.outputs = {to};
    step.inputs = {source};
    step.outputs = {target};
    step.cached = version;
    out_.steps.push_back(std::move(step));
    ++out_.reorders;
    slots_[value][static_cast<int>(layout)] = target;
    return target;
  }

  void check_layout(const TensorDesc& t, const Instruction& instruction) const {
    if (t.layout == Layout::Plain) return;
    const int block = block_of(t.layout);
    const bool images = block > 1 || is_channels_last(t.layout);
    const bool fits = t.dtype == DType::F32 && (!images || (t.shape.size() == 4 && t.shape[1] % block == 0));
    if (fits && (plan_.bfloat16 || !is_half(t.layout))) return;
    throw std::logic_error("internal: layout_" + instruction.name + " chose an impossible layout for " + to_string(t));
  }

  void instruction(const DecodedCode& code) {
    Instruction instruction = code.instruction;
    instruction.bfloat16 = plan_.bfloat16;
    instruction.input_values = code.inputs;
    instruction.parameters = parameters_;
    for (int value : code.outputs) instruction.half_outputs.push_back(plan_.bfloat16 ? half_[value] : HalfUse::No);
    for (size_t i = 0; i < code.inputs.size(); ++i) instruction.inputs[i].layout = existing(code.inputs[i]);
    backend_.choose_layouts(instruction);
    std::vector<int> inputs;
    for (size_t i = 0; i < code.inputs.size(); ++i) {
      check_layout(instruction.inputs[i], instruction);
      inputs.push_back(slot(code.inputs[i], instruction.inputs[i].layout));
    }
    std::vector<int> outputs;
    for (size_t i = 0; i < code.outputs.size(); ++i) {
      check_layout(instruction.outputs[i], instruction);
      outputs.push_back(new_buffer(Buffer::Arena, instruction.outputs[i].bytes()));
      slots_[code.outputs[i]][static_cast<int>(instruction.outputs[i].layout)] = outputs.back();
    }
    add_step(std::move(instruction), std::move(inputs), std::move(outputs));
  }

  void add_step(Instruction instruction, std::vector<int> inputs, std::vector<int> outputs) {
    Step step;
    step.op = instruction.name;
    step.instruction = std::move(instruction);
    step.inputs = std::move(inputs);
    step.outputs = std::move(outputs);
    out_.steps.push_back(std::move(step));
  }

  // A step that copies `from` into a new buffer of the given kind.
  int add_copy(int from, const TensorDesc& type, Buffer::Kind kind) {
    Instruction copy;
    copy.op = op_copy;
    copy.name = "copy";
    copy.inputs = {type};
    copy.outputs = {type};
    copy.attr = nlohmann::json::object();
    copy.input_is_parameter = {out_.buffers[from].version >= 0};
    const int to = new_buffer(kind, type.bytes());
    add_step(std::move(copy), {from}, {to});
    return to;
  }

  // Gives every output a buffer of its own that the plan computes; then decides which may be the bound memory itself. An output whose
  // alias is still read later, or whose producer cannot work in place, is computed in the arena and copied at the end.
  void outputs() {
    std::vector<bool> claimed(out_.buffers.size(), false);
    std::vector<int> source;
    for (const DecodedPlan::Output& output : plan_.outputs) {
      int b = slot(output.value, Layout::Plain);
      claimed.resize(out_.buffers.size(), false);
      if (out_.buffers[b].kind != Buffer::Arena || claimed[b]) {
        b = add_copy(b, plan_.values[output.value], Buffer::Arena);
        claimed.resize(out_.buffers.size(), false);
      }
      claimed[b] = true;
      source.push_back(b);
    }
    std::vector<size_t> late;
    index_readers();
    for (size_t o = 0; o < source.size(); ++o) {
      if (!may_write_directly(source[o], plan_.outputs[o].alias)) {
        late.push_back(o);
        continue;
      }
      out_.buffers[source[o]].kind = Buffer::Output;
      out_.buffers[source[o]].index = static_cast<int>(o);
    }
    for (size_t o : late) {
      const int to = add_copy(source[o], plan_.values[plan_.outputs[o].value], Buffer::Output);
      out_.buffers[to].index = static_cast<int>(o);
    }
  }

  void index_readers() {
    readers_.assign(out_.buffers.size(), {});
    producer_.assign(out_.buffers.size(), -1);
    for (size_t s = 0; s < out_.steps.size(); ++s) {
      for (int b : out_.steps[s].inputs) {
        if (readers_[b].empty() || readers_[b].back() != static_cast<int>(s)) readers_[b].push_back(static_cast<int>(s));
      }
      for (int b : out_.steps[s].outputs) producer_[b] = static_cast<int>(s);
    }
  }

  bool may_write_directly(int buffer, int alias) {
    if (alias < 0) return true;
    const int producer = producer_[buffer];
    for (int s : readers_[slots_[plan_.inputs[alias]][0]]) {
      if (s < producer) continue;
      if (s > producer) return false;
      if (!permits(out_.steps[s], slots_[plan_.inputs[alias]][0], buffer)) return false;
    }
    return true;
  }

  // May the step write its output buffer over its input buffer, at every position where that is an input?
  bool permits(const Step& step, int input, int output) {
    if (step.op == "reorder") return false;
    const auto o = std::find(step.outputs.begin(), step.outputs.end(), output) - step.outputs.begin();
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      if (step.inputs[i] == input && !backend_.in_place(step.instruction, static_cast<int>(i), static_cast<int>(o))) return false;
    }
    return true;
  }

  void lifetimes() {
    for (size_t s = 0; s < out_.steps.size(); ++s) {
      const int now = static_cast<int>(s);
      for (int b : out_.steps[s].outputs) {
        out_.buffers[b].first = now;
        out_.buffers[b].last = std::max(out_.buffers[b].last, now);
      }
      for (int b : out_.steps[s].inputs) out_.buffers[b].last = now;
    }
  }

  // The steps of a region pass at the same time: what one of them is done with another thread may still be reading.
  int begins(int s) const { return s >= 0 && out_.steps[s].region.first >= 0 ? out_.steps[s].region.first : s; }
  int ends(int s) const { return s >= 0 && out_.steps[s].region.first >= 0 ? out_.steps[s].region.end - 1 : s; }

  // Is the whole buffer read by a step of the region of step s?
  bool read_whole(int buffer, int s) const {
    const Region& region = out_.steps[s].region;
    for (int r = region.first; r >= 0 && r < region.end; ++r) {
      const Step& step = out_.steps[r];
      const RowSplit split = step.kernel->row_split();
      for (size_t i = 0; i < step.inputs.size(); ++i) {
        if (!split.by_rows[i] && root(step.inputs[i]) == buffer) return true;
      }
    }
    return false;
  }

  int root(int b) const {
    while (out_.buffers[b].shares >= 0) b = out_.buffers[b].shares;
    return b;
  }

  void in_place() {
    for (size_t s = 0; s < out_.steps.size(); ++s) {
      const Step& step = out_.steps[s];
      std::vector<int> taken;
      for (int output : step.outputs) {
        Buffer& to = out_.buffers[output];
        if (to.kind != Buffer::Arena || to.bytes == 0) continue;
        for (int input : step.inputs) {
          const int r = root(input);
          Buffer& from = out_.buffers[r];
          if (from.kind != Buffer::Arena || from.last != static_cast<int>(s) || align64(from.bytes) != align64(to.bytes)) continue;
          if (std::find(taken.begin(), taken.end(), r) != taken.end() || !permits(step, input, output)) continue;
          if (read_whole(r, static_cast<int>(s))) continue;
          taken.push_back(r);
          to.shares = r;
          from.last = std::max(from.last, to.last);
          break;
        }
      }
    }
  }

  void kernels() {
    for (Step& step : out_.steps) {
      step.kernel = step.op == "reorder" ? backend_.make_reorder(step.instruction.inputs[0], step.instruction.outputs[0])
                                         : backend_.make_kernel(step.instruction);
      if (!step.kernel) throw std::logic_error("internal: no kernel for " + step.op);
    }
    backend_.finish_kernels();
  }

  void place() {
    std::vector<Interval> intervals;
    std::vector<size_t*> offsets;
    size_t persistent = 0;
    for (Buffer& b : out_.buffers) {
      if (b.kind == Buffer::Constant || b.kind == Buffer::Persistent) {
        b.offset = persistent;
        persistent += align64(b.bytes);
      } else if (b.kind == Buffer::Arena && b.shares < 0 && b.bytes > 0 && b.last >= 0) {
        intervals.push_back({align64(b.bytes), begins(b.first), ends(b.last), 0});
        offsets.push_back(&b.offset);
      }
    }
    for (size_t s = 0; s < out_.steps.size(); ++s) {
      Step& step = out_.steps[s];
      step.persistent_offset = persistent;
      persistent += align64(step.kernel->persistent());
      const Region& region = step.region;
      const size_t workspace = region.first < 0 ? step.kernel->workspace() : region.workspace * static_cast<size_t>(region.parts);
      // A region's stands with its first step.
      if (workspace == 0 || (region.first >= 0 && region.first != static_cast<int>(s))) continue;
      intervals.push_back({align64(workspace), begins(static_cast<int>(s)), ends(static_cast<int>(s)), 0});
      offsets.push_back(&step.workspace_offset);
    }
    out_.arena_bytes = place_intervals(intervals);
    for (size_t i = 0; i < intervals.size(); ++i) *offsets[i] = intervals[i].offset;
    out_.persistent_bytes = persistent;
    for (size_t b = 0; b < out_.buffers.size(); ++b) {
      if (out_.buffers[b].shares >= 0) out_.buffers[b].offset = out_.buffers[root(static_cast<int>(b))].offset;
    }
  }

  const DecodedPlan& plan_;
  Backend& backend_;
  Lowered out_;
  std::vector<Slots> slots_;
  std::shared_ptr<PackedParameters> parameters_ = std::make_shared<PackedParameters>();
  std::vector<HalfUse> half_;  // by value, with bfloat16
  std::vector<std::vector<int>> readers_;
  std::vector<int> producer_;
};

std::string show_buffer(const Lowered& lowered, int b) {
  const Buffer& buffer = lowered.buffers[b];
  switch (buffer.kind) {
    case Buffer::Input: return "input" + std::to_string(buffer.index);
    case Buffer::Output: return "output" + std::to_string(buffer.index);
    case Buffer::Constant: return "constant" + std::to_string(buffer.index);
    case Buffer::Persistent: return "persistent+" + std::to_string(buffer.offset);
    case Buffer::Arena: return "arena+" + std::to_string(buffer.offset) + (buffer.shares >= 0 ? "!" : "");
  }
  return "?";
}

}  // namespace

Lowered lower_plan(const DecodedPlan& plan, Backend& backend) { return Lowering(plan, backend).run(); }

std::string print_lowered(const Lowered& lowered) {
  std::string text;
  for (const Step& step : lowered.steps) {
    for (size_t i = 0; i < step.outputs.size(); ++i) {
      text += (i ? ", " : "") + to_string(step.instruction.outputs[i]) + "@" + show_buffer(lowered, step.outputs[i]);
    }
    text += " = " + step.op + "(";
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      text += (i ? ", " : "") + to_string(step.instruction.inputs[i]) + "@" + show_buffer(lowered, step.inputs[i]);
    }
    text += step.cached >= 0 ? ") when changed\n" : ")\n";
  }
  return text;
}

std::string print_step(const Step& step) {
  const auto list = [](const std::vector<TensorDesc>& types) {
    std::string text;
    for (const TensorDesc& t : types) text += (text.empty() ? "" : ", ") + to_string(t);
    return text;
  };
  return list(step.instruction.outputs) + " = " + step.op + "(" + list(step.instruction.inputs) + ")";
}

}  // namespace langevin
