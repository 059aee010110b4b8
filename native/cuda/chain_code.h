// A chain's rounds as CUDA C++ text: one kernel in the words of kernels/chain.cuh, by the analysis of chain_plan.h. Pure C++: nothing of CUDA's is met
// here, so that the text can be made, compiled and run on any machine.
#pragma once

#include <string>
#include <vector>

#include "cuda/chain_plan.h"

namespace langevin {

struct ChainCode {
  // Of the kernel; its argument is a struct of the number of rounds (int64_t) and pointers: the plan's inputs, its constants, and scratch memory.
  std::string name, text;
  size_t pointers = 0;
  // What is the same for all rows every block reads when it begins, so it is left in scratch memory, to be copied to its input's when all have ended.
  struct Left {
    int input;      // position
    size_t offset, bytes;
  };
  std::vector<Left> left;
  size_t scratch = 0;  // bytes
};

ChainCode chain_code(const DecodedPlan& plan, const ChainPlan& chain);

}  // namespace langevin
