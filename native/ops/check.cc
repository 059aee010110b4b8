// See check.h.
#include "ops/check.h"

#include <cmath>
#include <limits>

namespace langevin {

namespace {

constexpr size_t kLongestList = 64;

const nlohmann::json& require(const Instruction& instruction, const char* name) {
  if (instruction.attr.is_object()) {
    auto found = instruction.attr.find(name);
    if (found != instruction.attr.end()) return *found;
  }
  plan_fail(instruction, std::string("attribute '") + name + "' is required and missing");
}

int64_t integer_of(const Instruction& instruction, const char* name, const nlohmann::json& value, int64_t low, int64_t high) {
  int64_t n = 0;
  if (value.is_number_integer()) {
    if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
      plan_fail(instruction, std::string("attribute '") + name + "' is too large");
    }
    n = value.get<int64_t>();
  } else if (value.is_number_float()) {  // JavaScript writes 1e21 and the like as floats
    const double d = value.get<double>();
    if (!(std::fabs(d) <= 9007199254740991.0) || d != std::floor(d)) {
      plan_fail(instruction, std::string("attribute '") + name + "' must be an integer; got " + value.dump());
    }
    n = static_cast<int64_t>(d);
  } else {
    plan_fail(instruction, std::string("attribute '") + name + "' must be an integer; got a value of type " + value.type_name());
  }
  if (n < low || n > high) {
    plan_fail(instruction, std::string("attribute '") + name + "' must be in " + std::to_string(low) + ".." + std::to_string(high) +
                               "; got " + std::to_string(n));
  }
  return n;
}

}  // namespace

void plan_fail(const Instruction& instruction, const std::string& message) { throw PlanError("[" + instruction.name + "] " + message); }

std::string show_shape(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? "," : "") + std::to_string(shape[i]);
  return text + "]";
}

const char* show_dtype(DType dtype) {
  switch (dtype) {
    case DType::F32: return "float32";
    case DType::I32: return "int32";
    case DType::U8: return "uint8";
    case DType::Bool: return "bool";
  }
  return "?";
}

void layout_plain(Instruction& instruction) {
  for (TensorDesc& t : instruction.inputs) t.layout = Layout::Plain;
  for (TensorDesc& t : instruction.outputs) t.layout = Layout::Plain;
}

std::string to_string(const TensorDesc& t) {
  std::string text = show_dtype(t.dtype) + show_shape(t.shape);
  if (block_of(t.layout) > 1) text += ":" + std::to_string(block_of(t.layout));
  if (is_channels_last(t.layout)) text += ":nhwc";
  if (is_half(t.layout)) text += ":half";
  return text;
}

void expect_inputs(const Instruction& instruction, size_t least, size_t most) {
  const size_t n = instruction.inputs.size();
  if (n >= least && n <= most) return;
  std::string range = std::to_string(least);
  if (most != least) range += most == SIZE_MAX ? " or more" : " to " + std::to_string(most);
  plan_fail(instruction, "takes " + range + " inputs; got " + std::to_string(n));
}

void expect_outputs(const Instruction& instruction, size_t count) {
  const size_t n = instruction.outputs.size();
  if (n != count) plan_fail(instruction, "has " + std::to_string(count) + " outputs; got " + std::to_string(n));
}

void expect_dtype(const Instruction& instruction, const TensorDesc& t, DType dtype, const char* what) {
  expect_dtype(instruction, t, {dtype}, what);
}

void expect_dtype(const Instruction& instruction, const TensorDesc& t, std::initializer_list<DType> any_of, const char* what) {
  std::string names;
  for (DType d : any_of) {
    if (d == t.dtype) return;
    names += (names.empty() ? "" : " or ") + std::string(show_dtype(d));
  }
  plan_fail(instruction, std::string(what) + " must be " + names + "; got " + to_string(t));
}

void expect_rank(const Instruction& instruction, const TensorDesc& t, size_t rank, const char* what) {
  if (t.shape.size() != rank) plan_fail(instruction, std::string(what) + " must have rank " + std::to_string(rank) + "; got " + to_string(t));
}

void expect_shape(const Instruction& instruction, const TensorDesc& t, const Shape& shape, const char* what) {
  if (t.shape != shape) plan_fail(instruction, std::string(what) + " must have shape " + show_shape(shape) + "; got " + show_shape(t.shape));
}

bool has_attr(const Instruction& instruction, const char* name) {
  return instruction.attr.is_object() && instruction.attr.contains(name);
}

int64_t attr_int(const Instruction& instruction, const char* name, int64_t low, int64_t high) {
  return integer_of(instruction, name, require(instruction, name), low, high);
}

int64_t attr_int_or(const Instruction& instruction, const char* name, int64_t low, int64_t high, int64_t otherwise) {
  return has_attr(instruction, name) ? attr_int(instruction, name, low, high) : otherwise;
}

bool read_number(const nlohmann::json& value, double* number) {
  if (value.is_number()) {
    *number = value.get<double>();
    return true;
  }
  if (!value.is_string()) return false;
  const std::string& text = value.get_ref<const std::string&>();
  if (text == "Infinity") *number = std::numeric_limits<double>::infinity();
  else if (text == "-Infinity") *number = -std::numeric_limits<double>::infinity();
  else if (text == "NaN") *number = std::numeric_limits<double>::quiet_NaN();
  else return false;
  return true;
}

double attr_number(const Instruction& instruction, const char* name) {
  const nlohmann::json& value = require(instruction, name);
  double number = 0;
  if (!read_number(value, &number)) plan_fail(instruction, std::string("attribute '") + name + "' must be a number; got a value of type " + value.type_name());
  return number;
}

double attr_number_or(const Instruction& instruction, const char* name, double otherwise) {
  return has_attr(instruction, name) ? attr_number(instruction, name) : otherwise;
}

bool attr_bool(const Instruction& instruction, const char* name) {
  const nlohmann::json& value = require(instruction, name);
  if (!value.is_boolean()) plan_fail(instruction, std::string("attribute '") + name + "' must be true or false; got a value of type " + value.type_name());
  return value.get<bool>();
}

bool attr_bool_or(const Instruction& instruction, const char* name, bool otherwise) {
  return has_attr(instruction, name) ? attr_bool(instruction, name) : otherwise;
}

std::string attr_string(const Instruction& instruction, const char* name) {
  const nlohmann::json& value = require(instruction, name);
  if (!value.is_string()) plan_fail(instruction, std::string("attribute '") + name + "' must be a string; got a value of type " + value.type_name());
  return value.get<std::string>();
}

std::vector<int64_t> attr_ints(const Instruction& instruction, const char* name, int count, int64_t low, int64_t high) {
  const nlohmann::json& value = require(instruction, name);
  if (!value.is_array()) plan_fail(instruction, std::string("attribute '") + name + "' must be an array; got a value of type " + value.type_name());
  if (value.size() > kLongestList || (count >= 0 && value.size() != static_cast<size_t>(count))) {
    plan_fail(instruction, std::string("attribute '") + name + "' must have " +
                               (count >= 0 ? std::to_string(count) : "at most " + std::to_string(kLongestList)) + " entries; got " +
                               std::to_string(value.size()));
  }
  std::vector<int64_t> list;
  for (const auto& entry : value) list.push_back(integer_of(instruction, name, entry, low, high));
  return list;
}

}  // namespace langevin
