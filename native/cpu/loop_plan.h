// A fused loop made ready: the program of ops/loop_program.h with registers turned into slots (pointers to tiles of 4-byte lanes),
// functions looked up, tile buffers shared by registers that do not live at the same time. Built once; loop.cc runs it.
#pragma once

#include <memory>
#include <vector>

#include "cpu/loop_jit.h"
#include "cpu/loop_operand.h"
#include "cpu/loop_simd.h"

namespace langevin {

struct LoopPlan {
  // slots[out] = function(slots[a], slots[b], slots[c]) over a tile
  struct Step {
    LoopFunction function;
    int a, b, c, out;
    LoopOp op = LoopOp::iota;  // of steps of the body, with what jit_compile must know
    RegisterType operand = RegisterType::F32;
    int operands = 0;
    int ones = 0;  // bit i: operand i is a single value
  };
  // Steps first..end-1 of the body: one pass of machine code, or else a pass each.
  struct Stretch {
    size_t first, end;
    std::unique_ptr<LoopCode> code;
  };
  // The memory behind an operand: input `input` of the instruction, or else table `table` of iota values.
  struct Source {
    int input = -1, table = -1;
  };
  struct Direct {  // contiguous operand: the slot points into its memory. One of bfloat16 is loaded by the first steps of the body
    int slot;
    Source source;
    int bytes;  // 4 or 2
  };
  struct Expanded {  // any other: copied to a tile buffer of its own
    int slot;
    Source source;
    int bytes;
    Walk walk;
  };
  struct Single {  // an input of one element: the slot points at it
    int slot;
    int input;
  };
  struct DirectOutput {  // a full output that its instruction may write itself, unless it shares memory with an input read later
    int output, slot;
    std::vector<int> late_inputs;
  };
  struct Store {  // a full output copied from a slot when the tile is done
    int output, slot, bytes;  // 4; 2: bfloat16; 1
    int unless_direct;  // index into direct_outputs, or -1
  };
  struct Reduction {
    int output, slot;
    const ReduceTable* table;
  };

  LoopSpace space;
  int64_t tile = 0;
  int slots = 0;
  std::vector<size_t> slot_offset;  // of the slot's buffer in a part's scratch; SIZE_MAX: the slot points elsewhere
  size_t scratch = 0;               // bytes of a part's buffers
  std::vector<uint32_t> constants;  // values of constant slots
  std::vector<int> constant_slots;
  std::vector<std::vector<int32_t>> tables;
  std::vector<Single> singles;
  std::vector<Step> prologue;  // once a part, on single values
  std::vector<Step> splats;    // once a part: single values to whole tiles
  std::vector<Direct> directs;
  std::vector<Expanded> expandeds;
  std::vector<Step> body;  // once a tile...
  std::vector<Stretch> stretches;  // ...in these
  std::vector<DirectOutput> direct_outputs;
  std::vector<Store> stores;
  std::vector<Reduction> reductions;
};

LoopPlan build_loop_plan(const Instruction& instruction, const LoopProgram& program);

}  // namespace langevin
