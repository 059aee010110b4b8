// Decoding and checking of `loop` programs; see loop_program.h. No kernels here.
#include <cmath>
#include <unordered_map>

#include "ops/check.h"
#include "ops/loop_program.h"

namespace langevin {

namespace {

constexpr size_t kMaxRank = 12, kMaxInputs = 1024, kMaxEntries = 16384, kMaxOutputs = 1024;

enum class Signature : uint8_t { F_F, F_B, B_B, N_N, NN_N, NNN_N, II_I, NN_C, BB_B, FF_F, BTT_T, A_F, A_I, A_B, A_U };

struct OpRow {
  const char* name;
  int operands;
  Signature signature;
};

const OpRow kRows[] = {
#define LANGEVIN_LOOP_OP(name, operands, signature) {#name, operands, Signature::signature},
#include "ops/functors_table.h"
#undef LANGEVIN_LOOP_OP
};

int find_row(const std::string& name) {
  static const std::unordered_map<std::string, int> index = [] {
    std::unordered_map<std::string, int> map;
    for (int i = 0; i < kLoopFunctions; ++i) map.emplace(kRows[i].name, i);
    return map;
  }();
  const auto found = index.find(name);
  return found == index.end() ? -1 : found->second;
}

const char* show_register(RegisterType t) { return t == RegisterType::F32 ? "float32" : t == RegisterType::I32 ? "int32" : "bool"; }

RegisterType register_of(DType t) {
  return t == DType::F32 ? RegisterType::F32 : t == DType::Bool ? RegisterType::Bool : RegisterType::I32;
}

// An integer entry of a program row, within 0..high.
int read_index(const Instruction& in, const nlohmann::json& value, int64_t high, const std::string& where) {
  double number = 0;
  const bool whole = value.is_number() && read_number(value, &number) && number == std::floor(number);
  if (!whole || number < 0 || number > static_cast<double>(high)) {
    plan_fail(in, where + " must be an integer in 0.." + std::to_string(high) + "; got " + value.dump());
  }
  return static_cast<int>(number);
}

class Decoder {
 public:
  explicit Decoder(const Instruction& in) : in_(in) {}

  LoopProgram decode() {
    read_shape();
    for (const TensorDesc& t : in_.inputs) read_input(t);
    const auto& rows = list("program", kMaxEntries);
    for (const auto& row : rows) read_row(row);
    read_outputs();
    return std::move(p_);
  }

 private:
  const nlohmann::json& list(const char* name, size_t most) {
    if (!has_attr(in_, name)) plan_fail(in_, std::string("attribute '") + name + "' is required and missing");
    const auto& value = in_.attr.at(name);
    if (!value.is_array() || value.size() > most) {
      plan_fail(in_, std::string("attribute '") + name + "' must be an array of at most " + std::to_string(most) + " entries");
    }
    return value;
  }

  void read_shape() {
    const auto& dims = list("shape", kMaxRank);
    int64_t total = 1;
    for (size_t i = 0; i < dims.size(); ++i) {
      const int64_t d = read_index(in_, dims[i], INT32_MAX, "shape entry " + std::to_string(i));
      p_.shape.push_back(d);
      if (d != 0 && total > (int64_t{1} << 40) / d) plan_fail(in_, "iteration shape " + show_shape(p_.shape) + " is too large");
      total *= d == 0 ? 1 : d;
    }
    if (in_.inputs.size() > kMaxInputs) plan_fail(in_, "takes at most 1024 inputs; got " + std::to_string(in_.inputs.size()));
  }

  void read_input(const TensorDesc& t) {
    const size_t rank = p_.shape.size(), own = t.shape.size();
    bool fits = own <= rank;
    for (size_t i = 0; fits && i < own; ++i) {
      const int64_t d = t.shape[own - 1 - i];
      fits = d == 1 || d == p_.shape[rank - 1 - i];
    }
    if (!fits) {
      plan_fail(in_, "input " + std::to_string(p_.inputs.size()) + " must broadcast to " + show_shape(p_.shape) + "; got " +
                         show_shape(t.shape));
    }
    p_.inputs.push_back(register_of(t.dtype));
  }

