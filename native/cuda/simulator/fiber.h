// A stack of its own for a piece of work that can be left in the middle and gone on with: the threads of a block at a barrier. No scheduling.
#pragma once

#include <cstddef>
#include <cstdint>

namespace langevin::simulator {

class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Begins anew with this function, which may not return: it ends with leave().
  void start(void (*function)());
  // From the launcher: runs the fiber until it leaves.
  void enter();
  // From a fiber, or from a signal handler on its stack: back to the launcher.
  static void leave();
  // Whether the address is in the page below the stack, which a stack too small touches.
  bool below(uint64_t address) const;

  static constexpr size_t kStack = size_t{256} << 10;

 private:
  unsigned char* stack_;  // its first page is not mapped
  void* state_;           // stack pointer, or ucontext_t
};

}  // namespace langevin::simulator
