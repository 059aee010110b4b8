// A tensor that owns device memory: parameters, states, batches. Its type never changes; its contents carry a version.
#pragma once

#include <cstdint>
#include <memory>

#include "runtime/backend.h"

namespace langevin {

// A stamp that no other contents of any tensor in this process carries. Never 0.
uint64_t next_version();

class DeviceTensor {
 public:
  DeviceTensor(Backend& backend, DType dtype, Shape shape);  // contents are zero; throws CodedError E_DEVICE that names it where memory lacks
  ~DeviceTensor();
  DeviceTensor(const DeviceTensor&) = delete;
  DeviceTensor& operator=(const DeviceTensor&) = delete;

  const TensorDesc& desc() const { return desc_; }
  Backend& backend() const { return backend_; }
  void* data() const { return data_; }

  // Used on the worker thread only.
  uint64_t version() const { return version_; }
  void touch() { version_ = next_version(); }

 private:
  Backend& backend_;
  TensorDesc desc_;
  void* data_;
  uint64_t version_;
};

// "12.3 MB"; and what a device has, "; 1.2 GB of 8.0 GB are free", or nothing where it does not tell.
std::string show_bytes(size_t bytes);
std::string show_free(Backend& backend);

// Copies the contents; the types must be equal. Between devices they go through the host.
void copy_contents(DeviceTensor& to, const DeviceTensor& from);

// Throws PlanError unless the shape has at most 8 dimensions in 0..2^40 and takes at most 2^42 bytes.
void check_limits(DType dtype, const Shape& shape);

}  // namespace langevin
