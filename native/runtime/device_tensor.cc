// See device_tensor.h.
#include "runtime/device_tensor.h"

#include <atomic>

namespace langevin {

namespace {
constexpr size_t kMostDimensions = 8;
constexpr int64_t kLongestDimension = int64_t{1} << 40;
constexpr int64_t kMostBytes = int64_t{1} << 42;
}  // namespace

uint64_t next_version() {
  static std::atomic<uint64_t> last{0};
  return ++last;
}

DeviceTensor::DeviceTensor(Backend& backend, DType dtype, Shape shape)
    : backend_(backend), desc_{dtype, std::move(shape), Layout::Plain}, data_(backend.allocate(desc_.bytes())), version_(next_version()) {}

DeviceTensor::~DeviceTensor() { backend_.release(data_, desc_.bytes()); }

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
