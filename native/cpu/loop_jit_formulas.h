// Formulas of a fused loop's functions as machine code, a vector of 16 lanes at a time; which registers hold what, and the loop around them, is
// loop_jit.cc's. Empty where there is no machine code (see loop_jit.h).
#pragma once

#if defined(LANGEVIN_XBYAK) && defined(__x86_64__) && defined(__linux__)
#define LANGEVIN_LOOP_CODE

#include <xbyak/xbyak.h>

#include <cstdint>
#include <vector>

#include "cpu/loop_jit.h"

namespace langevin {

class LoopFormulas : public Xbyak::CodeGenerator {
 public:
  static bool has(LoopOp op, RegisterType operand);

 protected:
  using Opmask = Xbyak::Opmask;
  using Reg64 = Xbyak::Reg64;
  using Zmm = Xbyak::Zmm;

  static constexpr int kTemporaries = 8;  // zmm24..31, and the masks k2 and k3: changed by every formula

  LoopFormulas() : Xbyak::CodeGenerator(4096, Xbyak::AutoGrow) {}

  // y = op(a, b, c) for a step that `has` a formula; y is none of the operands' registers.
  void compute(const JitStep& s, const Zmm& y, const Zmm& a, const Zmm& b, const Zmm& c);

  // The constants that the formulas read; pool_ points at them while they run.
  const std::vector<uint32_t>& pool_values() const { return pool_values_; }
  const Reg64 pool_ = r11;

 private:
  Xbyak::RegExp place(uint32_t bits);
  static uint32_t bits_of(float value);
  // As operands, spread over the lanes.
  Xbyak::Address word(uint32_t bits) { return ptr_b[place(bits)]; }
  Xbyak::Address number(float value) { return word(bits_of(value)); }
  void load(const Zmm& z, float value) { vbroadcastss(z, ptr[place(bits_of(value))]); }
  void load_word(const Zmm& z, uint32_t bits) { vbroadcastss(z, ptr[place(bits)]); }

  void compute_float(LoopOp op, const Zmm& y, const Zmm& a, const Zmm& b, const Zmm& c);
  void compute_int(LoopOp op, const Zmm& y, const Zmm& a, const Zmm& b, const Zmm& c);
  void truth(const Zmm& y);
  Zmm minus_one();
  void compare(const Zmm& y, const Zmm& a, const Zmm& b, uint8_t how);
  void sign(const Zmm& y, const Zmm& x);
  void leaky_relu(const Zmm& y, const Zmm& x, const Zmm& slope);
  void extreme(const Zmm& y, const Zmm& a, const Zmm& b, bool largest);
  void expm1_reduced();
  void reduce_exp();
  void limit(float low, float high);
  void exponential(const Zmm& y, const Zmm& x, float low, float high);
  void expm1(const Zmm& y, const Zmm& x);
  void tanh(const Zmm& y, const Zmm& x);
  void sigmoid(const Zmm& y, const Zmm& x);
  void log_reduced();
  void split_exponent();
  void log_edges(const Zmm& y, const Zmm& argument);
  void logarithm(const Zmm& y, const Zmm& x);
  void log1p(const Zmm& y, const Zmm& x);
  void softplus(const Zmm& y, const Zmm& x);

  std::vector<uint32_t> pool_values_;
  const Opmask k_ = k2, small_ = k3;
  const Zmm t_[kTemporaries] = {zmm24, zmm25, zmm26, zmm27, zmm28, zmm29, zmm30, zmm31};
};

}  // namespace langevin

#endif
