// See chain_code.h. The text, from the outside in: where values lie, what is copied into shared memory, what is computed once, the rounds, what they
// leave. A barrier stands before a step that meets what other threads have read or written since the last one.
#include "cuda/chain_code.h"

#include <algorithm>
#include <cmath>

#include "cuda/code_cache.h"
#include "cuda/loop_statements.h"
#include "ops/check.h"
#include "ops/geometry.h"
#include "ops/registry.h"

namespace langevin {

namespace {

std::string str(int64_t n) { return std::to_string(n); }

const char* shared_type(DType t) { return t == DType::F32 ? "float" : "int32_t"; }
const char* memory_type(DType t) { return t == DType::F32 ? "float" : t == DType::I32 ? "int32_t" : "uint8_t"; }

// Elements between neighbours of an operand on each dimension of an iteration space; 0 where it repeats.
Shape strides_in(const Shape& shape, const Shape& space) {
  Shape strides(space.size(), 0);
  int64_t run = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    if (shape[i] != 1) strides[space.size() - shape.size() + i] = run;
    run *= shape[i];
  }
  return strides;
}

class Writer {
 public:
  Writer(const DecodedPlan& plan, const ChainPlan& chain) : plan_(plan), c_(chain) {}

  ChainCode write() {
    code_.pointers = plan_.inputs.size() + plan_.constants.size() + 1;
    open("LANGEVIN_KERNEL(@, @_arguments, args)");
    begin();
    for (const ChainStep& step : c_.steps) {
      if (step.once) one(step);
    }
    open("for (int64_t round = 0; round < args.rounds; ++round)");
    barrier();
    for (const ChainStep& step : c_.steps) {
      if (!step.once) one(step);
    }
    for (const ChainCarry& c : c_.carries) carry(c);
    close();
    barrier();
    for (const ChainCarry& c : c_.carries) leave(c);
    close();
    code_.text = "#include \"cuda/kernels/chain.cuh\"\nnamespace langevin {\nstruct @_arguments {\n  int64_t rounds;\n  void* at[" +
                 str(static_cast<int64_t>(code_.pointers)) + "];\n};\n" + text_ + "}  // namespace langevin\n";
    code_.name = "langevin_chain_" + content_hash(code_.text);
    for (size_t at = code_.text.find('@'); at != std::string::npos; at = code_.text.find('@', at)) code_.text.replace(at, 1, code_.name);
    return std::move(code_);
  }

 private:
  // ---- text --------------------------------------------------------------------------------------------------------------------------------
  void line(const std::string& text) { text_ += std::string(static_cast<size_t>(2 * depth_), ' ') + text + "\n"; }
  void open(const std::string& text) {
    line(text + " {");
    ++depth_;
  }
  void close() {
    --depth_;
    line("}");
  }
  void call(const std::string& function, const std::string& constants, const std::string& arguments) {
    line(function + "<" + constants + ">(" + arguments + ", t);");
  }
  static std::string threads() { return str(kChainThreads); }

  // ---- values ------------------------------------------------------------------------------------------------------------------------------
  int shown(int v) const { return c_.shown[static_cast<size_t>(v)]; }
  const ChainValue& value(int v) const { return c_.values[static_cast<size_t>(shown(v))]; }
  const TensorDesc& type(int v) const { return plan_.values[static_cast<size_t>(v)]; }
  std::string name(int v) const { return "v" + str(shown(v)); }
  std::string source(int v) const { return "static_cast<" + std::string(memory_type(type(shown(v)).dtype)) + "*>(args.at[" + str(value(v).source) + "])"; }
  // Elements that a block has of it.
  std::string count(int v) const { return (value(v).rows ? "rows * " : "") + str(value(v).size); }

  // The element at an index (an expression) counted without padding.
  std::string element(int v, const std::string& index) const {
    const ChainValue& known = value(v);
    const std::string at = known.factor && known.shared && known.step != known.width
                               ? "chain_padded<" + str(known.width) + ", " + str(known.step) + ">(static_cast<int32_t>(" + index + "))"
                               : index;
    const std::string read = name(v) + "[" + at + "]";
    return !known.shared && bytes_of(type(shown(v)).dtype) == 1 ? "static_cast<int32_t>(" + read + ")" : read;
  }

