// See device_tensor.h.
#include "runtime/device_tensor.h"

#include <atomic>
#include <cstdio>
#include <new>
#include <vector>

#include "runtime/errors.h"

namespace langevin {

namespace {
constexpr size_t kMostDimensions = 8;
constexpr int64_t kLongestDimension = int64_t{1} << 40;
constexpr int64_t kMostBytes = int64_t{1} << 42;

void* allocate(Backend& backend, const TensorDesc& desc) {
  try {
    return backend.allocate(desc.bytes());
  } catch (const std::bad_alloc&) {
    throw CodedError("E_DEVICE", "out of memory on " + std::string(backend.name()) + ": a tensor " + to_string(desc) + " takes " + show_bytes(desc.bytes()) +
                                     show_free(backend) + "; use a smaller batch or model, or dispose of tensors that are no longer needed");
  }
}
}  // namespace

uint64_t next_version() {
  static std::atomic<uint64_t> last{0};
  return ++last;
}

DeviceTensor::DeviceTensor(Backend& backend, DType dtype, Shape shape)
    : backend_(backend), desc_{dtype, std::move(shape), Layout::Plain}, data_(allocate(backend, desc_)), version_(next_version()) {}

DeviceTensor::~DeviceTensor() { backend_.release(data_, desc_.bytes()); }

std::string show_bytes(size_t bytes) {
  constexpr const char* kUnits[] = {"kB", "MB", "GB", "TB"};
  if (bytes < 1000) return std::to_string(bytes) + " bytes";
  double value = static_cast<double>(bytes) / 1000;
  int unit = 0;
  for (; value >= 999.5 && unit < 3; ++unit) value /= 1000;
  char text[32];
  std::snprintf(text, sizeof text, "%.*f %s", value < 99.95 ? 1 : 0, value, kUnits[unit]);
  return text;
}

std::string show_free(Backend& backend) {
  try {
    const DeviceMemory memory = backend.memory();
    return memory.total == 0 ? "" : "; " + show_bytes(memory.free) + " of " + show_bytes(memory.total) + " are free";
  } catch (const CodedError&) {
    return "";  // what this is a part of matters more
  }
}

void copy_contents(DeviceTensor& to, const DeviceTensor& from) {
  const size_t bytes = from.desc().bytes();
  if (&to.backend() == &from.backend()) {
    to.backend().copy(to.data(), from.data(), bytes);
  } else {
    std::vector<uint8_t> host(bytes);
    from.backend().copy_out(host.data(), from.data(), bytes);
    to.backend().copy_in(to.data(), host.data(), bytes);
  }
  to.touch();
}

void check_limits(DType dtype, const Shape& shape) {
  if (shape.size() > kMostDimensions) {
    throw PlanError("a tensor has at most " + std::to_string(kMostDimensions) + " dimensions; got " + std::to_string(shape.size()));
  }
  // A zero among the dimensions must not hide an overflow of the others: strides are products too.
  int64_t bytes = static_cast<int64_t>(bytes_of(dtype));
  for (int64_t d : shape) {
    if (d < 0 || d > kLongestDimension) throw PlanError("a dimension must be in 0.." + std::to_string(kLongestDimension) + "; got " + std::to_string(d));
    if (d == 0) continue;
    if (bytes > kMostBytes / d) throw PlanError("a tensor takes at most " + std::to_string(kMostBytes) + " bytes; its dimensions multiply to more");
    bytes *= d;
  }
}

}  // namespace langevin
