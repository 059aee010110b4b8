// A GPU as a backend (runtime/backend.h): memory, copies, recordings, and dispatch to the functions of ops.h.
//
// Everything is queued on the device's one stream, so memory needs no waiting: it is taken and given back in that order (cuMemAllocAsync and
// cuMemFreeAsync on the device's own pool, which keeps what is given back). Tensors are made and dropped on JavaScript's threads while the worker
// thread may be recording, when nothing foreign may reach that stream: then memory is taken on a second stream and given back afterwards.
#pragma once

#include <mutex>
#include <vector>

#include "cuda/device.h"
#include "runtime/backend.h"

namespace langevin {

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(CudaDevice& device);

  const char* name() const override { return name_.c_str(); }
  void* allocate(size_t bytes) override;
  void release(void* memory, size_t bytes) override;
  DeviceMemory memory() override;
  void copy_in(void* device, const void* host, size_t bytes) override;
  void copy_out(void* host, const void* device, size_t bytes) override;
  void copy(void* to, const void* from, size_t bytes) override;
  void synchronize() override;

  bool records() const override { return records_; }
  void begin_recording() override;
  std::unique_ptr<Recording> end_recording() override;

  bool repeats() const override { return repeats_; }
  std::unique_ptr<RepeatedPlan> make_repeated(const DecodedPlan& plan, const std::vector<int>& carried) override;  // chain.cc

  void choose_layouts(Instruction& instruction) override;
  std::unique_ptr<Kernel> make_kernel(const Instruction& instruction) override;
  std::unique_ptr<Kernel> make_reorder(const TensorDesc& from, const TensorDesc& to) override;
  void finish_kernels() override;
  std::string missing_for_bfloat16() override;
  HalfUse half_use(const Instruction& instruction, int input) override;
  bool in_place(const Instruction& instruction, int input, int output) override;

  // Of a recording that is dropped: it may still be running, so it is destroyed at the next wait.
  void retire(CUgraphExec graph);

 private:
  void* take(size_t bytes);
  void give_back(void* memory);
  void destroy_retired();

  CudaDevice& device_;
  std::string name_;
  bool records_;
  bool repeats_;
  CUmemoryPool pool_ = nullptr;
  CUstream side_ = nullptr;   // for memory while the main stream records
  void* pinned_ = nullptr;    // host memory through which small results come back

  std::mutex mutex_;          // guards what follows
  bool recording_ = false;
  size_t live_ = 0;           // allocations
  std::vector<void*> given_back_;       // during a recording
  std::vector<CUgraphExec> retired_;
};

}  // namespace langevin
