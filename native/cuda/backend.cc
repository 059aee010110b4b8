// See backend.h.
#include "cuda/backend.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "cuda/ops.h"
#include "runtime/errors.h"

namespace langevin {

namespace {

constexpr size_t kPinnedBytes = 65536;

CUdeviceptr address(const void* memory) { return static_cast<CUdeviceptr>(reinterpret_cast<uintptr_t>(memory)); }

bool wants(const char* variable) {
  const char* text = std::getenv(variable);
  return text == nullptr || std::strcmp(text, "0") != 0;
}

class CudaRecording final : public Recording {
 public:
  CudaRecording(CudaBackend& backend, CudaDevice& device, CUgraphExec graph) : backend_(backend), device_(device), graph_(graph) {}
  ~CudaRecording() override { backend_.retire(graph_); }
  void replay() override {
    device_.use();
    check_cuda(driver().cuGraphLaunch_(graph_, device_.stream()), "replaying recorded work");
  }

 private:
  CudaBackend& backend_;
  CudaDevice& device_;
  CUgraphExec graph_;
};

}  // namespace

CudaBackend::CudaBackend(CudaDevice& device) : device_(device), name_("cuda:" + std::to_string(device.ordinal())), records_(wants("LANGEVIN_CUDA_GRAPHS")), repeats_(wants("LANGEVIN_CUDA_CHAINS")) {
  const Driver& d = driver();
  device_.use();
  CUdevice handle = 0;
  check_cuda(d.cuDeviceGet_(&handle, device.ordinal()), "choosing a GPU");
  check_cuda(d.cuDeviceGetDefaultMemPool_(&pool_, handle), "asking a GPU for its memory pool");
  // Memory that is given back stays with the process, for what comes next. take() and release() return it when it matters.
  cuuint64_t keep = UINT64_MAX;
  check_cuda(d.cuMemPoolSetAttribute_(pool_, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &keep), "setting up a GPU's memory pool");
  check_cuda(d.cuStreamCreate_(&side_, CU_STREAM_NON_BLOCKING), "making a stream");
  check_cuda(d.cuMemAllocHost_(&pinned_, kPinnedBytes), "taking memory for copies");
}

// Memory of the pool, with zeros queued on the same stream.
void* CudaBackend::take(size_t bytes) {
  const Driver& d = driver();
  const CUstream stream = recording_ ? side_ : device_.stream();
  CUdeviceptr memory = 0;
  CUresult result = d.cuMemAllocAsync_(&memory, bytes, stream);
  if (result == CUDA_ERROR_OUT_OF_MEMORY) {
    // What other parts of the process have given back may lie in the pool in pieces that do not fit.
    if (!recording_) check_cuda(d.cuStreamSynchronize_(stream), "waiting for the GPU");
    d.cuMemPoolTrimTo_(pool_, 0);
    result = d.cuMemAllocAsync_(&memory, bytes, stream);
  }
  check_cuda(result, "taking memory");
  result = d.cuMemsetD8Async_(memory, 0, bytes, stream);
  if (result == CUDA_SUCCESS && recording_) result = d.cuStreamSynchronize_(stream);
  if (result != CUDA_SUCCESS) {
    d.cuMemFreeAsync_(memory, stream);
    check_cuda(result, "clearing memory");
  }
  return reinterpret_cast<void*>(static_cast<uintptr_t>(memory));
}

void* CudaBackend::allocate(size_t bytes) {
  device_.use();
  std::lock_guard<std::mutex> lock(mutex_);
  void* memory = take(std::max<size_t>(bytes, 1));
  ++live_;
  return memory;
}

// A failure is one of earlier work, which the next wait tells; memory of a lost context is gone anyway.
void CudaBackend::give_back(void* memory) {
  const Driver& d = driver();
  d.cuMemFreeAsync_(address(memory), device_.stream());
  if (live_ > 0) return;
  d.cuStreamSynchronize_(device_.stream());
  d.cuMemPoolTrimTo_(pool_, 0);
}

void CudaBackend::release(void* memory, size_t) {
  if (memory == nullptr) return;
  driver().cuCtxSetCurrent_(device_.context());
  std::lock_guard<std::mutex> lock(mutex_);
  --live_;
  if (recording_) given_back_.push_back(memory);
  else give_back(memory);
}

DeviceMemory CudaBackend::memory() {
  const Driver& d = driver();
  device_.use();
  std::lock_guard<std::mutex> lock(mutex_);
  // What has been given back counts until the stream gets there.
  if (!recording_) check_cuda(d.cuStreamSynchronize_(device_.stream()), "waiting for the GPU");
  cuuint64_t used = 0, peak = 0, reserved = 0;
  check_cuda(d.cuMemPoolGetAttribute_(pool_, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used), "asking for the memory in use");
  check_cuda(d.cuMemPoolGetAttribute_(pool_, CU_MEMPOOL_ATTR_USED_MEM_HIGH, &peak), "asking for the memory in use");
  check_cuda(d.cuMemPoolGetAttribute_(pool_, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, &reserved), "asking for the memory in use");
  DeviceMemory memory;
  check_cuda(d.cuMemGetInfo_(&memory.free, &memory.total), "asking for the memory that is free");
  memory.used = used;
  memory.peak = peak;
  memory.free += reserved - std::min(reserved, used);  // what the pool keeps is free for us
  return memory;
}

void CudaBackend::copy_in(void* device, const void* host, size_t bytes) {
  if (bytes == 0) return;
  device_.use();
  check_cuda(driver().cuMemcpyHtoDAsync_(address(device), host, bytes, device_.stream()), "copying to the GPU");
  // The caller may change or free its memory at once.
  synchronize();
}

void CudaBackend::copy_out(void* host, const void* device, size_t bytes) {
  if (bytes == 0) return;
  device_.use();
  const bool small = bytes <= kPinnedBytes;
  check_cuda(driver().cuMemcpyDtoHAsync_(small ? pinned_ : host, address(device), bytes, device_.stream()), "copying from the GPU");
  synchronize();
  if (small) std::memcpy(host, pinned_, bytes);
}

void CudaBackend::copy(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  device_.use();
  check_cuda(driver().cuMemcpyDtoDAsync_(address(to), address(from), bytes, device_.stream()), "copying on the GPU");
}

void CudaBackend::synchronize() {
  device_.use();
  check_cuda(driver().cuStreamSynchronize_(device_.stream()), "waiting for the GPU");
  destroy_retired();
}

void CudaBackend::retire(CUgraphExec graph) {
  std::lock_guard<std::mutex> lock(mutex_);
  retired_.push_back(graph);
}

void CudaBackend::destroy_retired() {
  std::lock_guard<std::mutex> lock(mutex_);
  for (CUgraphExec graph : retired_) driver().cuGraphExecDestroy_(graph);
  retired_.clear();
}

void CudaBackend::begin_recording() {
  device_.use();
  std::lock_guard<std::mutex> lock(mutex_);
  // Relaxed: other threads, and libraries that look at the device while their work is queued, are none of the recording's business.
  check_cuda(driver().cuStreamBeginCapture_(device_.stream(), CU_STREAM_CAPTURE_MODE_RELAXED), "recording work");
  recording_ = true;
}

std::unique_ptr<Recording> CudaBackend::end_recording() {
  const Driver& d = driver();
  device_.use();
  std::lock_guard<std::mutex> lock(mutex_);
  if (!recording_) return nullptr;
  CUgraph graph = nullptr;
  CUgraphExec made = nullptr;
  CUresult result = d.cuStreamEndCapture_(device_.stream(), &graph);
  recording_ = false;
  for (void* memory : given_back_) give_back(memory);
  given_back_.clear();
  if (result == CUDA_SUCCESS && graph != nullptr) result = d.cuGraphInstantiate_(&made, graph, 0);
  if (graph != nullptr) d.cuGraphDestroy_(graph);
  if (result != CUDA_SUCCESS || made == nullptr) return nullptr;
  return std::make_unique<CudaRecording>(*this, device_, made);
}

// A kernel that says it cannot read bfloat16 is not shown any.
void CudaBackend::choose_layouts(Instruction& instruction) {
  if (instruction.bfloat16) {
    Instruction plain = instruction;
    for (TensorDesc& t : plain.inputs) t.layout = Layout::Plain;
    for (TensorDesc& t : plain.outputs) t.layout = Layout::Plain;
    for (size_t i = 0; i < instruction.inputs.size(); ++i) {
      TensorDesc& t = instruction.inputs[i];
      if (is_half(t.layout) && cuda_half_use(plain, static_cast<int>(i)) == HalfUse::No) t.layout = full_layout(t.layout);
    }
  }
  cuda_op_entry(instruction.op).layout(instruction);
}

std::unique_ptr<Kernel> CudaBackend::make_kernel(const Instruction& instruction) {
  device_.use();
  return cuda_op_entry(instruction.op).make(instruction, device_);
}

std::unique_ptr<Kernel> CudaBackend::make_reorder(const TensorDesc& from, const TensorDesc& to) {
  device_.use();
  return cuda_make_reorder(from, to, device_);
}

void CudaBackend::finish_kernels() {
  device_.use();
  device_.compile_sources();
}

std::string CudaBackend::missing_for_bfloat16() {
  const int have = device_.capability();
  if (have >= 80) return "";
  return "compute capability 8.0 or later (" + name_ + ", " + device_.name() + ", has " + std::to_string(have / 10) + "." + std::to_string(have % 10) + ")";
}

HalfUse CudaBackend::half_use(const Instruction& instruction, int input) { return cuda_half_use(instruction, input); }

bool CudaBackend::in_place(const Instruction& instruction, int input, int output) {
  return cuda_op_entry(instruction.op).in_place(instruction, input, output);
}

}  // namespace langevin
