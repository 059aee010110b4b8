// What the files of the simulator share: handles, memory, the queue of a stream, and how misuse is reported. The simulator stands for libcuda,
// NVRTC, cuBLASLt and cuDNN on a machine without a GPU, for tests: what a driver would refuse it refuses, with the same code and a sentence on
// standard error. It knows nothing of the plugin.
//
// Queued work runs when somebody waits for it (or when 256 pieces wait), so that a buffer that is used too early or changed too late shows;
// LANGEVIN_SIMULATOR_QUEUE=immediate runs it at once.
//
// Variables: LANGEVIN_SIMULATOR_DEVICES, _CAPABILITY, _MEMORY, _MULTIPROCESSORS, _DRIVER (driver.cc), _ORDER (launch.cc), _CACHE (nvrtc.cc), _EXACT
// (numbers.h), _REFUSE_CONVOLUTIONS (cudnn_convolution.cc), _COUNTS (a file for totals, below), _QUIET=1 (nothing on standard error).
#pragma once

#pragma GCC visibility push(default)  // the functions declared there are what this library exports
#include <cuda.h>
#pragma GCC visibility pop

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>
#include <vector>

namespace langevin::simulator {

// Every function of the four libraries holds it: one thing at a time in a process.
std::recursive_mutex& lock();

// An environment variable, or the other text where it is not set.
std::string setting(const char* name, const char* otherwise);

// Work that went wrong: thrown by work, it becomes the context's error, which every later call returns, as on a GPU.
struct Fault {
  CUresult code;
  std::string text;
};

// Says on standard error what was misused (say alone) and returns `code`. cuGetErrorString gives the last such sentence with that code.
CUresult misuse(CUresult code, const std::string& text);

void say(const std::string& text);

struct Work {
  std::string name;           // "kernel loop_1a2b", "copy to the device"
  std::function<void()> run;  // may throw Fault; run several times where it is part of a graph
  bool frees_memory = false;  // may not be part of a graph
};

// ------------------------------------------------------------------------------------------------------------------------------- memory
// Device memory exists twice in the address space: as the addresses that the host sees, where nothing is mapped, so that a host that touches
// them dies as with a GPU; and, `shift` bytes further, as what kernels get. Allocations end where an unmapped page begins.
class Memory {
 public:
  explicit Memory(size_t total);
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  CUdeviceptr allocate(size_t bytes);     // 0 where there is not enough
  bool begin_release(CUdeviceptr address);  // false: not the start of a living allocation, or begun before
  void release(CUdeviceptr address);        // when the stream has come there
  bool owns(uint64_t word) const { return word >= base_ && word < base_ + kSpace; }
  unsigned char* mapped(uint64_t word) const { return reinterpret_cast<unsigned char*>(word + shift_); }
  bool is_mapped(uint64_t address) const { return address >= base_ + shift_ && address < base_ + shift_ + kSpace; }
  uint64_t device_address(uint64_t mapped) const { return mapped - shift_; }
  // The allocation in which [address, address + bytes) lies, or "" and memory to use; else what is wrong with it.
  std::string check(CUdeviceptr address, size_t bytes) const;
  // The words around an allocation that nobody may write. Empty, or which allocation was written beyond.
  std::string check_guards(uint64_t inside) const;
  std::string check_all_guards() const;
  std::string describe(uint64_t address) const;  // "16 bytes behind an allocation of 1024 bytes"

  size_t total() const { return total_; }
  size_t used() const { return used_; }
  size_t reserved() const { return reserved_; }
  size_t free_bytes() const { return total_ - reserved_; }
  void trim(size_t keep) { reserved_ = used_ > keep ? used_ : keep < reserved_ ? keep : reserved_; }
  size_t allocations() const { return living_.size(); }
  size_t used_high = 0, reserved_high = 0;
  uint64_t release_threshold = 0;