  std::string where() const { return "program entry " + std::to_string(p_.entries.size()); }

  void read_row(const nlohmann::json& row) {
    if (!row.is_array() || row.empty() || !row[0].is_string()) plan_fail(in_, where() + " must be [name, operands...]; got " + row.dump());
    const std::string& name = row[0].get_ref<const std::string&>();
    LoopEntry e{};
    if (name == "const" || name == "const_int" || name == "iota") {
      read_source(row, name, &e);
    } else {
      const int index = find_row(name);
      if (index < 0) plan_fail(in_, where() + ": no loop op is named '" + name + "'");
      e.op = static_cast<LoopOp>(index);
      e.operands = kRows[index].operands;
      if (row.size() != static_cast<size_t>(e.operands) + 1) {
        plan_fail(in_, where() + ": " + name + " takes " + std::to_string(e.operands) + " operands; got " + std::to_string(row.size() - 1));
      }
      const int64_t known = static_cast<int64_t>(p_.inputs.size() + p_.entries.size());
      for (int i = 0; i < e.operands; ++i) {
        if (known == 0) plan_fail(in_, where() + ": " + name + " reads a register, but none is defined yet");
        e.args[i] = read_index(in_, row[static_cast<size_t>(i) + 1], known - 1, where() + ", operand " + std::to_string(i));
      }
      assign_types(kRows[index], &e);
    }
    p_.entries.push_back(e);
  }

  void read_source(const nlohmann::json& row, const std::string& name, LoopEntry* e) {
    if (row.size() != 2) plan_fail(in_, where() + ": " + name + " takes one value; got " + row.dump());
    double number = 0;
    if (!read_number(row[1], &number)) plan_fail(in_, where() + ": " + name + " must be given a number; got " + row[1].dump());
    e->type = e->operand = name == "const" ? RegisterType::F32 : RegisterType::I32;
    if (name == "const") {
      e->op = LoopOp::const_float;
      const bool overflows = std::fabs(number) > 3.4028235677973366e38;  // the conversion itself would be undefined
      e->float_value = overflows ? std::copysign(INFINITY, number > 0 ? 1.0f : -1.0f) : static_cast<float>(number);
    } else if (name == "const_int") {
      e->op = LoopOp::const_int;
      if (!(number >= -2147483648.0 && number <= 4294967295.0) || number != std::floor(number)) {
        plan_fail(in_, where() + ": const_int must be a 32-bit integer; got " + row[1].dump());
      }
      e->int_value = static_cast<int32_t>(static_cast<uint32_t>(static_cast<int64_t>(number)));
    } else {
      e->op = LoopOp::iota;
      if (p_.shape.empty()) plan_fail(in_, where() + ": iota needs an axis, and the iteration shape is a scalar");
      e->int_value = read_index(in_, row[1], static_cast<int64_t>(p_.shape.size()) - 1, where() + ", axis");
    }
  }

  void assign_types(const OpRow& row, LoopEntry* e) {
    const RegisterType first = p_.type_of(e->args[0]);
    const auto need = [&](int i, RegisterType t) {
      const RegisterType have = p_.type_of(e->args[i]);
      if (have == t) return;
      plan_fail(in_, where() + ": operand " + std::to_string(i) + " of " + row.name + " must be " + show_register(t) + "; got " +
                         show_register(have));
    };
    const auto need_all = [&](RegisterType t) {
      for (int i = 0; i < row.operands; ++i) need(i, t);
    };
    e->operand = e->type = first;
    switch (row.signature) {
      case Signature::F_F:
      case Signature::FF_F: need_all(RegisterType::F32); break;
      case Signature::F_B: need_all(RegisterType::F32); e->type = RegisterType::Bool; break;
      case Signature::B_B:
      case Signature::BB_B: need_all(RegisterType::Bool); break;
      case Signature::II_I: need_all(RegisterType::I32); break;
      case Signature::N_N:
      case Signature::NN_N:
      case Signature::NNN_N:
        if (first == RegisterType::Bool) need(0, RegisterType::F32);
        need_all(first);
        break;
      case Signature::NN_C: need_all(first); e->type = RegisterType::Bool; break;
      case Signature::BTT_T:
        need(0, RegisterType::Bool);
        e->operand = e->type = p_.type_of(e->args[1]);
        need(2, e->type);
        break;
      case Signature::A_F: e->type = RegisterType::F32; break;
      case Signature::A_I:
      case Signature::A_U: e->type = RegisterType::I32; break;
      case Signature::A_B: e->type = RegisterType::Bool; break;
    }
  }

