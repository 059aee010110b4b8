// The host's side of kernels/args_index.h: divisors, the choice between a kernel's two widths of index, and a launch made ready. Nothing here knows an op.
#pragma once

#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "cuda/kernels/args_index.h"
#include "cuda/launch.h"
#include "runtime/backend.h"

namespace langevin {

constexpr int64_t kNarrow = (int64_t{1} << 31) - 1;  // numbers that 32-bit indices hold, as signed ones too

// An axis of 0 elements is never divided by, and stands as 1.
template <class Index>
Divisor<Index> divisor_of(int64_t n);

template <>
inline Divisor<uint32_t> divisor_of(int64_t n) {
  const uint64_t d = n < 1 ? 1 : static_cast<uint64_t>(n);
  uint32_t shift = 0;
  while ((uint64_t{1} << shift) < d) ++shift;
  const uint64_t multiplier = (uint64_t{1} << 32) * ((uint64_t{1} << shift) - d) / d + 1;
  return {static_cast<uint32_t>(d), static_cast<uint32_t>(multiplier), shift};
}
template <>
inline Divisor<uint64_t> divisor_of(int64_t n) {
  return {n < 1 ? uint64_t{1} : static_cast<uint64_t>(n)};
}

// Do 32 bits hold all of these? LANGEVIN_CUDA_WIDE=1 says no, for tests of the wide kernels, which need tensors of gigabytes otherwise.
inline bool is_narrow(std::initializer_list<int64_t> numbers) {
  const char* wide = std::getenv("LANGEVIN_CUDA_WIDE");
  if (wide != nullptr && std::strcmp(wide, "1") == 0) return false;
  for (int64_t n : numbers) {
    if (n > kNarrow || n < -kNarrow) return false;
  }
  return true;
}

template <class Index>
CUfunction kernel_of(CudaDevice& device, const std::string& name) {
  return device.kernel((name + (sizeof(Index) == 4 ? "_32" : "_64")).c_str());
}

// A K<uint32_t> or a K<uint64_t>, as its base.
template <template <class> class K, class Base = Kernel, class... Arguments>
std::unique_ptr<Base> make_by_width(bool narrow, Arguments&&... arguments) {
  if (narrow) return std::make_unique<K<uint32_t>>(std::forward<Arguments>(arguments)...);
  return std::make_unique<K<uint64_t>>(std::forward<Arguments>(arguments)...);
}

// Parameters have no gaps: what is sent to the device is what was set, and the simulator can tell every word of it.
template <class Args>
constexpr bool without_gaps() {
  return std::has_unique_object_representations_v<Args>;
}

// Grid and block for `count` elements, a thread each; nothing is launched where there are none.
struct ElementLaunch {
  CudaDevice* device = nullptr;
  CUfunction function = nullptr;
  int64_t count = 0;

  template <class Args>
  void run(const Args& args) const {
    static_assert(without_gaps<Args>());
    if (count > 0) launch(*device, function, {blocks_for(count)}, {kBlockThreads}, 0, args);
  }
};

// As ElementLaunch for blocks that work together on one of `count` things, with `shared` bytes.
struct BlockLaunch {
  CudaDevice* device = nullptr;
  CUfunction function = nullptr;
  int64_t count = 0;
  unsigned threads = kBlockThreads;
  size_t shared = 0;

  template <class Args>
  void run(const Args& args) const {
    static_assert(without_gaps<Args>());
    constexpr int64_t kMost = int64_t{1} << 30;
    if (count > 0) launch(*device, function, {static_cast<unsigned>(count < kMost ? count : kMost)}, {threads}, shared, args);
  }
};

// The order of images that move as they come: channels last where the input has them so, else plain; float32 in any case.
inline void layout_as_image(TensorDesc& input, TensorDesc& output) {
  input.layout = full_layout(input.layout);
  output.layout = input.layout;
}

// How many elements of an image share a pixel in memory: kernels/args_pool.h.
inline int64_t image_step(const TensorDesc& t) { return is_channels_last(t.layout) ? t.shape[1] : 1; }

}  // namespace langevin
