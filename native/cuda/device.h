// One GPU: its context, the stream on which all our work goes, its properties, its kernels. Made once and never destroyed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "cuda/driver.h"

namespace langevin {

class CudaDevice {
 public:
  // Throws CodedError E_DEVICE.
  static CudaDevice& get(int ordinal);

  int ordinal() const { return ordinal_; }
  CUstream stream() const { return stream_; }
  CUcontext context() const { return context_; }
  int capability() const { return capability_; }          // 90 for compute capability 9.0
  int multiprocessors() const { return multiprocessors_; }
  size_t shared_per_block() const { return shared_; }     // bytes a block may ask for (opt-in)
  size_t total_memory() const { return total_; }
  const std::string& name() const { return name_; }

  // Makes the context the calling thread's. Cheap; call it at every entry from elsewhere.
  void use() const;

  // A kernel of native/cuda/kernels/*.cu by its name. Throws CodedError E_DEVICE where this GPU has no code in the plugin.
  CUfunction kernel(const char* name);

  // Kernels compiled from source (NVRTC), for the fused loops. add() takes the text of functions whose names occur nowhere else in the process
  // unless the text is the same; compile() makes all that were added since, in one or a few programs; function() gives one. A text that was
  // compiled before is not compiled again (in this process; and, where a cache folder can be written, on this machine).
  void add_source(const std::string& name, const std::string& text);
  void compile_sources();
  CUfunction source_kernel(const std::string& name);

 private:
  explicit CudaDevice(int ordinal);
  int ordinal_ = 0, capability_ = 0, multiprocessors_ = 0;
  size_t shared_ = 0, total_ = 0;
  std::string name_;
  CUcontext context_ = nullptr;
  CUstream stream_ = nullptr;
  struct Modules;
  Modules* modules_ = nullptr;
};

}  // namespace langevin
