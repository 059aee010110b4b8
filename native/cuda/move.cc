// transpose, slice, pad and concat on CUDA. Images with their channels last are taken as they come and stay so where the op has no reason of its own to
// choose (a transpose gives plain rows); inputs of either order are read through their strides, so no reorder stands before these ops.
#include <algorithm>
#include <cstring>
#include <vector>

#include "cuda/half_use.h"
#include "cuda/index_launch.h"
#include "cuda/kernels/args_move.h"
#include "cuda/ops.h"
#include "ops/geometry.h"

namespace langevin {

namespace {

// How many elements apart neighbours on each axis of the shape lie.
Shape strides_of(const TensorDesc& t) {
  Shape strides(t.shape.size(), 1);
  if (is_channels_last(t.layout)) {
    const int64_t c = t.shape[1], w = t.shape[3];
    return {t.shape[2] * w * c, 1, w * c, c};
  }
  for (size_t i = t.shape.size(); i-- > 1;) strides[i - 1] = strides[i] * t.shape[i];
  return strides;
}

int64_t dot(const std::vector<int64_t>& a, const Shape& b) {
  int64_t total = 0;
  for (size_t i = 0; i < a.size(); ++i) total += a[i] * b[i];
  return total;
}

// A box of one array and where it goes in another: strides and offsets in elements.
struct Box {
  Shape shape, from, to;
  int64_t from_offset = 0, to_offset = 0;
};

struct Axis {
  int64_t size, from, to;
};

// Outermost in `to` first; axes of size 1 dropped, and those that run on in both arrays merged.
std::vector<Axis> axes_of(const Box& box) {
  std::vector<Axis> all, axes;
  for (size_t i = 0; i < box.shape.size(); ++i) {
    if (box.shape[i] != 1) all.push_back({box.shape[i], box.from[i], box.to[i]});
  }
  std::stable_sort(all.begin(), all.end(), [](const Axis& a, const Axis& b) { return a.to > b.to; });
  for (const Axis& next : all) {
    const bool joins = !axes.empty() && axes.back().from == next.from * next.size && axes.back().to == next.to * next.size;
    if (joins) axes.back() = {axes.back().size * next.size, next.from, next.to};
    else axes.push_back(next);
  }
  return axes;
}

// One copy made ready: from the first byte of one array into another.
class Move {
 public:
  virtual ~Move() = default;
  virtual void run(const void* from, void* to) = 0;
};

// Fills size, strides and rank of args from its end on.
template <class Index, class Args>
void set_axes(Args& args, const std::vector<Axis>& axes, int64_t unit) {
  args.rank = static_cast<Index>(axes.size());
  for (size_t i = 0; i < axes.size(); ++i) {
    const size_t at = kMoveRank - axes.size() + i;
    args.size[at] = divisor_of<Index>(axes[i].size);
    args.from_stride[at] = static_cast<Index>(axes[i].from / unit);
    args.to_stride[at] = static_cast<Index>(axes[i].to / unit);
  }
}

template <class Index>
class BoxMove : public Move {
 public:
  // `unit` neighbouring elements move together; strides and the innermost size are multiples of it.
  BoxMove(CudaDevice& device, const std::string& kernel, const std::vector<Axis>& axes, int64_t unit, int64_t from, int64_t to) : from_(from), to_(to) {
    std::vector<Axis> units = axes;
    if (unit > 1) {
      units.back().size /= unit;
      units.back().from = units.back().to = unit;  // 1 once divided
    }
    int64_t count = 1;
    for (const Axis& a : units) count *= a.size;
    set_axes<Index>(args_, units, unit);
    args_.count = static_cast<Index>(count);
    launch_ = {&device, kernel_of<Index>(device, kernel), count};
  }
  void run(const void* from, void* to) override {
    args_.from = static_cast<const char*>(from) + from_;
    args_.to = static_cast<char*>(to) + to_;
    launch_.run(args_);
  }

