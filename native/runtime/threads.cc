// See threads.h.
#include "runtime/threads.h"

#include <omp.h>

#include <algorithm>
#include <atomic>

namespace langevin {

namespace {
std::atomic<int> chosen{0};
}

int available_cores() { return std::clamp(omp_get_num_procs(), 1, kMostThreads); }

int default_threads() {
  const int n = chosen.load();
  return n > 0 ? n : available_cores();
}

void set_default_threads(int n) { chosen = std::clamp(n, 1, kMostThreads); }

void use_threads(int n) {
  if (omp_get_max_threads() != n) omp_set_num_threads(n);
}

}  // namespace langevin