  // ---- order among threads -----------------------------------------------------------------------------------------------------------------
  struct Region {
    size_t begin, end;
    bool meets(const Region& other) const { return begin < other.end && other.begin < end; }
  };
  Region region(int v) const {
    const ChainValue& known = value(v);
    const int64_t n = known.rows ? known.size * c_.tile : known.factor ? known.size / known.width * known.step : known.size;
    return {known.offset, known.offset + static_cast<size_t>(n) * 4};
  }
  void barrier() {
    line("block_barrier();");
    read_.clear();
    written_.clear();
  }
  void order(const std::vector<Region>& reads, const std::vector<Region>& writes) {
    const auto meet = [](const std::vector<Region>& a, const std::vector<Region>& b) {
      return std::any_of(a.begin(), a.end(), [&](const Region& x) { return std::any_of(b.begin(), b.end(), [&](const Region& y) { return x.meets(y); }); });
    };
    if (meet(reads, written_) || meet(writes, written_) || meet(writes, read_)) barrier();
    read_.insert(read_.end(), reads.begin(), reads.end());
    written_.insert(written_.end(), writes.begin(), writes.end());
  }
  void order_values(const std::vector<int>& reads, const std::vector<int>& writes) {
    const auto regions = [&](const std::vector<int>& list) {
      std::vector<Region> all;
      for (int v : list) {
        if (value(v).shared) all.push_back(region(v));
      }
      return all;
    };
    order(regions(reads), regions(writes));
  }

  // ---- the kernel ------------------------------------------------------------------------------------------------------------------------
  void begin() {
    line("LANGEVIN_SHARED(unsigned char, shared);");
    line("const int32_t t = static_cast<int32_t>(thread_index());");
    line("const int64_t row = block_index() * " + str(c_.tile) + ";");
    const std::string left = str(c_.rows) + " - row", tile = str(c_.tile);
    line("const int32_t rows = static_cast<int32_t>(" + left + " < " + tile + " ? " + left + " : " + tile + ");");
    for (size_t i = 0; i < c_.values.size(); ++i) {
      const int v = static_cast<int>(i);
      if (!c_.values[i].needed || shown(v) != v) continue;
      const std::string kind = shared_type(type(v).dtype);
      if (!value(v).shared) line("const " + std::string(memory_type(type(v).dtype)) + "* const " + name(v) + " = " + source(v) + ";");
      else line(kind + "* const " + name(v) + " = reinterpret_cast<" + kind + "*>(shared + " + str(static_cast<int64_t>(value(v).offset)) + ");");
    }
    for (size_t i = 0; i < c_.values.size(); ++i) {
      const int v = static_cast<int>(i);
      const ChainValue& known = c_.values[i];
      if (!known.needed || known.source < 0 || !known.shared) continue;
      const std::string padding = ", " + str(known.width) + ", " + str(known.step);
      if (known.factor) call("chain_copy_factor", threads() + padding, name(v) + ", " + source(v) + ", " + str(known.size));
      else call("chain_copy", threads(), name(v) + ", " + source(v) + (known.rows ? " + row * " + str(known.size) : "") + ", " + count(v));
      written_.push_back(region(v));
    }
  }

  void carry(const ChainCarry& c) {
    if (c.in_place) return;
    order_values({c.from}, {c.to});
    call("chain_copy", threads(), name(c.to) + ", " + name(c.from) + ", " + count(c.to));
  }

  // Rows go home, since no other block reads them.
  void leave(const ChainCarry& c) {
    const ChainValue& to = value(c.to);
    if (to.rows) return call("chain_copy", threads(), source(c.to) + " + row * " + str(to.size) + ", " + name(c.to) + ", " + count(c.to));
    const TensorDesc& desc = type(c.to);
    const std::string scratch = "args.at[" + str(static_cast<int64_t>(code_.pointers) - 1) + "]";
    const std::string place = "static_cast<unsigned char*>(" + scratch + ") + " + str(static_cast<int64_t>(code_.scratch));
    open("if (row == 0)");
    call("chain_copy", threads(), "reinterpret_cast<" + std::string(memory_type(desc.dtype)) + "*>(" + place + "), " + name(c.to) + ", " + count(c.to));
    close();
    code_.left.push_back({c.input, code_.scratch, desc.bytes()});
    code_.scratch += (desc.bytes() + 15) / 16 * 16;
  }

