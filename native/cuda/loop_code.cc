// See loop_code.h. A kernel's text, from the outside in: which results this thread makes (k), operands that do not vary over their terms, the walk
// over the terms (q) with the program in the middle, the fold of what the threads of a block have, the results.
// Every thread reads all operands of a unit before it writes any output of it, so an output may lie over an input (cuda_in_place_loop).
#include "cuda/loop_code.h"

#include <cmath>
#include <cstdio>
#include <cstring>

#include "cuda/loop_places.h"
#include "cuda/loop_statements.h"

namespace langevin {

namespace {

constexpr int64_t kDeepSum = 4096;  // terms above which a sum of float32 is kept in double between short runs, as on the CPU
constexpr int64_t kRun = 64;        // units of a run

std::string str(int64_t n) { return std::to_string(n); }

const char* memory_type(const TensorDesc& t) {
  return is_half(t.layout) ? "uint16_t" : t.dtype == DType::F32 ? "float" : t.dtype == DType::I32 ? "int32_t" : "uint8_t";
}

std::string hash_of(const std::string& text) {
  uint64_t a = 0xcbf29ce484222325u, b = 0x9e3779b97f4a7c15u;
  for (const char c : text) {
    const uint64_t byte = static_cast<unsigned char>(c);
    a = (a ^ byte) * 0x100000001b3u;
    b = (b + byte) * 0xff51afd7ed558ccdu;
    b ^= b >> 32;
  }
  char out[40];
  std::snprintf(out, sizeof out, "%016llx%016llx", static_cast<unsigned long long>(a), static_cast<unsigned long long>(b));
  return out;
}

class Writer {
 public:
  Writer(const Instruction& in, const LoopProgram& p) : in_(in), p_(p), s_(cuda_loop_space(in, p)), at_(s_), live_(live_registers(p)) {}

  CudaLoopCode write() {
    code_.blocks = s_.blocks * s_.slices;
    code_.slices = s_.blocks == 0 ? 0 : s_.slices;
    code_.results = s_.kept;
    code_.by_table = in_.inputs.size() + in_.outputs.size() + 1 > kMostLoopPointers;
    deep_ = s_.reduced > kDeepSum || s_.slices > 1;
    plan_folds();
    if (s_.blocks == 0) return std::move(code_);
    collect_walks();
    kernel();
    const std::string functions = s_.vector > 1 ? words() + body_function() : words();
    std::string text = "namespace langevin {\n" + functions + arguments() + text_ + "}  // namespace langevin\n";
    code_.name = "loop_" + hash_of(text);
    for (size_t at = text.find('@'); at != std::string::npos; at = text.find('@', at)) text.replace(at, 1, code_.name);
    code_.text = std::move(text);
    return std::move(code_);
  }

 private:
  // ---- small words -------------------------------------------------------------------------------------------------------------------------
  void line(const std::string& text) { text_ += std::string(static_cast<size_t>(2 * depth_), ' ') + text + "\n"; }
  void open(const std::string& text) { line(text.empty() ? "{" : text + " {"), ++depth_; }
  void close() { --depth_, line("}"); }
  std::string number(int64_t n) const { return at_.number(n); }
  std::string variable(const std::string& name, const std::string& value) const { return "const " + index() + " " + name + " = " + value + ";"; }
  std::string index() const { return at_.type(); }

  // Aligned as a whole, so that it is read and written at once.
  static std::string words() {
    return "#ifndef LANGEVIN_LOOP_VECTOR\n#define LANGEVIN_LOOP_VECTOR\ntemplate <class T, int N>\nstruct alignas(N * sizeof(T)) LoopVector {\n"
           "  T at[N];\n};\n#endif\n";
  }
  std::string arguments() const {
    const std::string count = str(static_cast<int64_t>(in_.inputs.size() + in_.outputs.size() + 1));
    return "struct @_arguments {\n  void* " + (code_.by_table ? std::string("const* at") : "at[" + count + "]") + ";\n};\n";
  }

  bool is_reduction(size_t output) const { return p_.outputs[output].reduce != Reduce::None; }
  bool is_iota(size_t entry) const { return p_.entries[entry].op == LoopOp::iota; }
  int64_t lanes() const { return s_.rows ? 1 : s_.vector; }  // results of a thread

