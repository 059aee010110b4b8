// See loop_jit.h. The loop over a tile, and which zmm register holds which value; what a step computes is in loop_jit_formulas.cc.
#include "cpu/loop_jit.h"

#include "cpu/loop_jit_formulas.h"

#ifdef LANGEVIN_LOOP_CODE

#include <xbyak/xbyak_util.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <string>

namespace langevin {

namespace {

bool machine_has_avx512() {
  using Xbyak::util::Cpu;
  static const Cpu cpu;
  return cpu.has(Cpu::tAVX512F) && cpu.has(Cpu::tAVX512DQ) && cpu.has(Cpu::tAVX512VL) && cpu.has(Cpu::tAVX512BW);
}

bool enabled() {
  static const bool on = [] {
    const char* wish = std::getenv("LANGEVIN_JIT");
    return machine_has_avx512() && !(wish != nullptr && std::string(wish) == "0");
  }();
  return on;
}

constexpr int kVectorBytes = 64, kLanes = 16;
constexpr int kMostHoisted = 8;  // single values kept in registers over the whole tile

class Generator final : public LoopFormulas, public LoopCode {
 public:
  explicit Generator(const std::vector<JitStep>& steps) : steps_(steps) {
    find_uses();
    generate();
    readyRE();
    function_ = getCode<Function>();
  }

  void run(char* const* slots, size_t n) const override { function_(slots, n); }

 private:
  using Function = void (*)(char* const*, size_t);
  static constexpr int kValues = 32 - kTemporaries;

  // rdi: slots, rsi: bytes of whole vectors, rcx: byte offset, rax: any pointer without a register of its own.
  const Reg64 slots_ = rdi, end_ = rsi, at_ = rcx, any_ = rax;

  void find_uses() {
    for (size_t i = 0; i < steps_.size(); ++i) {
      for (int k = 0; k < steps_[i].operands; ++k) {
        const int slot = steps_[i].args[k];
        last_[slot] = i;
        if (steps_[i].one[k]) ++ones_[slot];
        else if (!made_.count(slot)) memory_.push_back(slot);
      }
      made_[steps_[i].out] = true;
      if (steps_[i].stored) memory_.push_back(steps_[i].out);
    }
    std::sort(memory_.begin(), memory_.end());
    memory_.erase(std::unique(memory_.begin(), memory_.end()), memory_.end());
  }

  void generate() {
    const Reg64 kept[] = {rbx, rbp, r12, r13, r14, r15};
    for (const Reg64& r : kept) push(r);
    const Reg64 pointers[] = {r8, r9, r10, rdx, rbx, rbp, r12, r13, r14, r15};
    for (size_t i = 0; i < memory_.size() && i < std::size(pointers); ++i) {
      pointer_.emplace(memory_[i], pointers[i]);
      mov(pointers[i], ptr[slots_ + 8 * memory_[i]]);
    }
    Xbyak::Label constants, loop, tail, done;
    lea(pool_, ptr[rip + constants]);
    hoist();
    mov(rcx, end_);
    and_(rcx, kLanes - 1);
    sub(end_, rcx);  // elements of whole vectors
    mov(eax, 1);
    shl(eax, cl);
    dec(eax);
    kmovw(rest_, eax);  // lanes of the rest
    shl(end_, 2);
    xor_(at_, at_);
    cmp(at_, end_);
    jae(tail, T_NEAR);
    L(loop);
    emit_steps(false);
    add(at_, kVectorBytes);
    cmp(at_, end_);
    jb(loop, T_NEAR);
    L(tail);
    kortestw(rest_, rest_);
    jz(done, T_NEAR);
    emit_steps(true);
    L(done);
    vzeroupper();
    for (size_t i = std::size(kept); i-- > 0;) pop(kept[i]);
    ret();
    align(64);
    L(constants);
    for (uint32_t bits : pool_values()) dd(bits);
  }

  // The single values read most often.
  void hoist() {
    std::vector<std::pair<int, int>> by_use;
    for (const auto& [slot, uses] : ones_) by_use.emplace_back(-uses, slot);
    std::sort(by_use.begin(), by_use.end());
    for (const auto& entry : by_use) {
      if (hoisted_.size() == kMostHoisted) break;
      const Zmm z(static_cast<int>(hoisted_.size()));
      mov(any_, ptr[slots_ + 8 * entry.second]);
      vbroadcastss(z, ptr[any_]);
      hoisted_.emplace(entry.second, z.getIdx());
    }
  }

  // ---- registers

