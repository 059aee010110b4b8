// transpose, slice, pad and concat: boxes copied by StridedCopy. Blocked activations stay blocked where the op leaves whole channel
// blocks together (their channel axis then counts blocks, and the block is a fifth axis).
#include <cstring>
#include <vector>

#include "cpu/strided_copy.h"
#include "ops/geometry.h"
#include "ops/registry.h"

namespace langevin {

namespace {

// The array that holds the tensor: its shape, or [N, C/b, H, W, b].
Shape stored_shape(const TensorDesc& t) {
  Shape s = t.shape;
  const int64_t block = block_of(t.layout);
  if (block > 1) {
    s[1] /= block;
    s.push_back(block);
  }
  return s;
}

int64_t dot(const std::vector<int64_t>& a, const Shape& b) {
  int64_t total = 0;
  for (size_t i = 0; i < a.size(); ++i) total += a[i] * b[i];
  return total;
}

// A box of an input copied to a box of the output.
struct Part {
  int input;
  StridedCopy copy;
  int64_t from, to;  // offsets in elements
};

class MoveKernel : public Kernel {
 public:
  explicit MoveKernel(size_t element) : element_(element) {}

  void add(int input, const StridedCopy& copy, int64_t from, int64_t to) { parts_.push_back({input, copy, from, to}); }
  void fill_first(int64_t count, uint32_t pattern) { fill_ = count, pattern_ = pattern; }

  void run(const KernelArgs& args) override {
    char* out = static_cast<char*>(args.outputs[0]);
    if (fill_ > 0) fill_elements(out, fill_, pattern_, element_);
    for (const Part& p : parts_) {
      const char* in = static_cast<const char*>(args.inputs[p.input]);
      p.copy.run(in + p.from * static_cast<int64_t>(element_), out + p.to * static_cast<int64_t>(element_));
    }
  }

 private:
  size_t element_;
  std::vector<Part> parts_;
  int64_t fill_ = 0;
  uint32_t pattern_ = 0;
};

uint32_t pattern_of(double value, DType dtype) {
  switch (dtype) {
    case DType::F32: {
      const float f = static_cast<float>(value);
      uint32_t bits;
      std::memcpy(&bits, &f, sizeof bits);
      return bits;
    }
    case DType::I32: return static_cast<uint32_t>(static_cast<int32_t>(value));
    default: return static_cast<uint32_t>(value);
  }
}

// A slice of a bfloat16 value that is small beside it (the first pixel of each channel, by which a norm shifts its sums), as plain float32.
class HalfSliceKernel : public Kernel {
 public:
  HalfSliceKernel(const Instruction& in, const SliceGeometry& g) : shape_(in.outputs[0].shape), step_(g.step) {
    const TensorDesc& from = in.inputs[0];
    block_ = block_of(from.layout);
    strides_ = row_major_strides(from.shape);
    if (block_ > 1) {  // of [N, C/b, H, W, b]; within a block the channels are neighbours
      strides_[3] = block_, strides_[2] = block_ * from.shape[3];
      area_ = from.shape[2] * from.shape[3] * block_;
    }
    start_ = g.start;
  }

  void run(const KernelArgs& args) override {
    const uint16_t* from = static_cast<const uint16_t*>(args.inputs[0]);
    float* to = static_cast<float*>(args.outputs[0]);
    const int64_t size = size_of(shape_);
    for (int64_t i = 0; i < size; ++i) {
      int64_t rest = i, offset = 0;
      for (size_t axis = shape_.size(); axis-- > 0;) {
        const int64_t at = start_[axis] + rest % shape_[axis] * step_[axis];
        rest /= shape_[axis];
        offset += block_ > 1 && axis == 1 ? at / block_ * area_ + at % block_ : at * strides_[axis];
      }
      const uint32_t bits = static_cast<uint32_t>(from[offset]) << 16;
      std::memcpy(to + i, &bits, sizeof bits);
    }
  }