  // ---- reductions --------------------------------------------------------------------------------------------------------------------------
  bool in_double(size_t output) const {
    return deep_ && p_.outputs[output].reduce == Reduce::Sum && p_.type_of(p_.outputs[output].reg) == RegisterType::F32;
  }
  const char* accumulator_type(size_t output) const { return in_double(output) ? "double" : loop_register_type(p_.type_of(p_.outputs[output].reg)); }

  std::string neutral(size_t output) const {
    const LoopOutput& o = p_.outputs[output];
    if (o.reduce == Reduce::Sum) return "0";
    if (p_.type_of(o.reg) == RegisterType::F32) return loop_literal(o.reduce == Reduce::Max ? -INFINITY : INFINITY);
    return loop_literal(o.reduce == Reduce::Max ? INT32_MIN : INT32_MAX);
  }
  // A later NaN wins over what was there, and stays.
  std::string folded(size_t output, const std::string& a, const std::string& x) const {
    const LoopOutput& o = p_.outputs[output];
    if (o.reduce == Reduce::Max) return "scalar::maximum(" + x + ", " + a + ")";
    if (o.reduce == Reduce::Min) return "scalar::minimum(" + x + ", " + a + ")";
    return p_.type_of(o.reg) == RegisterType::F32 ? a + " + " + x : "scalar::add(" + a + ", " + x + ")";
  }

  // Of a second stage, which the reductions of nothing have instead of a first.
  void plan_folds() {
    if (code_.slices == 1) return;
    for (size_t i = 0; i < p_.outputs.size(); ++i) {
      if (!is_reduction(i)) continue;
      const RegisterType type = p_.type_of(p_.outputs[i].reg);
      code_.folds.push_back({static_cast<int>(i), p_.outputs[i].reduce, type, code_.workspace});
      const size_t bytes = static_cast<size_t>(code_.slices * code_.results) * (in_double(i) ? 8 : 4);
      code_.workspace += (bytes + 63) / 64 * 64;
    }
  }

  // ---- operands ----------------------------------------------------------------------------------------------------------------------------
  // Of inputs and iotas that are needed and of full outputs.
  void collect_walks() {
    for (size_t i = 0; i < s_.inputs.size(); ++i) {
      if (live_[i]) walks_.push_back(&s_.inputs[i]);
    }
    for (size_t i = 0; i < s_.entries.size(); ++i) {
      if (live_[p_.inputs.size() + i] && is_iota(i)) walks_.push_back(&s_.entries[i]);
    }
    for (size_t i = 0; i < s_.outputs.size(); ++i) {
      if (!is_reduction(i)) walks_.push_back(&s_.outputs[i]);
    }
    for (const CudaLoopWalk* w : walks_) any_linear_ = any_linear_ || w->linear;
  }

  std::string vector_of(const char* type) const { return std::string("LoopVector<") + type + ", " + str(s_.vector) + ">"; }
  std::string pointer(size_t at, const std::string& type) const { return "static_cast<" + type + "*>(args.at[" + str(static_cast<int64_t>(at)) + "])"; }

  void load(size_t input) {
    const CudaLoopWalk& w = s_.inputs[input];
    const std::string type = memory_type(in_.inputs[input]), name = "a" + str(static_cast<int64_t>(input));
    const std::string from = pointer(input, "const " + type), at = at_.place(w);
    if (at_.single(w)) return line("const " + type + " " + name + " = " + from + "[" + at + "];");
    const std::string vector = vector_of(type.c_str());
    if (at_.aligned(w)) return line("const " + vector + " " + name + " = *reinterpret_cast<const " + vector + "*>(" + from + " + " + at + ");");
    std::string list;
    for (int64_t v = 0; v < s_.vector; ++v) list += (v ? ", " : "") + from + "[" + at + " + " + number(v * at_.step(w)) + "]";
    line("const " + vector + " " + name + " = {{" + list + "}};");
  }

  // Those that vary over the terms of a result, or the others. (i is known where the former are read.)
  void loads(bool varying) {
    for (size_t i = 0; i < s_.inputs.size(); ++i) {
      if (live_[i] && (s_.inputs[i].linear || at_.varies(s_.inputs[i])) == varying) load(i);
    }
  }

