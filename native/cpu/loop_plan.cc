// See loop_plan.h.
#include "cpu/loop_plan.h"

#include <algorithm>
#include <cstring>

#include "cpu/bfloat16.h"

namespace langevin {

namespace {

constexpr int kNone = -1;
constexpr int64_t kTileBytes = 24 * 1024;  // what the buffers of a tile may take of the first-level cache
constexpr int64_t kLeastTile = 256, kMostTile = 2048;

class Builder {
 public:
  Builder(const Instruction& instruction, const LoopProgram& program) : in_(instruction), p_(program) {
    plan_.space = make_space(p_.shape, loop_block(in_, p_));
  }

  LoopPlan build() {
    const size_t registers = p_.inputs.size() + p_.entries.size();
    slot_of_.assign(registers, kNone);
    single_.assign(registers, false);
    tile_of_.assign(registers, kNone);
    for (size_t i = 0; i < p_.inputs.size(); ++i) add_input(i);
    for (size_t i = 0; i < p_.entries.size(); ++i) add_entry(p_.entries[i], p_.inputs.size() + i);
    add_outputs();
    drop_dead_steps();
    find_stretches();
    assign_buffers();
    find_late_inputs();
    return std::move(plan_);
  }

 private:
  enum class Memory : uint8_t { Elsewhere, One, Tile, OwnTile };  // where a slot points; One: single values, OwnTile: not shared

  int new_slot(Memory memory) {
    memory_.push_back(memory);
    return plan_.slots++;
  }

  void add_input(size_t i) {
    const TensorDesc& t = in_.inputs[i];
    const int bytes = static_cast<int>(t.element());
    const int input = static_cast<int>(i);
    Walk walk = make_walk(plan_.space, p_.shape, t);
    if (walk.is_uniform()) {
      int slot = new_slot(Memory::Elsewhere);
      plan_.singles.push_back({slot, input});
      if (bytes < 4) {
        const int loaded = new_slot(Memory::One);
        plan_.prologue.push_back({bytes == 1 ? loop_table().load_bytes : bf16_load, slot, slot, slot, loaded});
        slot = loaded;
      }
      slot_of_[i] = slot;
      single_[i] = true;
    } else {
      slot_of_[i] = tile_of_[i] = add_operand({input, kNone}, bytes, std::move(walk));
    }
  }

  int add_operand(LoopPlan::Source source, int bytes, Walk walk) {
    if (walk.is_direct() && bytes == 4) {
      const int slot = new_slot(Memory::Elsewhere);
      plan_.directs.push_back({slot, source, bytes});
      return slot;
    }
    if (bytes == 2) {  // of the full shape and in the loop's order (layout_loop)
      const int half = new_slot(Memory::Elsewhere), loaded = new_slot(Memory::Tile);
      plan_.directs.push_back({half, source, bytes});
      plan_.body.push_back({bf16_load, half, half, half, loaded});
      return loaded;
    }
    const int slot = new_slot(Memory::OwnTile);
    plan_.expandeds.push_back({slot, source, bytes, std::move(walk)});
    return slot;
  }

  void add_entry(const LoopEntry& e, size_t reg) {
    if (e.op == LoopOp::const_float || e.op == LoopOp::const_int) {
      uint32_t bits = static_cast<uint32_t>(e.int_value);
      if (e.op == LoopOp::const_float) std::memcpy(&bits, &e.float_value, 4);
      add_constant(bits, reg);
    } else if (e.op == LoopOp::iota) {
      add_iota(e.int_value, reg);
    } else if (is_identity(e)) {
      const size_t from = static_cast<size_t>(e.args[0]);
      slot_of_[reg] = slot_of_[from];
      single_[reg] = single_[from];
      tile_of_[reg] = tile_of_[from];
    } else {
      add_function(e, reg);
    }
  }

  static bool is_identity(const LoopEntry& e) {
    return (e.op == LoopOp::cast_float_op && e.operand == RegisterType::F32) ||
           (e.op == LoopOp::cast_int_op && e.operand != RegisterType::F32) ||
           (e.op == LoopOp::cast_bool_op && e.operand == RegisterType::Bool);
  }

  void add_constant(uint32_t bits, size_t reg) {
    slot_of_[reg] = new_slot(Memory::Elsewhere);
    single_[reg] = true;
    plan_.constants.push_back(bits);
    plan_.constant_slots.push_back(slot_of_[reg]);
  }

  void add_iota(int axis, size_t reg) {
    Walk walk = make_iota_walk(plan_.space, p_.shape, axis);
    if (walk.is_uniform()) return add_constant(0, reg);
    std::vector<int32_t> values(static_cast<size_t>(p_.shape[static_cast<size_t>(axis)]));
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<int32_t>(i);
    plan_.tables.push_back(std::move(values));
    slot_of_[reg] = tile_of_[reg] = add_operand({kNone, static_cast<int>(plan_.tables.size()) - 1}, 4, std::move(walk));
  }

