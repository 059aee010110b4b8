// Switching stacks: eleven instructions on x86-64, ucontext elsewhere (or with LANGEVIN_SIMULATOR_UCONTEXT).
#include "cuda/simulator/fiber.h"

#include <sys/mman.h>

#include <new>

#if !defined(__x86_64__) || defined(LANGEVIN_SIMULATOR_UCONTEXT)
#define LANGEVIN_SWITCH_UCONTEXT 1
#include <ucontext.h>
#else
#define LANGEVIN_SWITCH_UCONTEXT 0
#endif

namespace langevin::simulator {

namespace {

constexpr size_t kPage = 4096;

unsigned char* make_stack() {
  void* stack = mmap(nullptr, Fiber::kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stack == MAP_FAILED) throw std::bad_alloc();
  mprotect(stack, kPage, PROT_NONE);
  return static_cast<unsigned char*>(stack);
}

}  // namespace

bool Fiber::below(uint64_t address) const {
  const uint64_t bottom = reinterpret_cast<uint64_t>(stack_);
  return address >= bottom && address < bottom + kPage;
}

#if LANGEVIN_SWITCH_UCONTEXT

namespace {
ucontext_t launcher;
ucontext_t* current = nullptr;
}  // namespace

Fiber::Fiber() : stack_(make_stack()), state_(new ucontext_t) {}

Fiber::~Fiber() {
  delete static_cast<ucontext_t*>(state_);
  munmap(stack_, kStack);
}

void Fiber::start(void (*function)()) {
  ucontext_t* context = static_cast<ucontext_t*>(state_);
  getcontext(context);
  context->uc_stack.ss_sp = stack_ + kPage;
  context->uc_stack.ss_size = kStack - kPage;
  context->uc_link = nullptr;
  makecontext(context, function, 0);
}

void Fiber::enter() {
  current = static_cast<ucontext_t*>(state_);
  swapcontext(&launcher, current);
}

void Fiber::leave() { swapcontext(current, &launcher); }

#else

// Saves what a call must leave as it was on the stack, changes stacks, and takes it from the other one.
extern "C" void langevin_simulator_switch(void** from, void* to);
asm(R"(
.text
.hidden langevin_simulator_switch
.globl langevin_simulator_switch
.type langevin_simulator_switch, @function
langevin_simulator_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size langevin_simulator_switch, .-langevin_simulator_switch
)");

namespace {
void* launcher = nullptr;
void** current = nullptr;
}  // namespace

Fiber::Fiber() : stack_(make_stack()), state_(nullptr) {}

Fiber::~Fiber() { munmap(stack_, kStack); }

void Fiber::start(void (*function)()) {
  // Stacks lie a power of two apart: their tops differ, lest they all want the same lines of the caches.
  uint64_t* top = reinterpret_cast<uint64_t*>(stack_ + kStack - reinterpret_cast<uint64_t>(stack_) / kStack % 31 * 192);
  *--top = 0;  // what the function would return to
  *--top = reinterpret_cast<uint64_t>(function);
  for (int i = 0; i < 6; ++i) *--top = 0;
  state_ = top;
}

void Fiber::enter() {
  current = &state_;
  langevin_simulator_switch(&launcher, state_);
}

void Fiber::leave() { langevin_simulator_switch(current, launcher); }

#endif

}  // namespace langevin::simulator
