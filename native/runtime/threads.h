// The size of the OpenMP team. A plan runs with the team it was compiled for, so kernels may size buffers by it.
#pragma once

namespace langevin {

constexpr int kMostThreads = 1024;

// Cores that this process may use (its affinity), at least 1.
int available_cores();

// Team size for plans compiled from now on: what set_default_threads said last, else available_cores().
int default_threads();
void set_default_threads(int n);  // 1..kMostThreads

// Sets the team size of the worker thread, which alone may call this. A team with a thread for every core has each thread bound to its own
// (Linux; LANGEVIN_BIND=0 leaves them free): schedulers put both threads of a short step on one core, where they wait for one another.
void use_threads(int n);

}  // namespace langevin