  // Element v of an input or an iota, as a register.
  std::string element(size_t reg, int64_t v) const {
    if (reg >= p_.inputs.size()) {
      const CudaLoopWalk& w = s_.entries[reg - p_.inputs.size()];
      const int64_t lane = v * at_.step(w);
      return "static_cast<int32_t>(" + at_.place(w) + (lane ? " + " + number(lane) : "") + ")";
    }
    const std::string name = "a" + str(static_cast<int64_t>(reg)), value = at_.single(s_.inputs[reg]) ? name : name + ".at[" + str(v) + "]";
    const TensorDesc& t = in_.inputs[reg];
    if (is_half(t.layout)) return "float_of(" + value + ")";
    return bytes_of(t.dtype) == 1 ? "static_cast<int32_t>(" + value + ")" : value;
  }

  void store(size_t output) {
    const CudaLoopWalk& w = s_.outputs[output];
    const TensorDesc& t = in_.outputs[output];
    const std::string type = memory_type(t), to = pointer(in_.inputs.size() + output, type), at = at_.place(w);
    const auto value = [&](int64_t v) {
      const std::string y = result_name(p_.outputs[output].reg, v);
      if (is_half(t.layout)) return "half_of(" + y + ")";
      return bytes_of(t.dtype) == 1 ? "static_cast<uint8_t>(" + y + ")" : y;
    };
    if (s_.vector > 1 && at_.aligned(w)) {
      std::string list;
      for (int64_t v = 0; v < s_.vector; ++v) list += (v ? ", " : "") + value(v);
      const std::string vector = vector_of(type.c_str());
      return line("*reinterpret_cast<" + vector + "*>(" + to + " + " + at + ") = " + vector + "{{" + list + "}};");
    }
    for (int64_t v = 0; v < s_.vector; ++v) line(to + "[" + at + (v ? " + " + number(v * at_.step(w)) : "") + "] = " + value(v) + ";");
  }

  // ---- the program -------------------------------------------------------------------------------------------------------------------------
  static std::string result_name(int reg, int64_t v) { return "y" + str(reg) + "_" + str(v); }

  std::vector<int> result_registers() const {  // each once
    std::vector<int> list;
    std::vector<bool> seen(live_.size(), false);
    for (const LoopOutput& o : p_.outputs) {
      if (!seen[static_cast<size_t>(o.reg)]) list.push_back(o.reg);
      seen[static_cast<size_t>(o.reg)] = true;
    }
    return list;
  }
  std::vector<size_t> given_registers() const {  // inputs and iotas
    std::vector<size_t> list;
    for (size_t r = 0; r < live_.size(); ++r) {
      if (live_[r] && (r < p_.inputs.size() || is_iota(r - p_.inputs.size()))) list.push_back(r);
    }
    return list;
  }

  std::string parameter(size_t r) const {
    return std::string("const ") + loop_register_type(p_.type_of(static_cast<int>(r))) + " r" + str(static_cast<int64_t>(r));
  }

  // A function where several elements need it, otherwise it stands in the kernel.
  std::string body_function() const {
    std::string text = "LANGEVIN_DEVICE void @_element(";
    for (size_t r : given_registers()) text += parameter(r) + ", ";
    for (int r : result_registers()) text += std::string(loop_register_type(p_.type_of(r))) + "& y" + str(r) + ", ";
    text.resize(text.size() - 2);
    text += ") {\n" + loop_statements(p_, live_, "  ");
    for (int r : result_registers()) text += "  y" + str(r) + " = r" + str(r) + ";\n";
    return text + "}\n";
  }

  void elements() {
    for (int64_t v = 0; v < s_.vector; ++v) {
      for (int r : result_registers()) line(std::string(loop_register_type(p_.type_of(r))) + " " + result_name(r, v) + ";");
      if (s_.vector > 1) {
        std::string call = "@_element(";
        for (size_t r : given_registers()) call += element(r, v) + ", ";
        for (int r : result_registers()) call += result_name(r, v) + ", ";
        call.resize(call.size() - 2);
        line(call + ");");
        continue;
      }
      open("");
      for (size_t r : given_registers()) {
        line(parameter(r) + " = " + element(r, 0) + ";");
      }
      text_ += loop_statements(p_, live_, std::string(static_cast<size_t>(2 * depth_), ' '));
      for (int r : result_registers()) line(result_name(r, 0) + " = r" + str(r) + ";");
      close();
    }
  }