  void read_outputs() {
    const auto& outputs = list("outputs", kMaxOutputs);
    if (outputs.empty()) plan_fail(in_, "has at least one output");
    expect_outputs(in_, outputs.size());
    bool reduces = false;
    for (const auto& o : outputs) reduces = reduces || (o.is_object() && o.contains("reduce"));
    if (reduces) read_axes();
    for (size_t i = 0; i < outputs.size(); ++i) read_output(outputs[i], i);
  }

  void read_axes() {
    std::vector<bool> taken(p_.shape.size(), false);
    for (const auto& a : list("axes", kMaxRank)) {
      if (p_.shape.empty()) plan_fail(in_, "axes of a scalar iteration shape must be empty");
      const int axis = read_index(in_, a, static_cast<int64_t>(p_.shape.size()) - 1, "an entry of axes");
      if (taken[static_cast<size_t>(axis)]) plan_fail(in_, "axes must be distinct; " + std::to_string(axis) + " stands twice");
      taken[static_cast<size_t>(axis)] = true;
    }
    for (size_t i = 0; i < taken.size(); ++i) {
      if (taken[i]) p_.axes.push_back(static_cast<int>(i));
    }
  }

  void read_output(const nlohmann::json& o, size_t i) {
    const std::string name = "output " + std::to_string(i);
    const int64_t known = static_cast<int64_t>(p_.inputs.size() + p_.entries.size());
    if (known == 0 || !o.is_object() || !o.contains("register")) {
      plan_fail(in_, name + " must be {register, reduce?} of a defined register");
    }
    LoopOutput out;
    out.reg = read_index(in_, o.at("register"), known - 1, name + ", register");
    const TensorDesc& t = in_.outputs[i];
    const RegisterType type = p_.type_of(out.reg);
    if (o.contains("reduce")) {
      const auto& r = o.at("reduce");
      out.reduce = r == "sum" ? Reduce::Sum : r == "max" ? Reduce::Max : r == "min" ? Reduce::Min : Reduce::None;
      if (out.reduce == Reduce::None) plan_fail(in_, name + ": reduce must be \"sum\", \"max\" or \"min\"; got " + r.dump());
      if (type == RegisterType::Bool) plan_fail(in_, name + ": a bool register cannot be reduced; cast it first");
      expect_dtype(in_, t, type == RegisterType::F32 ? DType::F32 : DType::I32, name.c_str());
      expect_reduced_shape(t, name);
    } else {
      expect_shape(in_, t, p_.shape, name.c_str());
      if (type == RegisterType::F32) expect_dtype(in_, t, DType::F32, name.c_str());
      if (type == RegisterType::Bool) expect_dtype(in_, t, DType::Bool, name.c_str());
      if (type == RegisterType::I32) expect_dtype(in_, t, {DType::I32, DType::U8}, name.c_str());
    }
    p_.outputs.push_back(out);
  }

  void expect_reduced_shape(const TensorDesc& t, const std::string& name) {
    Shape removed, kept = p_.shape;
    size_t next = 0;
    for (size_t i = 0; i < p_.shape.size(); ++i) {
      if (next < p_.axes.size() && p_.axes[next] == static_cast<int>(i)) {
        kept[i] = 1;
        ++next;
      } else {
        removed.push_back(p_.shape[i]);
      }
    }
    if (t.shape != removed && t.shape != kept) {
      plan_fail(in_, name + " must have the reduced shape " + show_shape(removed) + " or " + show_shape(kept) + "; got " +
                         show_shape(t.shape));
    }
  }

