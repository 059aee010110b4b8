// Element types, memory layouts and tensor descriptions. No memory is owned here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace langevin {

// A request that cannot be honoured (a malformed plan, an unsupported shape). Reaches JavaScript as a typed error.
class PlanError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

enum class DType : uint8_t { F32, I32, U8, Bool };  // U8 and Bool take one byte; Bool holds 0 or 1.

inline size_t bytes_of(DType t) { return t == DType::F32 || t == DType::I32 ? 4 : 1; }

// How a value lies in memory. Plain is row-major. Blocked8/16 is [N, C/b, H, W, b], only for rank-4 float32 tensors with C divisible by b;
// ChannelsLast is [N, H, W, C], only for rank-4 float32 tensors (CUDA). The Half ones hold the same order with a float32 value rounded to its
// upper 16 bits (bfloat16): only in plans of that precision.
enum class Layout : uint8_t { Plain, Blocked8, Blocked16, ChannelsLast, PlainHalf, Blocked16Half, ChannelsLastHalf };
constexpr int kLayouts = 7;

inline int block_of(Layout l) { return l == Layout::Blocked16 || l == Layout::Blocked16Half ? 16 : l == Layout::Blocked8 ? 8 : 1; }
inline bool is_channels_last(Layout l) { return l == Layout::ChannelsLast || l == Layout::ChannelsLastHalf; }
inline bool is_half(Layout l) { return l == Layout::PlainHalf || l == Layout::Blocked16Half || l == Layout::ChannelsLastHalf; }
inline Layout full_layout(Layout l) {
  return l == Layout::PlainHalf ? Layout::Plain : l == Layout::Blocked16Half ? Layout::Blocked16 : l == Layout::ChannelsLastHalf ? Layout::ChannelsLast : l;
}
// The same order in bfloat16; Blocked8 has none and stays.
inline Layout half_layout(Layout l) {
  return l == Layout::Plain ? Layout::PlainHalf : l == Layout::Blocked16 ? Layout::Blocked16Half : l == Layout::ChannelsLast ? Layout::ChannelsLastHalf : l;
}

using Shape = std::vector<int64_t>;

inline int64_t size_of(const Shape& s) {
  int64_t n = 1;
  for (int64_t d : s) n *= d;
  return n;
}

struct TensorDesc {
  DType dtype = DType::F32;
  Shape shape;
  Layout layout = Layout::Plain;

  int64_t size() const { return size_of(shape); }
  size_t element() const { return is_half(layout) ? 2 : bytes_of(dtype); }  // bytes
  size_t bytes() const { return static_cast<size_t>(size()) * element(); }
};

std::string to_string(const TensorDesc& t);  // "float32[8,16,8,8]", with ":16" appended when blocked by 16, ":nhwc" when channels come last, ":half" when in bfloat16.

}  // namespace langevin