  void add_function(const LoopEntry& e, size_t reg) {
    const auto& variants = loop_table().functions[static_cast<int>(e.op)][static_cast<int>(e.operand)];
    int args[3] = {0, 0, 0}, mask = 0;
    for (int i = 0; i < e.operands; ++i) {
      if (single_[static_cast<size_t>(e.args[i])]) mask |= 1 << i;
    }
    const bool all = mask == (1 << e.operands) - 1;
    const int variant = all || variants[mask] == nullptr ? 0 : mask;
    for (int i = 0; i < e.operands; ++i) {
      const bool one = all || (variant >> i & 1) != 0;
      args[i] = one ? slot_of_[static_cast<size_t>(e.args[i])] : tile_slot(e.args[i]);
    }
    for (int i = e.operands; i < 3; ++i) args[i] = args[0];
    const int slot = new_slot(all ? Memory::One : Memory::Tile);
    slot_of_[reg] = slot;
    single_[reg] = all;
    if (!all) tile_of_[reg] = slot;
    const int ones = all ? mask : variant;
    (all ? plan_.prologue : plan_.body).push_back({variants[variant], args[0], args[1], args[2], slot, e.op, e.operand, e.operands, ones});
  }

  // The slot of a register as a whole tile; a single value is spread once.
  int tile_slot(int reg_) {
    const size_t reg = static_cast<size_t>(reg_);
    if (tile_of_[reg] == kNone) {
      tile_of_[reg] = new_slot(Memory::OwnTile);
      const int one = slot_of_[reg];
      plan_.splats.push_back({loop_table().fill, one, one, one, tile_of_[reg]});
    }
    return tile_of_[reg];
  }

  void add_outputs() {
    std::vector<bool> taken(static_cast<size_t>(plan_.slots), false);
    for (size_t i = 0; i < p_.outputs.size(); ++i) {
      const LoopOutput& o = p_.outputs[i];
      const int output = static_cast<int>(i), slot = tile_slot(o.reg);
      if (o.reduce != Reduce::None) {
        plan_.reductions.push_back({output, slot, &reduce_table(o.reduce, p_.type_of(o.reg))});
        continue;
      }
      const int bytes = static_cast<int>(in_.outputs[i].element());
      int direct = kNone;
      const bool computed = memory_[static_cast<size_t>(slot)] == Memory::Tile;
      taken.resize(static_cast<size_t>(plan_.slots), false);
      if (bytes == 4 && computed && !taken[static_cast<size_t>(slot)]) {
        taken[static_cast<size_t>(slot)] = true;
        direct = static_cast<int>(plan_.direct_outputs.size());
        plan_.direct_outputs.push_back({output, slot, {}});
      }
      plan_.stores.push_back({output, slot, bytes, direct});
    }
    // Copies of inputs first: a later store may overwrite an input's memory (see in_place_loop).
    std::stable_partition(plan_.stores.begin(), plan_.stores.end(),
                          [this](const LoopPlan::Store& s) { return memory_[static_cast<size_t>(s.slot)] == Memory::Elsewhere; });
  }

  // Programs may hold instructions that no output needs.
  void drop_dead_steps() {
    std::vector<bool> needed(static_cast<size_t>(plan_.slots), false);
    const auto need = [&](int slot) { needed[static_cast<size_t>(slot)] = true; };
    for (const auto& s : plan_.stores) need(s.slot);
    for (const auto& r : plan_.reductions) need(r.slot);
    for (auto* steps : {&plan_.body, &plan_.splats, &plan_.prologue}) {
      std::vector<LoopPlan::Step> live;
      for (size_t i = steps->size(); i-- > 0;) {
        const LoopPlan::Step& s = (*steps)[i];
        if (!needed[static_cast<size_t>(s.out)]) continue;
        need(s.a), need(s.b), need(s.c);
        live.push_back(s);
      }
      std::reverse(live.begin(), live.end());
      *steps = std::move(live);
    }
    const auto dead = [&](const auto& x) { return !needed[static_cast<size_t>(x.slot)]; };
    plan_.directs.erase(std::remove_if(plan_.directs.begin(), plan_.directs.end(), dead), plan_.directs.end());
    plan_.expandeds.erase(std::remove_if(plan_.expandeds.begin(), plan_.expandeds.end(), dead), plan_.expandeds.end());
    needed_ = std::move(needed);
  }

  void find_stretches() {
    for (size_t i = 0; i < plan_.body.size();) {
      const bool coded = has_code(plan_.body[i]);
      size_t end = i + 1;
      while (end < plan_.body.size() && has_code(plan_.body[end]) == coded) ++end;
      add_stretch(i, end, coded);
      i = end;
    }
  }

  static bool has_code(const LoopPlan::Step& s) { return jit_supports(s.op, s.operand); }

  // A stretch that needs too many registers is halved.
  void add_stretch(size_t first, size_t end, bool coded) {
    std::unique_ptr<LoopCode> code;
    if (coded) {
      std::vector<JitStep> steps;
      for (size_t i = first; i < end; ++i) {
        const LoopPlan::Step& s = plan_.body[i];
        const auto one = [&](int k) { return (s.ones >> k & 1) != 0; };
        steps.push_back({s.op, s.operand, s.operands, {s.a, s.b, s.c}, {one(0), one(1), one(2)}, s.out, read_outside(s.out, first, end)});
      }
      code = jit_compile(steps);
      if (!code && end - first > 4) {
        const size_t half = first + (end - first) / 2;
        add_stretch(first, half, true);
        add_stretch(half, end, true);
        return;
      }
      if (code) {
        for (const JitStep& s : steps) {
          if (!s.stored) memory_[static_cast<size_t>(s.out)] = Memory::Elsewhere;  // in a register, and nowhere else
        }
      }
    }
    plan_.stretches.push_back({first, end, std::move(code)});
  }

