// See plan_decode.h.
#include "runtime/plan_decode.h"

#include <cmath>

#include "ops/check.h"
#include "runtime/device_tensor.h"

namespace langevin {

namespace {

using nlohmann::json;

constexpr size_t kLongestText = size_t{1} << 28;
constexpr int kDeepest = 32;
constexpr size_t kMostValues = 4'000'000;
constexpr size_t kMostOperands = 4096;

[[noreturn]] void fail(const std::string& message) { throw PlanError(message); }

// nlohmann parses without recursion but copies and prints with it, so nesting is limited before.
void check_depth(const std::string& text, const char* what) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      else if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kDeepest) fail(std::string(what) + ": nested deeper than " + std::to_string(kDeepest));
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
}

const json& member(const json& object, const char* name, const std::string& where) {
  if (!object.is_object()) fail(where + " must be an object; got a value of type " + object.type_name());
  const auto found = object.find(name);
  if (found == object.end()) fail(where + " needs '" + name + "'");
  return *found;
}

const json& list(const json& object, const char* name, const std::string& where, size_t most) {
  const json& value = member(object, name, where);
  if (!value.is_array()) fail(where + "." + name + " must be an array; got a value of type " + value.type_name());
  if (value.size() > most) fail(where + "." + name + " has " + std::to_string(value.size()) + " entries; at most " + std::to_string(most));
  return value;
}

int64_t integer(const json& value, int64_t low, int64_t high, const std::string& where) {
  double number = 0;
  if (!value.is_number()) fail(where + " must be an integer; got a value of type " + value.type_name());
  number = value.get<double>();
  if (!(number >= static_cast<double>(low) && number <= static_cast<double>(high)) || number != std::floor(number)) {
    fail(where + " must be an integer in " + std::to_string(low) + ".." + std::to_string(high) + "; got " + value.dump());
  }
  return static_cast<int64_t>(number);
}

std::string at(const char* name, size_t i) { return std::string(name) + "[" + std::to_string(i) + "]"; }

DType decode_dtype(const json& value, const std::string& where) {
  if (value.is_string()) {
    const std::string& name = value.get_ref<const std::string&>();
    for (DType t : {DType::F32, DType::I32, DType::U8, DType::Bool}) {
      if (name == show_dtype(t)) return t;
    }
  }
  fail(where + ".dtype must be 'float32', 'int32', 'uint8' or 'bool'");
}

TensorDesc decode_value(const json& entry, const std::string& where) {
  TensorDesc t;
  t.dtype = decode_dtype(member(entry, "dtype", where), where);
  const json& shape = list(entry, "shape", where, 64);
  for (size_t i = 0; i < shape.size(); ++i) t.shape.push_back(integer(shape[i], 0, int64_t{1} << 40, where + ".shape"));
  try {
    check_limits(t.dtype, t.shape);
  } catch (const PlanError& error) {
    fail(where + ": " + error.what());
  }
  return t;
}

// Decodes in order and keeps which values have been written so far.
class Decoder {
 public:
  Decoder(json& root, size_t blob_bytes) : root_(root), blob_bytes_(blob_bytes) {}

  DecodedPlan decode() {
    if (integer(member(root_, "version", "plan"), 0, 1 << 20, "plan.version") != 1) fail("plan.version must be 1");
    precision();
    const json& values = list(root_, "values", "plan", kMostValues);
    plan_.values.reserve(values.size());
    for (size_t i = 0; i < values.size(); ++i) plan_.values.push_back(decode_value(values[i], at("values", i)));
    written_.assign(values.size(), false);
    is_parameter_.assign(values.size(), false);
    const json& inputs = list(root_, "inputs", "plan", kMostValues);
    for (size_t i = 0; i < inputs.size(); ++i) {
      const int id = define(inputs[i], at("inputs", i));
      is_parameter_[id] = true;
      plan_.inputs.push_back(id);
    }
    constants();
    code();
    outputs();
    return std::move(plan_);
  }

 private:
  void precision() {
    const auto found = root_.find("precision");
    if (found == root_.end() || *found == "float32") return;
    if (*found != "bfloat16") fail("plan.precision must be 'float32' or 'bfloat16'; got " + found->dump().substr(0, 40));
    plan_.bfloat16 = true;
  }

  int value_id(const json& value, const std::string& where) {
    if (plan_.values.empty()) fail(where + " names a value; the plan has none");
    return static_cast<int>(integer(value, 0, static_cast<int64_t>(plan_.values.size()) - 1, where));
  }
  int define(const json& value, const std::string& where) {
    const int id = value_id(value, where);
    if (written_[id]) fail(where + ": value " + std::to_string(id) + " is written twice");
    written_[id] = true;
    return id;
  }
  int use(const json& value, const std::string& where) {
    const int id = value_id(value, where);
    if (!written_[id]) fail(where + ": value " + std::to_string(id) + " is read before it is written");
    return id;
  }

  void constants() {
    const json& constants = list(root_, "constants", "plan", kMostValues);
    for (size_t i = 0; i < constants.size(); ++i) {
      const std::string where = at("constants", i);
      const int id = define(member(constants[i], "value", where), where + ".value");
      const TensorDesc& t = plan_.values[id];
      const auto offset = static_cast<size_t>(integer(member(constants[i], "offset", where), 0, int64_t{1} << 50, where + ".offset"));
      if (offset > blob_bytes_ || t.bytes() > blob_bytes_ - offset) {
        fail(where + ": bytes " + std::to_string(offset) + ".." + std::to_string(offset + t.bytes()) + " lie outside the blob of " +
             std::to_string(blob_bytes_) + " bytes");
      }
      is_parameter_[id] = true;
      plan_.constants.push_back({id, offset});
    }
  }

