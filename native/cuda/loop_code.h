// A fused loop as CUDA C++ text, in the words of kernels/device.cuh, with what its launch needs. Pure C++: nothing of CUDA's is met here, so that
// the text can be made, compiled and run on any machine. Shapes are constants in the text, so divisions by them cost little.
#pragma once

#include <string>
#include <vector>

#include "ops/loop_program.h"

namespace langevin {

// A reduction whose terms several blocks share: kernels/loop.cu folds the partial results of the slices.
struct LoopFold {
  int output = 0;
  Reduce reduce = Reduce::Sum;
  RegisterType type = RegisterType::F32;
  size_t offset = 0;  // of the partial results [slices, results] in the workspace: double for sums of float32, else of the type
};

struct CudaLoopCode {
  // The text of one kernel and the functions it calls, all named after `name`. Its argument is a struct of pointers: inputs, outputs, workspace;
  // or, where these are more than kMostLoopPointers, one pointer to a table of them.
  std::string name, text;
  bool by_table = false;
  int64_t blocks = 0;  // of kLoopThreads threads; 0: no element, nothing to launch (and no text)
  size_t shared = 0;   // bytes a block

  // Where slices is not 1: the second stage. No slices at all stand for the reductions of nothing.
  std::vector<LoopFold> folds;
  int64_t slices = 1, results = 0;
  size_t workspace = 0;  // bytes of the partial results
};

constexpr size_t kMostLoopPointers = 448;  // a kernel's arguments are at most 4 KiB on older drivers

// Layouts final.
CudaLoopCode cuda_loop_code(const Instruction& instruction, const LoopProgram& program);

}  // namespace langevin