  bool read_outside(int slot, size_t first, size_t end) const {
    const auto of = [slot](const auto& x) { return x.slot == slot; };
    if (std::any_of(plan_.stores.begin(), plan_.stores.end(), of) || std::any_of(plan_.reductions.begin(), plan_.reductions.end(), of)) return true;
    for (size_t i = 0; i < plan_.body.size(); ++i) {
      const LoopPlan::Step& s = plan_.body[i];
      if ((i < first || i >= end) && (s.a == slot || s.b == slot || s.c == slot)) return true;
    }
    return false;
  }

  // When a slot is read last: index into the body, or the body's size for what is read when the tile is done.
  std::vector<size_t> last_uses() const {
    std::vector<size_t> last(static_cast<size_t>(plan_.slots), 0);
    for (size_t i = 0; i < plan_.body.size(); ++i) {
      for (int slot : {plan_.body[i].a, plan_.body[i].b, plan_.body[i].c}) last[static_cast<size_t>(slot)] = i;
    }
    for (const auto& s : plan_.stores) last[static_cast<size_t>(s.slot)] = plan_.body.size();
    for (const auto& r : plan_.reductions) last[static_cast<size_t>(r.slot)] = plan_.body.size();
    return last;
  }

  // Linear scan: a result may take the buffer of an operand that dies in the same step (functions read before they write).
  void assign_buffers() {
    const std::vector<size_t> last = last_uses();
    std::vector<int> buffer(static_cast<size_t>(plan_.slots), kNone), idle;
    int buffers = 0;
    for (int s = 0; s < plan_.slots; ++s) {
      if (memory_[static_cast<size_t>(s)] == Memory::OwnTile && needed_[static_cast<size_t>(s)]) buffer[static_cast<size_t>(s)] = buffers++;
    }
    for (size_t i = 0; i < plan_.body.size(); ++i) {
      const LoopPlan::Step& step = plan_.body[i];
      std::vector<int> dying = {step.a, step.b, step.c};
      std::sort(dying.begin(), dying.end());
      dying.erase(std::unique(dying.begin(), dying.end()), dying.end());
      for (int slot : dying) {
        const size_t s = static_cast<size_t>(slot);
        if (memory_[s] == Memory::Tile && last[s] == i) idle.push_back(buffer[s]);
      }
      if (memory_[static_cast<size_t>(step.out)] != Memory::Tile) continue;
      int& own = buffer[static_cast<size_t>(step.out)];
      if (idle.empty()) {
        own = buffers++;
      } else {
        own = idle.back();
        idle.pop_back();
      }
    }
    place_buffers(buffer, buffers);
  }

  void place_buffers(const std::vector<int>& buffer, int buffers) {
    int64_t tile = kMostTile;
    while (tile > kLeastTile && tile * 4 * buffers > kTileBytes) tile /= 2;
    while (tile / 2 >= std::max<int64_t>(plan_.space.total, 64)) tile /= 2;
    plan_.tile = tile;
    const size_t bytes = static_cast<size_t>(tile) * 4;
    plan_.slot_offset.assign(static_cast<size_t>(plan_.slots), SIZE_MAX);
    size_t ones = bytes * static_cast<size_t>(buffers);
    for (size_t s = 0; s < plan_.slot_offset.size(); ++s) {
      if (memory_[s] == Memory::One) {
        plan_.slot_offset[s] = ones;
        ones += 4;
      } else if (buffer[s] != kNone) {
        plan_.slot_offset[s] = bytes * static_cast<size_t>(buffer[s]);
      }
    }
    plan_.scratch = (ones + 63) / 64 * 64;
  }

  // Inputs read from their own memory after a direct output has been written: if the two share memory, the output must wait.
  void find_late_inputs() {
    const std::vector<size_t> last = last_uses();
    for (auto& o : plan_.direct_outputs) {
      size_t written = 0;
      while (plan_.body[written].out != o.slot) ++written;
      for (const auto& d : plan_.directs) {
        if (d.source.input != kNone && last[static_cast<size_t>(d.slot)] > written) o.late_inputs.push_back(d.source.input);
      }
    }
  }

  const Instruction& in_;
  const LoopProgram& p_;
  LoopPlan plan_;
  std::vector<int> slot_of_, tile_of_;  // by register
  std::vector<bool> single_;            // by register: one value for the whole iteration space
  std::vector<Memory> memory_;          // by slot
  std::vector<bool> needed_;            // by slot
};

}  // namespace

LoopPlan build_loop_plan(const Instruction& instruction, const LoopProgram& program) { return Builder(instruction, program).build(); }

}  // namespace langevin
