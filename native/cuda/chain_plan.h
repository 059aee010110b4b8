// Can many rounds of a plan run in one kernel, a block of which takes some rows (chains) and keeps all it works on in shared memory? Which values
// are rows, which are the same for all; what is computed once and what in each round; where everything lies. Only by geometry: no text is written here
// (chain_code.cc) and nothing of CUDA's is needed.
//
// What a round leaves is what its carried outputs depend on; all else the plan computes is left out.
#pragma once

#include <memory>
#include <vector>

#include "ops/loop_program.h"
#include "runtime/plan_decode.h"

namespace langevin {

constexpr int kChainThreads = 512;  // of a block

struct ChainDevice {
  size_t shared = 0;  // bytes a block may have
  int multiprocessors = 1;
};

// By value of the plan; of views (reshapes) the value they show.
struct ChainValue {
  int source = -1;       // input by position, then constants; -1: computed
  bool needed = false;
  bool rows = false;     // a block has its own rows of it, else all of it
  bool once = false;     // does not change from round to round
  bool carried = false;  // an input that the round overwrites
  bool factor = false;   // the second operand of a product
  bool shared = false;   // lies in shared memory, else in the source's own
  int64_t size = 0;      // elements of one row, or of all
  int64_t width = 0, step = 0;  // rows of a factor lie `step` elements apart, so that threads that read down a column meet different banks
  size_t offset = 0;     // in shared memory
};

// A sum over the inner axis is divided among `parts` threads for each result; a thread has `rows` x `columns` results.
struct ChainProduct {
  int rows = 1, columns = 1, parts = 1;
  bool quads = false;  // four terms are read at a time
};

struct ChainStep {
  int code = -1;                // in DecodedPlan::code
  bool once = false, rows = false;
  std::vector<int> outputs;     // positions of those that are needed
  ChainProduct product;         // of a matmul
  size_t partial = 0;           // where in shared memory its partial sums lie
};

struct ChainCarry {
  int input = -1;         // position
  int from = -1, to = -1; // values: what the round leaves, and the input
  bool in_place = false;  // the one is written over the other at once
};

struct ChainPlan {
  int64_t rows = 0;  // of all chains
  int tile = 1;      // of a block
  size_t shared = 0; // bytes a block
  std::vector<int> shown;  // by value: the value it is a view of, or itself
  std::vector<ChainValue> values;
  std::vector<ChainStep> steps;
  std::vector<ChainCarry> carries;
};

// carried: by output, the input that it overwrites, or -1. Null where it cannot be done so, or is better done step by step.
std::unique_ptr<ChainPlan> chain_plan(const DecodedPlan& plan, const std::vector<int>& carried, const ChainDevice& device);

// The loop of a step with only the outputs that are needed.
LoopProgram chain_loop(const DecodedPlan& plan, const ChainStep& step);

}  // namespace langevin