  // ---- the kernel --------------------------------------------------------------------------------------------------------------------------
  static std::string lane(const char* kind, size_t output, int64_t v) { return kind + str(static_cast<int64_t>(output)) + "_" + str(v); }

  template <class Visit>
  void each_reduction(Visit visit) const {
    for (size_t i = 0; i < p_.outputs.size(); ++i) {
      if (is_reduction(i)) visit(i);
    }
  }

  void kernel() {
    open("LANGEVIN_KERNEL(@, @_arguments, args)");
    const std::string thread = "static_cast<" + index() + ">(thread_index())", block = "static_cast<" + index() + ">(block_index())";
    line(variable("t", thread));
    if (s_.along > 1) line(variable("share", s_.rows ? "t % " + number(s_.along) : "t / " + number(s_.across)));
    const std::string column = s_.along == 1 ? "t" : s_.rows ? "t / " + number(s_.along) : "t % " + number(s_.across);
    if (s_.slices > 1) line(variable("slice", block + " / " + number(s_.blocks)));
    const std::string group = s_.slices > 1 ? block + " % " + number(s_.blocks) : block;
    const int64_t step = s_.rows ? 1 : s_.vector;
    line(variable("k", "(" + group + " * " + number(s_.across) + " + " + column + ")" + (step > 1 ? " * " + number(step) : "")));
    each_reduction([&](size_t o) {
      for (int64_t v = 0; v < s_.vector; ++v) line(std::string(accumulator_type(o)) + " " + lane("s", o, v) + " = " + neutral(o) + ";");
    });
    if (s_.reduces) line(index() + " result = 0;");
    open("if (k < " + number(s_.kept) + ")");
    for (const std::string& c : at_.coordinates(false, walks_)) line(c);
    if (s_.reduces) line("result = " + at_.result() + ";");
    loads(false);
    terms();
    close();
    if (s_.reduces) results();
    close();
  }

  void terms() {
    if (s_.term_units() == 1) {
      open("");
      unit(number(0), "s");
      return close();
    }
    bool runs = false;
    each_reduction([&](size_t o) { runs = runs || in_double(o); });
    const std::string begin = s_.along > 1 ? "share" : number(0), stride = number(s_.along), all = number(s_.term_units());
    if (s_.slices > 1) {
      line(variable("first", "slice * " + number(s_.slice_units)));
      line(variable("end", "first + " + number(s_.slice_units) + " < " + all + " ? first + " + number(s_.slice_units) + " : " + all));
    }
    const std::string from = s_.slices > 1 ? "first + " + begin : begin, to = s_.slices > 1 ? "end" : all;
    if (!runs) {
      open("for (" + index() + " u = " + from + "; u < " + to + "; u += " + stride + ")");
      term("s");
      return close();
    }
    open("for (" + index() + " u = " + from + "; u < " + to + ";)");
    const std::string length = number(kRun * s_.along);
    line(variable("stop", to + " - u > " + length + " ? u + " + length + " : " + to));
    each_run([&](size_t o, int64_t v) { line("float " + lane("p", o, v) + " = 0;"); });
    open("for (; u < stop; u += " + stride + ")");
    term("p");
    close();
    each_run([&](size_t o, int64_t v) { line(lane("s", o, v) + " += " + lane("p", o, v) + ";"); });
    close();
  }

  template <class Visit>
  void each_run(Visit visit) const {
    each_reduction([&](size_t o) {
      for (int64_t v = 0; in_double(o) && v < s_.vector; ++v) visit(o, v);
    });
  }

  void term(const char* sums) { unit(s_.rows && s_.vector > 1 ? "u * " + number(s_.vector) : "u", sums); }