  void code() {
    member(root_, "code", "plan");
    list(root_, "code", "plan", kMostValues);
    json& code = root_["code"];
    plan_.code.reserve(code.size());
    for (size_t i = 0; i < code.size(); ++i) {
      try {
        plan_.code.push_back(instruction(code[i]));
      } catch (const PlanError& error) {
        fail(at("code", i) + ": " + error.what());
      }
    }
  }

  DecodedCode instruction(json& entry) {
    const json& op = member(entry, "op", "instruction");
    if (!op.is_string()) fail("op must be a string; got a value of type " + std::string(op.type_name()));
    DecodedCode decoded;
    const std::string& name = op.get_ref<const std::string&>();
    const json& in = list(entry, "in", "instruction", kMostOperands);
    const json& out = list(entry, "out", "instruction", kMostOperands);
    for (size_t i = 0; i < in.size(); ++i) decoded.inputs.push_back(use(in[i], at("in", i)));
    for (size_t i = 0; i < out.size(); ++i) decoded.outputs.push_back(define(out[i], at("out", i)));
    if (name == "reshape") {
      check_reshape(decoded);
      return decoded;
    }
    decoded.op = find_op(name);
    if (decoded.op < 0) fail("unknown op '" + name.substr(0, 40) + "'");
    Instruction& instruction = decoded.instruction;
    instruction.op = decoded.op;
    instruction.name = name;
    for (int id : decoded.inputs) {
      instruction.inputs.push_back(plan_.values[id]);
      instruction.input_is_parameter.push_back(is_parameter_[id]);
    }
    for (int id : decoded.outputs) instruction.outputs.push_back(plan_.values[id]);
    instruction.attr = json::object();
    const auto attr = entry.find("attr");
    if (attr != entry.end()) {
      if (!attr->is_object()) fail("attr must be an object; got a value of type " + std::string(attr->type_name()));
      instruction.attr = std::move(*attr);
    }
    op_entry(decoded.op).check(instruction);
    return decoded;
  }

  void check_reshape(const DecodedCode& code) {
    if (code.inputs.size() != 1 || code.outputs.size() != 1) fail("[reshape] takes one input and has one output");
    const TensorDesc& from = plan_.values[code.inputs[0]];
    const TensorDesc& to = plan_.values[code.outputs[0]];
    if (from.dtype != to.dtype || from.size() != to.size()) {
      fail("[reshape] must keep dtype and number of elements; got " + to_string(from) + " and " + to_string(to));
    }
    is_parameter_[code.outputs[0]] = is_parameter_[code.inputs[0]];
  }

  void outputs() {
    const json& outputs = list(root_, "outputs", "plan", kMostValues);
    std::vector<bool> aliased(plan_.inputs.size(), false);
    for (size_t i = 0; i < outputs.size(); ++i) {
      const std::string where = at("outputs", i);
      DecodedPlan::Output output{use(member(outputs[i], "value", where), where + ".value"), -1};
      const auto alias = outputs[i].find("alias");
      if (alias != outputs[i].end() && !alias->is_null()) {
        if (plan_.inputs.empty()) fail(where + ".alias names an input; the plan has none");
        output.alias = static_cast<int>(integer(*alias, 0, static_cast<int64_t>(plan_.inputs.size()) - 1, where + ".alias"));
        const TensorDesc& from = plan_.values[plan_.inputs[output.alias]];
        const TensorDesc& to = plan_.values[output.value];
        if (from.dtype != to.dtype || from.shape != to.shape) {
          fail(where + " is " + to_string(to) + " and cannot share the memory of input " + std::to_string(output.alias) + ", " + to_string(from));
        }
        if (aliased[output.alias]) fail(where + ".alias: input " + std::to_string(output.alias) + " is the alias of two outputs");
        aliased[output.alias] = true;
      }
      plan_.outputs.push_back(output);
    }
  }

  json& root_;
  size_t blob_bytes_;
  DecodedPlan plan_;
  std::vector<bool> written_;
  std::vector<bool> is_parameter_;  // plan inputs, constants and their reshapes
};

}  // namespace

nlohmann::json parse_json(const std::string& text, const char* what) {
  if (text.size() > kLongestText) fail(std::string(what) + ": " + std::to_string(text.size()) + " bytes of JSON; at most " + std::to_string(kLongestText));
  check_depth(text, what);
  try {
    return json::parse(text);
  } catch (const json::exception& error) {
    fail(std::string(what) + " is not valid JSON: " + error.what());
  }
}

DecodedPlan decode_plan(const std::string& text, size_t blob_bytes) {
  json root = parse_json(text, "plan");
  if (!root.is_object()) fail(std::string("plan must be an object; got a value of type ") + root.type_name());
  try {
    return Decoder(root, blob_bytes).decode();
  } catch (const json::exception& error) {  // a check that read an attribute carelessly
    fail(std::string("plan has a value of an unexpected type: ") + error.what());
  }
}

}  // namespace langevin
