// gather, scatter_add, scatter_rows and argmax on CUDA (kernels/index.cu). Indices never leave the device.
//
// The scatters chain the positions of one row first. A list of up to kPairs positions is chained in one launch, each position looking for its
// neighbours: count times the distance between equal indices, at most count squared. A longer one is sorted, a pass of three launches for each byte of
// the axis's length: 256 counting threads look at each index, so count times 256 comparisons a pass and 33 bytes of workspace an index. The sums
// themselves read each update once.
#include <algorithm>
#include <vector>

#include "cuda/index_launch.h"
#include "cuda/kernels/args_data.h"
#include "cuda/ops.h"
#include "ops/check.h"
#include "ops/geometry.h"

namespace langevin {

namespace {

constexpr int64_t kPairs = 16384;

// Bytes that move together in rows of this length: 16, or an element.
int64_t unit_of(int64_t inner, size_t element) {
  const int64_t bytes = static_cast<int64_t>(element);
  return inner * bytes % 16 == 0 ? 16 : bytes;
}

size_t rounded(int64_t bytes) { return (static_cast<size_t>(bytes) + 63) / 64 * 64; }

void copy_all(CudaDevice& device, void* to, const void* from, size_t bytes) {
  if (bytes == 0 || to == from) return;
  const CUdeviceptr target = reinterpret_cast<CUdeviceptr>(to), source = reinterpret_cast<CUdeviceptr>(from);
  check_cuda(driver().cuMemcpyDtoDAsync_(target, source, bytes, device.stream()), "copying on the device");
}

template <class Index>
class GatherKernel : public Kernel {
 public:
  GatherKernel(const Instruction& in, CudaDevice& device) {
    const AxisView axis = axis_view(in);
    const size_t element = in.inputs[0].element();
    const int64_t unit = unit_of(axis.inner, element), inner = axis.inner * static_cast<int64_t>(element) / unit;
    const int64_t indices = in.inputs[1].size(), count = axis.outer * indices * inner;
    args_.count = static_cast<Index>(count);
    args_.length = static_cast<Index>(axis.length);
    args_.inner = divisor_of<Index>(inner);
    args_.indices_count = divisor_of<Index>(indices);
    launch_ = {&device, kernel_of<Index>(device, "langevin_gather_" + std::to_string(unit)), count};
  }
  void run(const KernelArgs& args) override {
    args_.x = args.inputs[0];
    args_.indices = static_cast<const int32_t*>(args.inputs[1]);
    args_.out = args.outputs[0];
    launch_.run(args_);
  }

 private:
  GatherArgs<Index> args_;
  ElementLaunch launch_;
};

// The chains of an index list, made anew at each run.
class Links {
 public:
  Links(CudaDevice& device, int64_t count, int64_t length) : device_(device), count_(count), length_(length), chunks_((count + kSortChunk - 1) / kSortChunk) {
    if (count <= kPairs) {
      pairs_ = {&device, device.kernel("langevin_index_links"), count};
      return;
    }
    constexpr size_t kShared = kSortChunk * sizeof(uint32_t);
    count_digits_ = {&device, device.kernel("langevin_sort_count"), chunks_, kSortDigits, kShared};
    places_ = {&device, device.kernel("langevin_sort_places"), 1, kScanThreads, kScanThreads * sizeof(int64_t)};
    move_ = {&device, device.kernel("langevin_sort_move"), chunks_, kSortDigits, kShared};
    sorted_ = {&device, device.kernel("langevin_sort_links"), count};
  }

  size_t workspace() const { return links_bytes() + (count_ <= kPairs ? 0 : 2 * (keys_bytes() + order_bytes()) + rounded(kSortDigits * chunks_ * 8)); }

  // The links, at the beginning of the workspace.
  const int64_t* run(const int32_t* indices, void* workspace) const {
    int64_t* links = static_cast<int64_t*>(workspace);
    if (count_ > kPairs) {
      sort(indices, links);
    } else {
      LinkArgs args;
      args.indices = indices;
      args.links = links;
      args.count = count_, args.length = length_;
      pairs_.run(args);
    }
    return links;
  }

 private:
  size_t links_bytes() const { return rounded(count_ * 8); }
  size_t order_bytes() const { return rounded(count_ * 8); }
  size_t keys_bytes() const { return rounded(count_ * 4); }

  void sort(const int32_t* indices, int64_t* links) const {
    char* at = reinterpret_cast<char*>(links) + links_bytes();
    const auto part = [&](size_t bytes) {
      char* begin = at;
      at += bytes;
      return begin;
    };
    int64_t* order[2] = {reinterpret_cast<int64_t*>(part(order_bytes())), reinterpret_cast<int64_t*>(part(order_bytes()))};
    uint32_t* keys[2] = {reinterpret_cast<uint32_t*>(part(keys_bytes())), reinterpret_cast<uint32_t*>(part(keys_bytes()))};
    SortArgs args;
    args.indices = indices;
    args.links = links;
    args.places = reinterpret_cast<int64_t*>(at);
    args.count = count_, args.length = length_, args.chunks = chunks_;
    int to = 0;
    for (int64_t shift = 0; shift == 0 || (shift < 32 && (length_ - 1) >> shift > 0); shift += 8) {
      args.shift = shift;
      args.keys_out = keys[to], args.order_out = order[to];
      count_digits_.run(args);
      places_.run(args);
      move_.run(args);
      args.keys_in = keys[to], args.order_in = order[to];
      to = 1 - to;
    }
    sorted_.run(args);
  }

