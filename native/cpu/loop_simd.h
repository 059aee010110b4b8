// The vector functions a fused loop is made of, one table a processor target, chosen when the process starts. All registers are
// arrays of 4-byte lanes (float32; int32; bool as int32 0 or 1). `out` may be the same array as an operand. No tensors here.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/loop_program.h"

namespace langevin {

// out[i] = f(a[i], b[i], c[i]) for i < n; operands beyond the op's count are ignored.
using LoopFunction = void (*)(const void* a, const void* b, const void* c, void* out, size_t n);

// Operands may be single values: bit i of a variant says that operand i points at one element that holds for all i < n.
constexpr int kVariants = 8;

struct LoopTable {
  LoopFunction functions[kLoopFunctions][3][kVariants];  // [op][operand RegisterType][variant]; null where there is none
  LoopFunction load_bytes;                               // a: uint8_t, out: int32_t
  LoopFunction store_bytes;                              // a: int32_t, out: uint8_t (low byte)
  LoopFunction fill;                                     // a: one element of 4 bytes
};
const LoopTable& loop_table();

// Folding an array into an accumulator. Float sums accumulate in double: float32 within at most 4096 elements spread over at
// least 16 lanes, or 64 rows; the rest in double. NaN propagates through all three.
struct ReduceTable {
  // *acc = fold(*acc, x[0..n))
  void (*run)(const void* x, size_t n, void* acc);
  // acc[j] = fold(acc[j], x[r * width + j] for r < rows), j < width
  void (*rows)(const void* x, size_t rows, size_t width, void* acc);
  // acc[j] = fold(acc[j], other[j]), j < n: both are accumulators
  void (*merge)(const void* other, size_t n, void* acc);
  void (*clear)(size_t n, void* acc);                 // the neutral element
  void (*finish)(const void* acc, size_t n, void* out);  // accumulators to 4-byte results
  size_t bytes;                                       // of one accumulator
};
const ReduceTable& reduce_table(Reduce reduce, RegisterType type);

// Name of the processor target in use, for info().
const char* loop_target();

}  // namespace langevin