  void one(const ChainStep& step) {
    const DecodedCode& code = plan_.code[static_cast<size_t>(step.code)];
    line("// " + code.instruction.name);
    if (code.op == op_loop) return loop(step, code);
    if (code.op == op_matmul) return product(step, code);
    order_values(code.inputs, code.outputs);
    if (code.op == op_slice || code.op == op_copy) move(step, code);
    else draw(step, code);
  }

  void draw(const ChainStep& step, const DecodedCode& code) {
    const int out = code.outputs[0];
    std::string arguments = name(out) + ", " + name(code.inputs[0]) + ", " + str(attr_int_or(code.instruction, "stream", 0, UINT32_MAX, 0)) + "u";
    if (code.op == op_random_int) arguments += ", " + str(attr_int(code.instruction, "bound", 1, INT32_MAX)) + "u";
    arguments += ", " + (step.rows ? "row * " + str(value(out).size) : "0") + ", " + count(out);
    call(code.op == op_normal ? "chain_normal" : code.op == op_uniform ? "chain_uniform" : "chain_random_int", threads(), arguments);
  }

  void product(const ChainStep& step, const DecodedCode& code) {
    const MatmulGeometry g = matmul_geometry(code.instruction);
    const ChainProduct& p = step.product;
    const int a = code.inputs[0], b = code.inputs[1], out = code.outputs[0];
    const bool parts = p.parts > 1;
    const auto flag = [](bool on) { return on ? std::string(", true") : std::string(", false"); };
    const bool quads = p.quads && (!g.transpose_b || value(b).step % 4 == 0);
    const std::string tile = str(c_.tile), partial = "reinterpret_cast<float*>(shared + " + str(static_cast<int64_t>(step.partial)) + ")";
    const Region sums{step.partial, step.partial + (parts ? static_cast<size_t>(p.parts * c_.tile * g.n) * 4 : 0)};
    order({region(a), region(b)}, {parts ? sums : region(out)});
    call("chain_product",
         tile + ", " + str(g.n) + ", " + str(g.k) + ", " + str(value(b).step) + flag(g.transpose_b) + flag(quads) + ", " + str(p.rows) + ", " +
             str(p.columns) + ", " + str(p.parts) + ", " + threads(),
         (parts ? partial : name(out)) + ", " + name(a) + ", " + name(b));
    if (!parts) return;
    order({sums}, {region(out)});
    call("chain_fold", str(c_.tile * g.n) + ", " + str(p.parts) + ", " + threads(), name(out) + ", " + partial);
  }

  // ---- iteration spaces ----------------------------------------------------------------------------------------------------------------------
  // A space of the block's own rows or of all, whose dimensions are walked by coordinates c0, c1, ... of which those are defined that are used.
  struct Space {
    Shape shape;
    bool rows = false;
    std::vector<bool> used;
    bool whole = false;  // is there an index e of all dimensions?
  };

  // Strides are those of the operand's own elements, a block's where it has rows of them.
  std::string sum(Space& s, const Shape& strides, const ChainValue& known, int64_t offset = 0) const {
    std::string text = offset != 0 ? str(offset) : "";
    for (size_t d = 0; d < strides.size(); ++d) {
      if (strides[d] == 0 || s.shape[d] == 1) continue;
      s.used[d] = true;
      const bool global = d == 0 && s.rows && !known.rows;  // a row of something that a block has, or reads, as a whole
      text += (text.empty() ? "" : " + ") + (global ? "(row + c0)" : "c" + str(static_cast<int64_t>(d))) + (strides[d] == 1 ? "" : " * " + str(strides[d]));
    }
    return text.empty() ? "0" : text;
  }