 private:
  int64_t from_, to_;  // bytes
  MoveArgs<Index> args_;
  ElementLaunch launch_;
};

template <class Index>
class TileMove : public Move {
 public:
  // axes: the last is contiguous in `to`; `across` is the one contiguous in `from`.
  TileMove(CudaDevice& device, const std::string& kernel, std::vector<Axis> axes, size_t across, size_t element, int64_t from, int64_t to)
      : from_(from), to_(to) {
    const Axis row = axes[across], column = axes.back();
    axes.pop_back();
    axes.erase(axes.begin() + static_cast<std::ptrdiff_t>(across));
    const int64_t row_tiles = (row.size + kMoveTile - 1) / kMoveTile, column_tiles = (column.size + kMoveTile - 1) / kMoveTile;
    int64_t tiles = row_tiles * column_tiles;
    for (const Axis& a : axes) tiles *= a.size;
    set_axes<Index>(args_, axes, 1);
    args_.tiles = static_cast<Index>(tiles);
    args_.rows = static_cast<Index>(row.size);
    args_.columns = static_cast<Index>(column.size);
    args_.from_column = static_cast<Index>(column.from);
    args_.to_row = static_cast<Index>(row.to);
    args_.row_tiles = divisor_of<Index>(row_tiles);
    args_.column_tiles = divisor_of<Index>(column_tiles);
    launch_ = {&device, kernel_of<Index>(device, kernel), tiles, kMoveTile * kMoveTileRows, kMoveTile * (kMoveTile + 1) * element};
  }
  void run(const void* from, void* to) override {
    args_.from = static_cast<const char*>(from) + from_;
    args_.to = static_cast<char*>(to) + to_;
    launch_.run(args_);
  }

 private:
  int64_t from_, to_;
  TransposeArgs<Index> args_;
  BlockLaunch launch_;
};

// The most elements that move as one: whole groups on the innermost axis, at whole groups everywhere. All arrays begin at multiples of 64 bytes.
int64_t unit_of(const Box& box, const std::vector<Axis>& axes, size_t element) {
  const int64_t unit = 16 / static_cast<int64_t>(element);
  if (axes.empty() || axes.back().from != 1 || axes.back().to != 1) return 1;
  bool whole = axes.back().size % unit == 0 && box.from_offset % unit == 0 && box.to_offset % unit == 0;
  for (size_t i = 0; i + 1 < axes.size(); ++i) whole = whole && axes[i].from % unit == 0 && axes[i].to % unit == 0;
  return whole ? unit : 1;
}

constexpr int64_t kTilesFrom = 8;  // shorter sides waste more of a tile than scattered reads cost

// Null for an empty box.
std::unique_ptr<Move> make_move(CudaDevice& device, const Box& box, size_t element) {
  if (size_of(box.shape) == 0) return nullptr;
  const std::vector<Axis> axes = axes_of(box);
  int64_t last_from = 0, last_to = 0;  // the last elements of the box
  for (const Axis& a : axes) last_from += (a.size - 1) * a.from, last_to += (a.size - 1) * a.to;
  const bool narrow = is_narrow({size_of(box.shape), last_from + 1, last_to + 1});
  const int64_t bytes = static_cast<int64_t>(element), from = box.from_offset * bytes, to = box.to_offset * bytes;
  const std::string width = std::to_string(element);
  if (!axes.empty() && axes.back().to == 1 && axes.back().from != 1 && axes.back().size >= kTilesFrom) {
    for (size_t i = 0; i + 1 < axes.size(); ++i) {
      if (axes[i].from != 1 || axes[i].size < kTilesFrom) continue;
      return make_by_width<TileMove, Move>(narrow, device, "langevin_transpose_" + width, axes, i, element, from, to);
    }
  }
  const int64_t unit = unit_of(box, axes, element);
  return make_by_width<BoxMove, Move>(narrow, device, unit > 1 ? "langevin_move_16" : "langevin_move_" + width, axes, unit, from, to);
}

class MoveKernel : public Kernel {
 public:
  void add(int input, std::unique_ptr<Move> move) {
    if (move) parts_.push_back({input, std::move(move)});
  }
  void run(const KernelArgs& args) override {
    for (const Part& p : parts_) p.move->run(args.inputs[p.input], args.outputs[0]);
  }