 private:
  static constexpr uint64_t kSpace = uint64_t{1} << 40;
  struct Block {
    uint64_t pages;   // of the mapped region's start, device address
    uint64_t length;  // of the region
    size_t bytes;     // asked for
    bool leaving;     // its release is queued
  };
  std::map<uint64_t, Block>::const_iterator find(uint64_t inside) const;
  std::string guards_of(uint64_t start, const Block& block) const;
  uint64_t base_ = 0, shift_ = 0, next_ = 0;
  size_t total_, used_ = 0, reserved_ = 0;
  std::map<uint64_t, Block> living_;        // by device address of the first byte
  std::map<uint64_t, size_t> released_;     // what was there before, for messages
};

// The mapped address, for work that runs now: throws Fault unless all of it lies in one allocation.
unsigned char* use(const Memory& memory, CUdeviceptr address, size_t bytes, const std::string& what);
std::string hex(CUdeviceptr address);

// ----------------------------------------------------------------------------------------------------------------------------- launching
using KernelFunction = void (*)(const void* parameters);
struct Dimensions {
  unsigned x, y, z;
};
// Runs every thread of the grid. `parameters` hold addresses that are mapped. Throws Fault.
void run_kernel(const std::string& name, KernelFunction function, void (*bind)(void*), const void* parameters, Dimensions grid, Dimensions block, size_t shared,
                const Memory& memory);

// The parameters with device addresses made mapped ones; the allocations that they point into are appended. Throws Fault where one is the host's.
std::vector<uint64_t> map_parameters(const std::string& name, const std::vector<uint64_t>& words, const Memory& memory, std::vector<uint64_t>* touched);

// ---------------------------------------------------------------------------------------------------------------------------- statistics
// Totals of the process, for tests: written as JSON to the file LANGEVIN_SIMULATOR_COUNTS at every synchronize and at the end.
struct Counts {
  long long launches = 0, graph_launches = 0, kernels = 0, library_calls = 0, synchronizes = 0, copies_to_host = 0, copies_to_device = 0, allocations = 0,
            compilations = 0, graphs = 0;
};
Counts& counts();
void write_counts();

// The cubin of the simulator: this head, then a shared library.
struct CubinHead {
  char magic[16];
  uint64_t capability, bytes;
};
constexpr char kCubinMagic[] = "LangevinCubinSo";  // 16 with its zero

}  // namespace langevin::simulator

// ------------------------------------------------------------------------------------------------------------------------------- handles
struct CUctx_st {
  int device = 0;
  int retained = 0;
  CUresult error = CUDA_SUCCESS;  // sticky
  std::unique_ptr<langevin::simulator::Memory> memory;
  std::vector<CUstream> streams;  // the first is the default stream
};

struct CUgraph_st {
  CUcontext context = nullptr;
  std::vector<langevin::simulator::Work> nodes;
};

struct CUgraphExec_st {
  CUcontext context = nullptr;
  std::shared_ptr<const std::vector<langevin::simulator::Work>> nodes;
};

struct CUstream_st {
  CUcontext context = nullptr;
  std::vector<langevin::simulator::Work> queue;
  CUgraph capture = nullptr;
  bool invalidated = false;  // the capture was
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  uint64_t capturing_thread = 0;
};

struct CUmod_st {
  CUcontext context = nullptr;
  void* library = nullptr;  // of dlopen
  bool own = false;         // to be closed
  std::vector<CUfunction> functions;
};

struct CUfunc_st {
  CUmodule module = nullptr;
  std::string name;
  langevin::simulator::KernelFunction run = nullptr;
  void (*bind)(void*) = nullptr;
  size_t parameter_bytes = 0;
  int dynamic_shared = 48 * 1024;
};

struct CUevent_st {
  CUcontext context = nullptr;
  bool timing = true;
  struct State {
    bool recorded = false, done = false;
    double seconds = 0;
  };
  std::shared_ptr<State> state = std::make_shared<State>();
};

namespace langevin::simulator {

template <class T>
std::unordered_set<const T*>& living() {
  static auto* set = new std::unordered_set<const T*>;  // never destroyed: used at the process's end
  return *set;
}
template <class T>
T* made(T* handle) {
  living<T>().insert(handle);
  return handle;
}
template <class T>
bool alive(const T* handle) {
  return living<T>().count(handle) != 0;
}
template <class T>
void destroy(T* handle) {
  living<T>().erase(handle);
  delete handle;
}

CUcontext current_context();

// Puts work into the stream, or into the graph that it captures. Null is the context's default stream.
CUresult enqueue(CUstream stream, Work work);
// Runs what is queued. The context's error where something went wrong.
CUresult drain(CUstream stream);
CUresult drain(CUcontext context);
// Whether anything was written beyond the context's allocations.
CUresult check_guards(CUcontext context);
// While a stream of the context captures: refuses, naming what, and invalidates the capture. Else success.
CUresult not_while_capturing(CUcontext context, const char* what);

}  // namespace langevin::simulator
