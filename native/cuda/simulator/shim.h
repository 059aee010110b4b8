// The words of kernels/device.cuh for the host's compiler: kernels become plain functions that the simulator's launcher (launch.cc) calls once a
// thread. Needs no header of the system beyond what ops/functors.h includes: text of fused loops is compiled with it at run time.
#pragma once

#include <cstdint>

#define LANGEVIN_EXPORT __attribute__((visibility("default")))
#define LANGEVIN_DEVICE inline

// Three symbols a kernel: NAME runs one thread, NAME_parameter_bytes is the size of its struct, which a launch copies.
#define LANGEVIN_KERNEL(name, Args, args)                                                       \
  static void name##_body(const Args& args);                                                    \
  extern "C" {                                                                                  \
  LANGEVIN_EXPORT uint64_t name##_parameter_bytes = sizeof(Args);                               \
  LANGEVIN_EXPORT void name(const void* from) { name##_body(*static_cast<const Args*>(from)); } \
  }                                                                                             \
  static void name##_body(const Args& args)

#define LANGEVIN_SHARED(type, name) type* name = reinterpret_cast<type*>(::langevin::simulator_thread->shared)

namespace langevin {

// What the launcher says to the thread that runs. One kernel runs at a time in a process.
struct SimulatorThread {
  int64_t thread, block, threads, blocks;
  unsigned char* shared;
  void (*barrier)();
};

// One a library; langevin_simulator_bind gives it its value.
__attribute__((visibility("hidden"))) inline SimulatorThread* simulator_thread = nullptr;

inline int64_t thread_index() { return simulator_thread->thread; }
inline int64_t block_index() { return simulator_thread->block; }
inline int64_t block_size() { return simulator_thread->threads; }
inline int64_t grid_size() { return simulator_thread->blocks; }
inline void block_barrier() { simulator_thread->barrier(); }

}  // namespace langevin

extern "C" LANGEVIN_EXPORT __attribute__((weak)) void langevin_simulator_bind(void* thread) {
  ::langevin::simulator_thread = static_cast<::langevin::SimulatorThread*>(thread);
}
