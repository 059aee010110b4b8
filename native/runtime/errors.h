// The failures that carry another code than E_PLAN. PlanError itself stands in tensor.h.
#pragma once

#include <stdexcept>
#include <string>

namespace langevin {

// A failure with the code that JavaScript sees: E_SHAPE, E_DTYPE, E_DEVICE, E_CANCELLED or E_INTERNAL.
class CodedError : public std::runtime_error {
 public:
  CodedError(const char* code, const std::string& message) : std::runtime_error(message), code_(code) {}
  const char* code() const { return code_; }

 private:
  const char* code_;
};

}  // namespace langevin