 private:
  struct Part {
    int input;
    std::unique_ptr<Move> move;
  };
  std::vector<Part> parts_;
};

// A slice of a bfloat16 value that is small beside it (the first pixel of each channel, by which a norm shifts its sums), as plain float32.
std::unique_ptr<Move> make_half_move(CudaDevice& device, const Box& box) {
  if (size_of(box.shape) == 0) return nullptr;
  int64_t last = 0;
  for (size_t i = 0; i < box.shape.size(); ++i) last += (box.shape[i] - 1) * box.from[i];
  return make_by_width<BoxMove, Move>(is_narrow({last + 1}), device, "langevin_move_half", axes_of(box), int64_t{1}, box.from_offset * 2, int64_t{0});
}

uint32_t bits_of(double value, DType dtype) {
  if (dtype == DType::I32) return static_cast<uint32_t>(static_cast<int32_t>(value));
  if (dtype != DType::F32) return static_cast<uint32_t>(value);
  const float number = static_cast<float>(value);
  uint32_t bits;
  std::memcpy(&bits, &number, sizeof bits);
  return bits;
}

struct PadAxis {
  int64_t size, low, step, inside, from, to;
};

// In the order of the result's memory. An axis without padding joins the one around it where that has nothing between its elements.
std::vector<PadAxis> pad_axes(const Instruction& in, const PadGeometry& g) {
  const TensorDesc &x = in.inputs[0], &y = in.outputs[0];
  const Shape from = strides_of(x), to = strides_of(y);
  std::vector<PadAxis> all, axes;
  for (size_t i = 0; i < x.shape.size(); ++i) all.push_back({y.shape[i], g.low[i], g.interior[i] + 1, x.shape[i], from[i], to[i]});
  std::stable_sort(all.begin(), all.end(), [](const PadAxis& a, const PadAxis& b) { return a.to > b.to; });
  for (const PadAxis& next : all) {
    const bool whole = next.low == 0 && next.step == 1 && next.inside == next.size;
    if (whole && !axes.empty() && axes.back().step == 1 && axes.back().from == next.from * next.inside) {
      PadAxis& outer = axes.back();
      outer = {outer.size * next.size, outer.low * next.size, 1, outer.inside * next.inside, next.from, next.to};
    } else {
      axes.push_back(next);
    }
  }
  return axes;
}

template <class Index>
class PadKernel : public Kernel {
 public:
  PadKernel(const Instruction& in, const PadGeometry& g, CudaDevice& device) {
    const std::vector<PadAxis> axes = pad_axes(in, g);
    const int64_t count = in.outputs[0].size();
    args_.rank = static_cast<Index>(axes.size());
    args_.count = static_cast<Index>(count);
    args_.value = bits_of(g.value, in.outputs[0].dtype);
    for (size_t i = 0; i < axes.size(); ++i) {
      const size_t at = kMoveRank - axes.size() + i;
      args_.size[at] = divisor_of<Index>(axes[i].size);
      args_.step[at] = divisor_of<Index>(axes[i].step);
      args_.low[at] = static_cast<Index>(axes[i].low);
      args_.inside[at] = static_cast<Index>(axes[i].inside);
      args_.from_stride[at] = static_cast<Index>(axes[i].from);
    }
    launch_ = {&device, kernel_of<Index>(device, "langevin_pad_" + std::to_string(in.outputs[0].element())), count};
  }
  void run(const KernelArgs& args) override {
    args_.from = args.inputs[0];
    args_.to = args.outputs[0];
    launch_.run(args_);
  }

