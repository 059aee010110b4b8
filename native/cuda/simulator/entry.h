// The beginning of every function of the driver: the lock, and what must have been done before.
#pragma once

#include "cuda/simulator/simulator.h"

namespace langevin::simulator {

class Entry {
 public:
  explicit Entry(const char* name) : held_(lock()), name_(name) {}
  // cuInit was called; and, with `context`, the thread has one without an error.
  CUresult ready(bool context) const;
  // As well: the stream is one of the thread's context. Null becomes its default stream.
  CUresult ready(CUstream* stream) const;
  CUresult wrong(CUresult code, const std::string& text) const;

 private:
  std::lock_guard<std::recursive_mutex> held_;
  const char* name_;
};

int simulated(const char* name, const char* otherwise);
CUcontext context_of(int device);
uint64_t thread_id();

}  // namespace langevin::simulator