  std::string operand(Space& s, int v) const {
    const Shape& shape = type(v).shape;
    const bool own = value(v).rows == s.rows;
    if (s.whole && own && shape == s.shape) return element(v, "e");
    return element(v, sum(s, strides_in(shape, s.shape), value(v)));
  }

  // Coordinates of some dimensions, the first of which is the outermost, from an index of them all.
  void coordinates(const Space& s, const std::vector<size_t>& dims, const std::string& index) {
    int64_t inner = 1;
    std::vector<std::string> lines;
    for (size_t i = dims.size(); i-- > 0;) {
      const size_t d = dims[i];
      if (s.used[d]) {
        const std::string divided = inner == 1 ? index : index + " / " + str(inner);
        lines.push_back("const int32_t c" + str(static_cast<int64_t>(d)) + " = " + divided + (i == 0 ? "" : " % " + str(s.shape[d])) + ";");
      }
      inner *= s.shape[d];
    }
    for (const std::string& text : lines) line(text);
  }

  std::string elements(const Space& s, const std::vector<size_t>& dims) const {
    int64_t n = 1;
    for (size_t d : dims) n *= s.rows && d == 0 ? 1 : s.shape[d];
    return (s.rows ? "rows * " : "") + str(n);
  }
  void open_walk(const std::string& index, const std::string& end) {
    open("for (int32_t " + index + " = t; " + index + " < " + end + "; " + index + " += " + threads() + ")");
  }

  void move(const ChainStep& step, const DecodedCode& code) {
    const int in = code.inputs[0], out = code.outputs[0];
    Space s{type(out).shape, step.rows, std::vector<bool>(type(out).shape.size(), false), true};
    std::string read = operand_of_copy(s, code, in);
    std::vector<size_t> dims;
    for (size_t d = 0; d < s.shape.size(); ++d) dims.push_back(d);
    open_walk("e", elements(s, dims));
    coordinates(s, dims, "e");
    line(name(out) + "[e] = " + read + ";");
    close();
  }
  std::string operand_of_copy(Space& s, const DecodedCode& code, int in) const {
    if (code.op == op_copy) return operand(s, in);
    const SliceGeometry g = slice_geometry(code.instruction);
    Shape strides = strides_in(type(in).shape, type(in).shape);
    int64_t offset = 0;
    for (size_t d = 0; d < strides.size(); ++d) offset += g.start[d] * strides[d], strides[d] *= g.step[d];
    return element(in, sum(s, strides, value(in), offset));
  }

  // ---- loops -----------------------------------------------------------------------------------------------------------------------------------
  void loop(const ChainStep& step, const DecodedCode& code) {
    const LoopProgram all = chain_loop(plan_, step);
    std::vector<int> full, folded;  // positions among the needed outputs
    for (size_t o = 0; o < all.outputs.size(); ++o) (all.outputs[o].reduce == Reduce::None ? full : folded).push_back(static_cast<int>(o));
    for (const bool folds : {true, false}) {  // what is written whole may lie over an operand, so it comes last
      LoopProgram p = all;
      p.outputs.clear();
      std::vector<int> outs;
      for (int o : folds ? folded : full) {
        p.outputs.push_back(all.outputs[static_cast<size_t>(o)]);
        outs.push_back(code.outputs[static_cast<size_t>(step.outputs[static_cast<size_t>(o)])]);
      }
      if (outs.empty()) continue;
      const std::vector<bool> live = live_registers(p);
      std::vector<int> reads;
      for (size_t i = 0; i < code.inputs.size(); ++i) {
        if (live[i]) reads.push_back(code.inputs[i]);
      }
      order_values(reads, outs);
      if (folds) fold(step, code, p, live, outs);
      else map(step, code, p, live, outs);
    }
  }