 private:
  PadArgs<Index> args_;
  ElementLaunch launch_;
};

}  // namespace

HalfUse cuda_slice_half_use(const Instruction& in, int) {
  const bool small = in.inputs[0].dtype == DType::F32 && in.outputs[0].size() <= 4096 && in.outputs[0].size() * 16 <= in.inputs[0].size();
  return small ? HalfUse::May : HalfUse::No;
}

void cuda_layout_transpose(Instruction& in) {
  in.inputs[0].layout = full_layout(in.inputs[0].layout);
  in.outputs[0].layout = Layout::Plain;
}
void cuda_layout_slice(Instruction& in) {
  if (is_half(in.inputs[0].layout) && cuda_slice_half_use(in, 0) == HalfUse::May) {
    in.outputs[0].layout = Layout::Plain;
  } else {
    layout_as_image(in.inputs[0], in.outputs[0]);
  }
}
void cuda_layout_pad(Instruction& in) { layout_as_image(in.inputs[0], in.outputs[0]); }
void cuda_layout_concat(Instruction& in) {
  in.outputs[0].layout = Layout::Plain;
  for (TensorDesc& t : in.inputs) {
    t.layout = full_layout(t.layout);
    if (t.layout == Layout::ChannelsLast) in.outputs[0].layout = Layout::ChannelsLast;
  }
}

bool cuda_in_place_transpose(const Instruction&, int, int) { return false; }
bool cuda_in_place_slice(const Instruction&, int, int) { return false; }
bool cuda_in_place_pad(const Instruction&, int, int) { return false; }
bool cuda_in_place_concat(const Instruction&, int, int) { return false; }

std::unique_ptr<Kernel> cuda_make_transpose(const Instruction& in, CudaDevice& device) {
  const Shape strides = strides_of(in.inputs[0]);
  Box box{in.outputs[0].shape, {}, strides_of(in.outputs[0])};
  for (int64_t axis : transpose_perm(in)) box.from.push_back(strides[static_cast<size_t>(axis)]);
  auto kernel = std::make_unique<MoveKernel>();
  kernel->add(0, make_move(device, box, in.outputs[0].element()));
  return kernel;
}

std::unique_ptr<Kernel> cuda_make_slice(const Instruction& in, CudaDevice& device) {
  const SliceGeometry g = slice_geometry(in);
  const Shape strides = strides_of(in.inputs[0]);
  Box box{in.outputs[0].shape, strides, strides_of(in.outputs[0]), dot(g.start, strides)};
  for (size_t i = 0; i < strides.size(); ++i) box.from[i] *= g.step[i];
  auto kernel = std::make_unique<MoveKernel>();
  kernel->add(0, is_half(in.inputs[0].layout) ? make_half_move(device, box) : make_move(device, box, in.outputs[0].element()));
  return kernel;
}

std::unique_ptr<Kernel> cuda_make_pad(const Instruction& in, CudaDevice& device) {
  const PadGeometry g = pad_geometry(in);
  return make_by_width<PadKernel>(is_narrow({in.outputs[0].size()}), in, g, device);
}

std::unique_ptr<Kernel> cuda_make_concat(const Instruction& in, CudaDevice& device) {
  const size_t axis = static_cast<size_t>(concat_axis(in));
  const Shape to = strides_of(in.outputs[0]);
  auto kernel = std::make_unique<MoveKernel>();
  int64_t offset = 0;
  for (size_t i = 0; i < in.inputs.size(); ++i) {
    const TensorDesc& x = in.inputs[i];
    kernel->add(static_cast<int>(i), make_move(device, {x.shape, strides_of(x), to, 0, offset * to[axis]}, in.outputs[0].element()));
    offset += x.shape[axis];
  }
  return kernel;
}

}  // namespace langevin
