// Helpers for the check_<name> functions and for reading attributes that have been checked. Every failure is a PlanError whose
// message starts with "[op]". Nothing here knows a particular op.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "ops/registry.h"

namespace langevin {

[[noreturn]] void plan_fail(const Instruction& instruction, const std::string& message);  // PlanError "[op] message"

std::string show_shape(const Shape& shape);  // "[8,16]"
const char* show_dtype(DType dtype);         // "float32", "int32", "uint8", "bool"

// Arity.
void expect_inputs(const Instruction& instruction, size_t least, size_t most);
inline void expect_inputs(const Instruction& instruction, size_t count) { expect_inputs(instruction, count, count); }
void expect_outputs(const Instruction& instruction, size_t count);

// `what` names the operand in the message: "input 0 (x)".
void expect_dtype(const Instruction& instruction, const TensorDesc& t, DType dtype, const char* what);
void expect_dtype(const Instruction& instruction, const TensorDesc& t, std::initializer_list<DType> any_of, const char* what);
void expect_rank(const Instruction& instruction, const TensorDesc& t, size_t rank, const char* what);
void expect_shape(const Instruction& instruction, const TensorDesc& t, const Shape& shape, const char* what);

// Attributes. Numbers must be integers where an integer is asked for; booleans and strings do not pass for numbers.
bool has_attr(const Instruction& instruction, const char* name);
int64_t attr_int(const Instruction& instruction, const char* name, int64_t low, int64_t high);  // low <= value <= high, else PlanError
int64_t attr_int_or(const Instruction& instruction, const char* name, int64_t low, int64_t high, int64_t otherwise);
// JSON has no infinities: a number of a plan may also be the string "Infinity", "-Infinity" or "NaN".
bool read_number(const nlohmann::json& value, double* number);  // false: neither a number nor one of the three
double attr_number(const Instruction& instruction, const char* name);
double attr_number_or(const Instruction& instruction, const char* name, double otherwise);
bool attr_bool(const Instruction& instruction, const char* name);
bool attr_bool_or(const Instruction& instruction, const char* name, bool otherwise);
std::string attr_string(const Instruction& instruction, const char* name);
// An array of integers within low..high; `count` < 0 takes any length up to 64.
std::vector<int64_t> attr_ints(const Instruction& instruction, const char* name, int count, int64_t low, int64_t high);

}  // namespace langevin
