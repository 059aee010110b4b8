// Runs a grid: blocks one after another in a shuffled order, the threads of a block as plain calls, or as fibers where they meet a barrier.
// Threads take turns in changing directions, so that what depends on the order of threads between two barriers shows.
// LANGEVIN_SIMULATOR_ORDER = shuffled (default) | forward | reversed.
#include <csignal>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <numeric>

#include <sys/mman.h>

#include "cuda/simulator/fiber.h"
#include "cuda/simulator/shim.h"
#include "cuda/simulator/simulator.h"

namespace langevin::simulator {

namespace {

constexpr size_t kSharedRoom = size_t{256} << 10, kPage = 4096;

enum class End { Waits, Done, Divergent, Fault };

// The state of the one launch that runs. Fibers and the signal handler see it.
struct Launch {
  SimulatorThread thread{};
  KernelFunction function = nullptr;
  const void* parameters = nullptr;
  int64_t threads = 0;    // of the block
  int64_t first = 0;      // which thread goes first, and the direction
  bool descending = false;
  bool plain = false;     // the first thread met no barrier: the others may not either
  End end = End::Done;    // why the fiber left
  uint64_t address = 0;   // of a fault
  int signal = 0;
  bool running = false;
  pid_t owner = 0;
};
Launch launch;

pid_t this_thread() { return static_cast<pid_t>(syscall(SYS_gettid)); }

void barrier() {
  launch.end = launch.plain ? End::Divergent : End::Waits;
  Fiber::leave();
}

int64_t thread_at(int64_t turn) { return launch.descending ? launch.threads - 1 - turn : turn; }

// The first thread's fiber; where that thread met no barrier it runs the whole block.
void run_first() {
  launch.thread.thread = thread_at(0);
  launch.function(launch.parameters);
  // A kernel that waited comes back here when its block is in fibers: the others have theirs.
  if (launch.end != End::Waits) {
    launch.plain = true;
    for (int64_t turn = 1; turn < launch.threads; ++turn) {
      launch.thread.thread = thread_at(turn);
      launch.function(launch.parameters);
    }
  }
  launch.end = End::Done;
  Fiber::leave();
}

void run_other() {
  launch.function(launch.parameters);
  launch.end = End::Done;
  Fiber::leave();
}

std::vector<std::unique_ptr<Fiber>>& fibers(size_t count) {
  static auto* all = new std::vector<std::unique_ptr<Fiber>>;
  while (all->size() < count) all->push_back(std::make_unique<Fiber>());
  return *all;
}

// Shared memory ends where an unmapped page begins.
unsigned char* shared_room() {
  static unsigned char* room = [] {
    void* found = mmap(nullptr, kSharedRoom + kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (found == MAP_FAILED) throw std::bad_alloc();
    mprotect(static_cast<unsigned char*>(found) + kSharedRoom, kPage, PROT_NONE);
    return static_cast<unsigned char*>(found);
  }();
  return room;
}

struct sigaction previous[NSIG];
constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};

void on_signal(int number, siginfo_t* info, void* context) {
  if (launch.running && launch.owner == this_thread()) {
    launch.end = End::Fault;
    launch.signal = number;
    launch.address = reinterpret_cast<uint64_t>(info->si_addr);
    Fiber::leave();
  }
  const struct sigaction& before = previous[number];
  if ((before.sa_flags & SA_SIGINFO) != 0 && before.sa_sigaction != nullptr) return before.sa_sigaction(number, info, context);
  if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) return before.sa_handler(number);
  std::signal(number, SIG_DFL);  // the instruction runs again and the process ends as it would have
}

// Catches what kernels do wrong, while one runs.
class Catch {
 public:
  Catch() {
    static unsigned char* stack = new unsigned char[kStackBytes];  // of the handler: a kernel's may be used up
    stack_t own{};
    own.ss_sp = stack;
    own.ss_size = kStackBytes;
    sigaltstack(&own, &stack_);
    struct sigaction action {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
    for (int number : kSignals) sigaction(number, &action, &previous[number]);
    launch.owner = this_thread();
  }
  ~Catch() {
    launch.running = false;
    for (int number : kSignals) sigaction(number, &previous[number], nullptr);
    sigaltstack(&stack_, nullptr);
  }
  Catch(const Catch&) = delete;
  Catch& operator=(const Catch&) = delete;

 private:
  static constexpr size_t kStackBytes = size_t{64} << 10;
  stack_t stack_{};
};

std::string place(const std::string& name) {
  return "kernel " + name + " (block " + std::to_string(launch.thread.block) + ", thread " + std::to_string(launch.thread.thread) + ")";
}

[[noreturn]] void divergent(const std::string& name) {
  throw Fault{CUDA_ERROR_LAUNCH_FAILED, place(name) + ": a divergent barrier: some threads of the block wait at it and others have ended"};
}

[[noreturn]] void fault(const std::string& name, const Memory& memory, size_t shared) {
  if (launch.signal == SIGFPE) throw Fault{CUDA_ERROR_LAUNCH_FAILED, place(name) + " divided an integer by zero"};
  const uint64_t shared_end = reinterpret_cast<uint64_t>(shared_room()) + kSharedRoom;
  if (launch.signal == SIGILL) {  // a trap that the compiler was asked for (-fsanitize=alignment,bounds)
    throw Fault{CUDA_ERROR_MISALIGNED_ADDRESS, place(name) + " used a misaligned address, or an index outside of a fixed array"};
  }
  for (const auto& fiber : fibers(1)) {
    if (fiber->below(launch.address)) {
      throw Fault{CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, place(name) + " has more local variables than the simulator's stacks hold"};
    }
  }
  std::string what;
  if (launch.address >= shared_end && launch.address < shared_end + kPage) {
    what = std::to_string(launch.address - shared_end) + " bytes behind its " + std::to_string(shared) + " bytes of shared memory";
  } else if (memory.is_mapped(launch.address)) {
    what = memory.describe(memory.device_address(launch.address));
  } else {
    char text[80];
    std::snprintf(text, sizeof text, "the address 0x%llx, which is not the device's", static_cast<unsigned long long>(launch.address));
    what = text;
  }
  throw Fault{CUDA_ERROR_ILLEGAL_ADDRESS, place(name) + " touched " + what};
}

End enter(Fiber& fiber, int64_t thread) {
  launch.thread.thread = thread;
  launch.running = true;
  fiber.enter();
  launch.running = false;
  return launch.end;
}

// One block. Phase by phase: every thread up to its next barrier.
void run_block(const std::string& name, const Memory& memory, size_t shared, uint64_t salt, bool alternate) {
  auto& all = fibers(1);
  launch.plain = false;
  launch.end = End::Done;
  all[0]->start(run_first);
  End end = enter(*all[0], thread_at(0));
  if (end == End::Done) return;
  if (end == End::Fault) fault(name, memory, shared);
  if (end == End::Divergent) divergent(name);
  fibers(static_cast<size_t>(launch.threads));
  const int64_t first = thread_at(0);
  for (uint64_t phase = 0;; ++phase) {
    if (alternate && phase > 0) launch.descending = ((salt >> (phase % 61)) & 1) != 0;
    int64_t waiting = phase == 0 ? 1 : 0, done = 0;
    for (int64_t turn = 0; turn < launch.threads; ++turn) {
      const int64_t thread = thread_at(turn);
      if (phase == 0 && thread == first) continue;
      // Fiber 0 is the first thread's; the others follow in their own order.
      Fiber& fiber = *all[static_cast<size_t>(thread == first ? 0 : thread < first ? thread + 1 : thread)];
      if (phase == 0) fiber.start(run_other);
      launch.end = End::Waits;
      end = enter(fiber, thread);
      if (end == End::Fault) fault(name, memory, shared);
      ++(end == End::Waits ? waiting : done);
      if (waiting != 0 && done != 0) divergent(name);
    }
    if (done != 0) return;
  }
}

uint64_t scramble(uint64_t x) {
  x = (x ^ (x >> 31)) * 0x9E3779B97F4A7C15u;
  return x ^ (x >> 29);
}

// A number without a common divisor with n, about 0.6 n: steps of it visit all of 0..n-1.
uint64_t stride_for(uint64_t n) {
  uint64_t step = n * 5 / 8 + 1;
  while (std::gcd(step, n) != 1) ++step;
  return step;
}

// Whether eight bytes at this address can be read: the kernel's own question to user memory, answered before it looks at the rest.
bool readable(uint64_t address) {
  return syscall(SYS_rt_sigprocmask, ~0, address, nullptr, 8) == -1 && errno == EINVAL;
}

}  // namespace

std::vector<uint64_t> map_parameters(const std::string& name, const std::vector<uint64_t>& words, const Memory& memory, std::vector<uint64_t>* touched) {
  std::vector<uint64_t> mapped = words;
  for (size_t i = 0; i < words.size(); ++i) {
    const uint64_t word = words[i];
    if (memory.owns(word)) {
      mapped[i] = reinterpret_cast<uint64_t>(memory.mapped(word));
      touched->push_back(word);
    } else if (word >= (uint64_t{1} << 32) && word < (uint64_t{1} << 47) && readable(word & ~uint64_t{7})) {
      throw Fault{CUDA_ERROR_ILLEGAL_ADDRESS, "kernel " + name + " was given an address of the host (or a word that was never set) at byte " +
                                                  std::to_string(8 * i) + " of its parameters"};
    }
  }
  return mapped;
}

void run_kernel(const std::string& name, KernelFunction function, void (*bind)(void*), const void* parameters, Dimensions grid, Dimensions block, size_t shared,
                const Memory& memory) {
  static const std::string order = setting("LANGEVIN_SIMULATOR_ORDER", "shuffled");
  ++counts().kernels;
  const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
  launch.thread = {0, 0, block.x, grid.x, shared_room() + kSharedRoom - (shared + 15) / 16 * 16, barrier};
  launch.function = function;
  launch.parameters = parameters;
  launch.threads = int64_t{block.x} * block.y * block.z;
  bind(&launch.thread);
  const Catch caught;
  const bool shuffled = order == "shuffled";
  const uint64_t step = shuffled ? stride_for(blocks) : 1, offset = shuffled ? scramble(blocks) % blocks : 0;
  for (uint64_t i = 0; i < blocks; ++i) {
    const uint64_t b = order == "reversed" ? blocks - 1 - i : static_cast<uint64_t>((static_cast<unsigned __int128>(i) * step + offset) % blocks);
    const uint64_t salt = scramble(b + 1);
    launch.thread.block = static_cast<int64_t>(b);
    launch.descending = order == "reversed" || (shuffled && (salt & 1) != 0);
    if (shared != 0) std::memset(launch.thread.shared, 0xCD, (shared + 15) / 16 * 16);
    run_block(name, memory, shared, salt, shuffled);
  }
}

}  // namespace langevin::simulator