  // The definitions of the registers that inputs and iotas are; coordinates that they need become `used`.
  std::vector<std::string> registers(Space& s, const DecodedCode& code, const LoopProgram& p, const std::vector<bool>& live) const {
    std::vector<std::string> lines;
    for (size_t r = 0; r < live.size(); ++r) {
      if (!live[r]) continue;
      const std::string define = std::string("const ") + loop_register_type(p.type_of(static_cast<int>(r))) + " r" + str(static_cast<int64_t>(r)) + " = ";
      if (r < p.inputs.size()) {
        lines.push_back(define + operand(s, code.inputs[r]) + ";");
      } else if (p.entries[r - p.inputs.size()].op == LoopOp::iota) {
        const size_t axis = static_cast<size_t>(p.entries[r - p.inputs.size()].int_value);
        s.used[axis] = true;
        lines.push_back(define + (axis == 0 && s.rows ? "static_cast<int32_t>(row) + c0" : "c" + str(static_cast<int64_t>(axis))) + ";");
      }
    }
    return lines;
  }
  std::string indent() const { return std::string(static_cast<size_t>(2 * depth_), ' '); }

  void map(const ChainStep& step, const DecodedCode& code, const LoopProgram& p, const std::vector<bool>& live, const std::vector<int>& outs) {
    Space s{p.shape, step.rows, std::vector<bool>(p.shape.size(), false), true};
    const std::vector<std::string> defined = registers(s, code, p, live);
    std::vector<size_t> dims;
    for (size_t d = 0; d < p.shape.size(); ++d) dims.push_back(d);
    open_walk("e", elements(s, dims));
    coordinates(s, dims, "e");
    for (const std::string& text : defined) line(text);
    text_ += loop_statements(p, live, indent());
    for (size_t o = 0; o < outs.size(); ++o) line(name(outs[o]) + "[e] = r" + str(p.outputs[o].reg) + ";");
    close();
  }

  void fold(const ChainStep& step, const DecodedCode& code, const LoopProgram& p, const std::vector<bool>& live, const std::vector<int>& outs) {
    Space s{p.shape, step.rows, std::vector<bool>(p.shape.size(), false), false};
    const std::vector<std::string> defined = registers(s, code, p, live);
    std::vector<size_t> kept, reduced;
    int64_t terms = 1;
    for (size_t d = 0; d < p.shape.size(); ++d) {
      const bool folds = std::find(p.axes.begin(), p.axes.end(), static_cast<int>(d)) != p.axes.end();
      (folds ? reduced : kept).push_back(d);
      if (folds) terms *= p.shape[d];
    }
    open_walk("e", elements(s, kept));
    coordinates(s, kept, "e");
    for (size_t o = 0; o < outs.size(); ++o) {
      const bool real = p.type_of(p.outputs[o].reg) == RegisterType::F32;
      line((real ? "float s" : "int32_t s") + str(static_cast<int64_t>(o)) + " = " + neutral(p.outputs[o].reduce, real) + ";");
    }
    open("for (int32_t q = 0; q < " + str(terms) + "; ++q)");
    coordinates(s, reduced, "q");
    for (const std::string& text : defined) line(text);
    text_ += loop_statements(p, live, indent());
    for (size_t o = 0; o < outs.size(); ++o) {
      const Reduce r = p.outputs[o].reduce;
      const std::string s_o = "s" + str(static_cast<int64_t>(o));
      line(s_o + " = scalar::" + (r == Reduce::Sum ? "add" : r == Reduce::Max ? "maximum" : "minimum") + "(" + s_o + ", r" + str(p.outputs[o].reg) + ");");
    }
    close();
    for (size_t o = 0; o < outs.size(); ++o) line(name(outs[o]) + "[e] = s" + str(static_cast<int64_t>(o)) + ";");
    close();
  }
  static std::string neutral(Reduce r, bool real) {
    if (r == Reduce::Sum) return "0";
    if (real) return loop_literal(r == Reduce::Max ? -INFINITY : INFINITY);
    return loop_literal(static_cast<int32_t>(r == Reduce::Max ? INT32_MIN : INT32_MAX));
  }

  const DecodedPlan& plan_;
  const ChainPlan& c_;
  ChainCode code_;
  std::string text_;
  int depth_ = 0;
  std::vector<Region> read_, written_;  // since the last barrier
};

}  // namespace

ChainCode chain_code(const DecodedPlan& plan, const ChainPlan& chain) { return Writer(plan, chain).write(); }

}  // namespace langevin