  const Instruction& in_;
  LoopProgram p_;
};

// A full-shape operand can be read with stride 1 in blocked order only if it is blocked itself.
bool is_full(const TensorDesc& t, const Shape& shape) { return t.shape == shape; }

Layout blocked(int64_t b) { return b == 16 ? Layout::Blocked16 : Layout::Blocked8; }

// The block to iterate in, given the layouts in which the inputs exist; 1: plain.
int wanted_block(const Instruction& in, const LoopProgram& p) {
  if (p.shape.size() != 4) return 1;
  int b = 1;
  for (const TensorDesc& t : in.inputs) {
    if (!is_full(t, p.shape)) continue;
    if (t.dtype != DType::F32) return 1;
    if (b == 1) b = block_of(t.layout);
  }
  if (b == 1 || p.shape[1] % b != 0) return 1;
  for (size_t i = 0; i < p.outputs.size(); ++i) {
    if (p.outputs[i].reduce == Reduce::None && in.outputs[i].dtype != DType::F32) return 1;
  }
  return b;
}

}  // namespace

LoopProgram decode_loop(const Instruction& instruction) { return Decoder(instruction).decode(); }

void check_loop(const Instruction& instruction) { decode_loop(instruction); }

std::vector<std::string> loop_op_names() {
  std::vector<std::string> names;
  for (const OpRow& row : kRows) names.emplace_back(row.name);
  for (const char* source : {"const", "const_int", "iota"}) names.emplace_back(source);
  return names;
}

void layout_loop(Instruction& in) {
  const LoopProgram p = decode_loop(in);
  const int b = wanted_block(in, p);
  for (TensorDesc& t : in.inputs) {
    const bool full = is_full(t, p.shape);
    if (full && is_half(t.layout) && block_of(t.layout) == b) continue;  // read as it is
    t.layout = full_layout(t.layout);
    // Memory of [N,C,1,1] is the same in both layouts: take it as it comes.
    const bool indifferent = b > 1 && !full && block_of(t.layout) == b && t.shape[1] == p.shape[1];
    if (!indifferent) t.layout = full && b > 1 ? blocked(b) : Layout::Plain;
  }
  for (size_t i = 0; i < in.outputs.size(); ++i) {
    Layout& layout = in.outputs[i].layout;
    layout = p.outputs[i].reduce == Reduce::None && b > 1 ? blocked(b) : Layout::Plain;
    const bool whole = p.outputs[i].reduce == Reduce::None && in.outputs[i].dtype == DType::F32;
    if (in.bfloat16 && whole && in.half_outputs[i] == HalfUse::Wanted) layout = half_layout(layout);
  }
}

HalfUse loop_half_use(const Instruction& in, int input) {
  const TensorDesc& t = in.inputs[static_cast<size_t>(input)];
  return t.dtype == DType::F32 && t.shape == in.attr.at("shape").get<Shape>() ? HalfUse::May : HalfUse::No;
}

int loop_block(const Instruction& in, const LoopProgram& p) {
  for (const TensorDesc& t : in.outputs) {
    if (is_full(t, p.shape) && block_of(t.layout) > 1) return block_of(t.layout);
  }
  for (const TensorDesc& t : in.inputs) {
    if (is_full(t, p.shape) && block_of(t.layout) > 1) return block_of(t.layout);
  }
  return 1;
}

// A computed output may overwrite a full-shape input of the same type and layout: within a tile elements are read before they are
// written. An output that is itself (a cast of) an input may not: it is copied when others may have been written already.
bool in_place_loop(const Instruction& in, int input, int output) {
  const LoopProgram p = decode_loop(in);
  const LoopOutput& o = p.outputs[static_cast<size_t>(output)];
  const TensorDesc& a = in.inputs[static_cast<size_t>(input)];
  const TensorDesc& b = in.outputs[static_cast<size_t>(output)];
  if (o.reduce != Reduce::None || a.dtype != b.dtype || a.layout != b.layout || !is_full(a, p.shape)) return false;
  const int inputs = static_cast<int>(p.inputs.size());
  int reg = o.reg;
  while (reg >= inputs) {
    const LoopEntry& e = p.entries[static_cast<size_t>(reg - inputs)];
    if (e.op < LoopOp::cast_float_op || e.op > LoopOp::cast_byte_op) return true;
    reg = e.args[0];
  }
  return false;
}

}  // namespace langevin
