// See threads.h.
#include "runtime/threads.h"

#include <omp.h>
#ifdef __linux__
#include <sched.h>
#endif

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace langevin {

namespace {

std::atomic<int> chosen{0};

#ifdef __linux__

// The cores of the process as it was when first asked, before any thread was bound to one.
const std::vector<int>& allowed_cores() {
  static const std::vector<int> cores = [] {
    std::vector<int> found;
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
      for (int i = 0; i < CPU_SETSIZE; ++i) {
        if (CPU_ISSET(i, &set)) found.push_back(i);
      }
    }
    return found;
  }();
  return cores;
}

// Binds the calling thread to these; where that is refused, it stays as it was.
void bind_to(const std::vector<int>& cores) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int c : cores) CPU_SET(c, &set);
  sched_setaffinity(0, sizeof set, &set);
}

// Not where the user says, or has told OpenMP where threads belong.
bool may_bind() {
  static const bool may = [] {
    const char* wish = std::getenv("LANGEVIN_BIND");
    return (wish == nullptr || std::strcmp(wish, "0") != 0) && omp_get_proc_bind() == omp_proc_bind_false;
  }();
  return may;
}

void bind_team(int n) {
  const std::vector<int>& cores = allowed_cores();
  if (!may_bind() || cores.size() < 2) return;
  const bool one_each = n == static_cast<int>(cores.size());
  static bool bound = false;
  if (!one_each && !bound) return;
  if (bound) bind_to(cores);  // new threads inherit this
#pragma omp parallel num_threads(n)
  {
    if (one_each) bind_to({cores[static_cast<size_t>(omp_get_thread_num())]});
    else bind_to(cores);
  }
  bound = one_each;
}

#else

void bind_team(int) {}

#endif

}  // namespace

int available_cores() {
  static const int cores = std::clamp(omp_get_num_procs(), 1, kMostThreads);
  return cores;
}

int default_threads() {
  const int n = chosen.load();
  return n > 0 ? n : available_cores();
}

void set_default_threads(int n) { chosen = std::clamp(n, 1, kMostThreads); }

void use_threads(int n) {
  static int team = 0;
  if (team == n && omp_get_max_threads() == n) return;
  team = n;
  omp_set_num_threads(n);
  bind_team(n);
}

}  // namespace langevin