  void emit_steps(bool tail) {
    tail_ = tail;
    register_of_.clear();
    idle_.clear();
    for (int r = kValues - 1; r >= static_cast<int>(hoisted_.size()); --r) idle_.push_back(r);
    for (size_t i = 0; i < steps_.size(); ++i) emit_step(i);
  }

  int allocate(const std::vector<int>& locked) {
    if (idle_.empty()) {
      // An operand that still stands in memory can be loaded again; one with its last use behind it has been freed already.
      const auto found = std::find_if(register_of_.begin(), register_of_.end(), [&](const auto& entry) {
        return made_.count(entry.first) == 0 && std::find(locked.begin(), locked.end(), entry.second) == locked.end();
      });
      if (found == register_of_.end()) throw Xbyak::Error(Xbyak::ERR_BAD_COMBINATION);
      idle_.push_back(found->second);
      register_of_.erase(found);
    }
    const int r = idle_.back();
    idle_.pop_back();
    return r;
  }

  Xbyak::RegExp address(int slot) {
    const auto found = pointer_.find(slot);
    if (found != pointer_.end()) return found->second + at_;
    mov(any_, ptr[slots_ + 8 * slot]);
    return any_ + at_;
  }

  void emit_step(size_t i) {
    const JitStep& s = steps_[i];
    Zmm args[3] = {Zmm(0), Zmm(0), Zmm(0)};
    std::vector<int> locked, passing;  // passing: single values in registers for this step alone
    for (int k = 0; k < s.operands; ++k) {
      const int r = operand(s.args[k], s.one[k], locked, passing);
      locked.push_back(r);
      args[k] = Zmm(r);
    }
    const int out = allocate(locked);
    compute(s, Zmm(out), args[0], args[1], args[2]);
    if (s.stored) {
      const Xbyak::RegExp to = address(s.out);
      if (tail_) vmovups(ptr[to] | rest_, Zmm(out));
      else vmovups(ptr[to], Zmm(out));
    }
    for (int k = 0; k < s.operands; ++k) release(s.args[k], i);
    for (int r : passing) idle_.push_back(r);
    if (last_.count(s.out) && last_[s.out] > i) register_of_[s.out] = out;
    else idle_.push_back(out);
  }

  int operand(int slot, bool one, const std::vector<int>& locked, std::vector<int>& passing) {
    if (one) {
      const auto found = hoisted_.find(slot);
      if (found != hoisted_.end()) return found->second;
      const int r = allocate(locked);
      mov(any_, ptr[slots_ + 8 * slot]);
      vbroadcastss(Zmm(r), ptr[any_]);
      passing.push_back(r);
      return r;
    }
    const auto found = register_of_.find(slot);
    if (found != register_of_.end()) return found->second;
    const int r = allocate(locked);
    const Xbyak::RegExp from = address(slot);
    if (tail_) vmovups(Zmm(r) | rest_ | T_z, ptr[from]);
    else vmovups(Zmm(r), ptr[from]);
    register_of_[slot] = r;
    return r;
  }

  void release(int slot, size_t step) {
    const auto found = register_of_.find(slot);
    if (found == register_of_.end() || last_[slot] > step) return;
    idle_.push_back(found->second);
    register_of_.erase(found);
  }

  std::vector<JitStep> steps_;
  std::map<int, size_t> last_;       // by slot: the step that reads it last
  std::map<int, int> ones_;          // single values: how often they are read
  std::map<int, bool> made_;         // slots that a step computes
  std::vector<int> memory_;          // slots that are loaded or stored
  std::map<int, Reg64> pointer_;     // by slot
  std::map<int, int> hoisted_;       // by slot: register
  std::map<int, int> register_of_;   // by slot, while emitting
  std::vector<int> idle_;
  bool tail_ = false;
  const Opmask rest_ = k1;
  Function function_ = nullptr;
};

}  // namespace

bool jit_supports(LoopOp op, RegisterType operand) {
  return enabled() && LoopFormulas::has(op, operand);
}

std::unique_ptr<LoopCode> jit_compile(const std::vector<JitStep>& steps) {
  if (!enabled()) return nullptr;
  try {
    return std::make_unique<Generator>(steps);
  } catch (const Xbyak::Error&) {  // too few registers, or no executable memory
    return nullptr;
  }
}

}  // namespace langevin

#else

namespace langevin {

bool jit_supports(LoopOp, RegisterType) { return false; }
std::unique_ptr<LoopCode> jit_compile(const std::vector<JitStep>&) { return nullptr; }

}  // namespace langevin

#endif