  // The program for `vector` elements. `sums`: where sums in double go.
  void unit(const std::string& q, const char* sums) {
    const std::vector<std::string> coordinates = at_.coordinates(true, walks_);
    if (!coordinates.empty() || (any_linear_ && at_.has_dims(true))) line(variable("q", q));
    for (const std::string& c : coordinates) line(c);
    if (any_linear_) line(variable("i", at_.linear()));
    loads(true);
    elements();
    for (size_t o = 0; o < p_.outputs.size(); ++o) {
      for (int64_t v = 0; is_reduction(o) && v < s_.vector; ++v) {
        const std::string sum = lane(in_double(o) ? sums : "s", o, v);
        line(sum + " = " + folded(o, sum, result_name(p_.outputs[o].reg, v)) + ";");
      }
    }
    for (size_t o = 0; o < p_.outputs.size(); ++o) {
      if (!is_reduction(o)) store(o);
    }
  }

  void results() {
    bool first = true;
    each_reduction([&](size_t o) {
      if (s_.rows) {
        for (int64_t half = s_.vector / 2; half > 0; half /= 2) {
          for (int64_t v = 0; v < half; ++v) line(lane("s", o, v) + " = " + folded(o, lane("s", o, v), lane("s", o, v + half)) + ";");
        }
      }
      if (s_.along == 1) {
        open("if (k < " + number(s_.kept) + ")");
        for (int64_t v = 0; v < lanes(); ++v) write_result(o, v, lane("s", o, v));
        return close();
      }
      if (!first) line("block_barrier();");
      first = false;
      tree(o);
    });
  }

  // The threads of a block that share results fold what they have, in an order that depends on nothing.
  void tree(size_t o) {
    const std::string threads = number(kLoopThreads);
    const auto cell = [&](int64_t v) { return v ? "t + " + number(v * kLoopThreads) : std::string("t"); };
    open("");
    line(std::string("LANGEVIN_SHARED(") + accumulator_type(o) + ", shared);");
    for (int64_t v = 0; v < lanes(); ++v) line("shared[" + cell(v) + "] = " + lane("s", o, v) + ";");
    open("for (" + index() + " half = " + number(s_.along / 2) + "; half > 0; half /= 2)");
    line("block_barrier();");
    open("if (share < half)");
    for (int64_t v = 0; v < lanes(); ++v) {
      const std::string own = "shared[" + cell(v) + "]", other = "shared[" + cell(v) + " + half" + (s_.rows ? "" : " * " + number(s_.across)) + "]";
      line(own + " = " + folded(o, own, other) + ";");
    }
    close();
    close();
    open("if (share == 0 && k < " + number(s_.kept) + ")");
    for (int64_t v = 0; v < lanes(); ++v) write_result(o, v, "shared[" + cell(v) + "]");
    close();
    close();
    const size_t bytes = static_cast<size_t>(lanes() * kLoopThreads) * (in_double(o) ? 8 : 4);
    code_.shared = code_.shared < bytes ? bytes : code_.shared;
  }

  void write_result(size_t o, int64_t v, const std::string& value) {
    const int64_t lane_place = v * at_.step(s_.result);
    const std::string at = "result" + (lane_place ? " + " + number(lane_place) : "");
    if (s_.slices == 1) {
      const std::string type = memory_type(in_.outputs[o]);
      return line(pointer(in_.inputs.size() + o, type) + "[" + at + "] = static_cast<" + type + ">(" + value + ");");
    }
    size_t offset = 0;
    for (const LoopFold& f : code_.folds) {
      if (f.output == static_cast<int>(o)) offset = f.offset;
    }
    const std::string base = pointer(in_.inputs.size() + in_.outputs.size(), "unsigned char") + " + " + number(static_cast<int64_t>(offset));
    line(std::string("reinterpret_cast<") + accumulator_type(o) + "*>(" + base + ")[slice * " + number(s_.kept) + " + " + at + "] = " + value + ";");
  }

  const Instruction& in_;
  const LoopProgram& p_;
  const CudaLoopSpace s_;
  const LoopPlaces at_;
  const std::vector<bool> live_;
  std::vector<const CudaLoopWalk*> walks_;
  bool any_linear_ = false;
  CudaLoopCode code_;
  std::string text_;
  int depth_ = 0;
  bool deep_ = false;
};

}  // namespace

CudaLoopCode cuda_loop_code(const Instruction& instruction, const LoopProgram& program) { return Writer(instruction, program).write(); }

}  // namespace langevin