 private:
  Shape shape_, strides_;
  std::vector<int64_t> start_, step_;
  int64_t block_ = 1, area_ = 0;
};

// Keeps the layout of the inputs when all are blocked alike and `whole_blocks` holds of that block size.
template <class Condition>
void keep_blocked(Instruction& in, Condition whole_blocks) {
  const Layout layout = in.inputs[0].layout;
  bool keep = layout != Layout::Plain;
  for (const TensorDesc& t : in.inputs) keep = keep && t.layout == layout;
  if (!keep || !whole_blocks(static_cast<int64_t>(block_of(layout)))) {
    layout_plain(in);
  } else {
    in.outputs[0].layout = layout;
  }
}

}  // namespace

void layout_transpose(Instruction& in) { layout_plain(in); }
HalfUse slice_half_use(const Instruction& in, int) {
  const bool small = in.inputs[0].dtype == DType::F32 && in.outputs[0].size() <= 4096 && in.outputs[0].size() * 16 <= in.inputs[0].size();
  return small ? HalfUse::May : HalfUse::No;
}

void layout_slice(Instruction& in) {
  const SliceGeometry g = slice_geometry(in);
  if (is_half(in.inputs[0].layout)) {
    if (slice_half_use(in, 0) == HalfUse::May) return;  // as it comes, to plain float32
    in.inputs[0].layout = full_layout(in.inputs[0].layout);
  }
  keep_blocked(in, [&](int64_t b) { return g.start[1] % b == 0 && g.stop[1] % b == 0 && g.step[1] == 1 && g.stop[1] > g.start[1]; });
}
void layout_pad(Instruction& in) {
  const PadGeometry g = pad_geometry(in);
  keep_blocked(in, [&](int64_t b) { return g.low[1] % b == 0 && g.high[1] % b == 0 && g.interior[1] == 0; });
}
void layout_concat(Instruction& in) {
  keep_blocked(in, [](int64_t) { return true; });  // each input has whole blocks, or it would not be blocked
}

bool in_place_transpose(const Instruction&, int, int) { return false; }
bool in_place_slice(const Instruction&, int, int) { return false; }
bool in_place_pad(const Instruction&, int, int) { return false; }
bool in_place_concat(const Instruction&, int, int) { return false; }

std::unique_ptr<Kernel> make_transpose(const Instruction& in) {
  const auto perm = transpose_perm(in);
  const Shape strides = row_major_strides(in.inputs[0].shape), &out = in.outputs[0].shape;
  Shape from;
  for (int64_t axis : perm) from.push_back(strides[static_cast<size_t>(axis)]);
  const size_t element = bytes_of(in.outputs[0].dtype);
  auto kernel = std::make_unique<MoveKernel>(element);
  kernel->add(0, StridedCopy(out, from, row_major_strides(out), element), 0, 0);
  return kernel;
}

std::unique_ptr<Kernel> make_slice(const Instruction& in) {
  SliceGeometry g = slice_geometry(in);
  if (is_half(in.inputs[0].layout)) return std::make_unique<HalfSliceKernel>(in, g);
  const int64_t block = block_of(in.inputs[0].layout);
  if (block > 1) {
    g.start[1] /= block;
    g.start.push_back(0);
    g.step.push_back(1);
  }
  const Shape strides = row_major_strides(stored_shape(in.inputs[0])), out = stored_shape(in.outputs[0]);
  Shape from = strides;
  for (size_t i = 0; i < from.size(); ++i) from[i] *= g.step[i];
  const size_t element = bytes_of(in.outputs[0].dtype);
  auto kernel = std::make_unique<MoveKernel>(element);
  kernel->add(0, StridedCopy(out, from, row_major_strides(out), element), dot(g.start, strides), 0);
  return kernel;
}

std::unique_ptr<Kernel> make_pad(const Instruction& in) {
  PadGeometry g = pad_geometry(in);
  const int64_t block = block_of(in.inputs[0].layout);
  if (block > 1) {
    g.low[1] /= block;
    g.low.push_back(0);
    g.interior.push_back(0);
  }
  const Shape box = stored_shape(in.inputs[0]), strides = row_major_strides(stored_shape(in.outputs[0]));
  Shape to = strides;
  for (size_t i = 0; i < to.size(); ++i) to[i] *= g.interior[i] + 1;
  const size_t element = bytes_of(in.outputs[0].dtype);
  auto kernel = std::make_unique<MoveKernel>(element);
  if (in.outputs[0].size() > in.inputs[0].size()) kernel->fill_first(in.outputs[0].size(), pattern_of(g.value, in.outputs[0].dtype));
  kernel->add(0, StridedCopy(box, row_major_strides(box), to, element), 0, dot(g.low, strides));
  return kernel;
}

std::unique_ptr<Kernel> make_concat(const Instruction& in) {
  const size_t axis = static_cast<size_t>(concat_axis(in));
  const Shape strides = row_major_strides(stored_shape(in.outputs[0]));
  const size_t element = bytes_of(in.outputs[0].dtype);
  auto kernel = std::make_unique<MoveKernel>(element);
  int64_t offset = 0;
  for (size_t i = 0; i < in.inputs.size(); ++i) {
    const Shape box = stored_shape(in.inputs[i]);
    kernel->add(static_cast<int>(i), StridedCopy(box, row_major_strides(box), strides, element), 0, offset * strides[axis]);
    offset += box[axis];
  }
  return kernel;
}

}  // namespace langevin