  CudaDevice& device_;
  int64_t count_, length_, chunks_;
  ElementLaunch pairs_, sorted_;
  BlockLaunch count_digits_, places_, move_;
};

// out = x, then `kernel` changes the rows that are named.
template <class Index>
class ScatterKernel : public Kernel {
 public:
  ScatterKernel(const Instruction& in, CudaDevice& device, const AxisView& axis, const std::string& kernel, int64_t unit)
      : device_(device), bytes_(in.inputs[0].bytes()), links_(device, in.inputs[1].size(), axis.length) {
    const int64_t inner = axis.inner * static_cast<int64_t>(in.inputs[0].element()) / unit, indices = in.inputs[1].size();
    const int64_t count = axis.outer * indices * inner;
    args_.count = static_cast<Index>(count);
    args_.length = static_cast<Index>(axis.length);
    args_.inner = divisor_of<Index>(inner);
    args_.indices_count = divisor_of<Index>(indices);
    launch_ = {&device, kernel_of<Index>(device, kernel), count};
  }
  size_t workspace() const override { return links_.workspace(); }

  void run(const KernelArgs& args) override {
    copy_all(device_, args.outputs[0], args.inputs[0], bytes_);
    if (launch_.count == 0) return;
    args_.indices = static_cast<const int32_t*>(args.inputs[1]);
    args_.links = links_.run(args_.indices, args.workspace);
    args_.updates = args.inputs[2];
    args_.out = args.outputs[0];
    launch_.run(args_);
  }

 private:
  CudaDevice& device_;
  size_t bytes_;
  Links links_;
  ScatterArgs<Index> args_;
  ElementLaunch launch_;
};

bool narrow_scatter(const Instruction& in) { return is_narrow({in.inputs[0].size(), in.inputs[1].size(), in.inputs[2].size()}); }

template <class Index>
class ArgmaxKernel : public Kernel {
 public:
  ArgmaxKernel(const Instruction& in, CudaDevice& device) {
    const AxisView axis = axis_view(in);
    const std::string dtype = in.inputs[0].dtype == DType::F32 ? "f32" : "i32";
    const int64_t results = axis.outer * axis.inner;
    args_.count = results;
    args_.length = static_cast<Index>(axis.length);
    args_.inner = divisor_of<Index>(axis.inner);
    // A block a result where columns are long and threads side by side would not read neighbours, or would be few.
    if (axis.length >= 128 && (axis.inner < 32 || results < 8192)) {
      const unsigned threads = axis.length < 256 ? 128 : 256;
      by_block_ = {&device, kernel_of<Index>(device, "langevin_argmax_block_" + dtype), results, threads, threads * (sizeof(int64_t) + 4)};
    } else {
      by_thread_ = {&device, kernel_of<Index>(device, "langevin_argmax_" + dtype), results};
    }
  }
  void run(const KernelArgs& args) override {
    args_.x = args.inputs[0];
    args_.out = static_cast<int32_t*>(args.outputs[0]);
    by_thread_.run(args_);
    by_block_.run(args_);
  }

 private:
  ArgmaxArgs<Index> args_;
  ElementLaunch by_thread_;  // one of the two has no elements
  BlockLaunch by_block_;
};

}  // namespace

void cuda_layout_gather(Instruction& in) { layout_plain(in); }
void cuda_layout_scatter_add(Instruction& in) { layout_plain(in); }
void cuda_layout_scatter_rows(Instruction& in) { layout_plain(in); }
void cuda_layout_argmax(Instruction& in) { layout_plain(in); }

bool cuda_in_place_gather(const Instruction&, int, int) { return false; }
bool cuda_in_place_scatter_add(const Instruction&, int input, int) { return input == 0; }
bool cuda_in_place_scatter_rows(const Instruction&, int input, int) { return input == 0; }
bool cuda_in_place_argmax(const Instruction&, int, int) { return false; }

std::unique_ptr<Kernel> cuda_make_gather(const Instruction& in, CudaDevice& device) {
  return make_by_width<GatherKernel>(is_narrow({in.inputs[0].size(), in.inputs[1].size(), in.outputs[0].size()}), in, device);
}

std::unique_ptr<Kernel> cuda_make_scatter_add(const Instruction& in, CudaDevice& device) {
  const char* kernel = in.inputs[0].dtype == DType::F32 ? "langevin_scatter_add_f32" : "langevin_scatter_add_i32";
  return make_by_width<ScatterKernel>(narrow_scatter(in), in, device, axis_view(in), kernel, int64_t{4});
}

std::unique_ptr<Kernel> cuda_make_scatter_rows(const Instruction& in, CudaDevice& device) {
  const AxisView axis(in.inputs[0].shape, 0);
  const int64_t unit = unit_of(axis.inner, in.inputs[0].element());
  return make_by_width<ScatterKernel>(narrow_scatter(in), in, device, axis, "langevin_scatter_rows_" + std::to_string(unit), unit);
}

std::unique_ptr<Kernel> cuda_make_argmax(const Instruction& in, CudaDevice& device) {
  return make_by_width<ArgmaxKernel>(is_narrow({in.inputs[0].size()}), in, device);
}

}  // namespace langevin
