// The data path: crop_flip and gaussian_rows. Offsets, flips, masks and classes are read here, on the device.
#include "cuda/kernels/args_data.h"
#include "cuda/kernels/each.cuh"

namespace langevin {

// Where an augmented image takes row or column i from: shifted by an offset of 0..2 pad, mirrored at the borders without repeating the edge.
LANGEVIN_DEVICE int64_t reflected_index(int64_t i, int32_t offset, int64_t pad, int64_t n) {
  const int64_t clamped = offset < 0 ? 0 : offset < 2 * pad ? offset : 2 * pad, at = i + clamped - pad;
  return at < 0 ? -at : at >= n ? 2 * (n - 1) - at : at;
}

template <class T, class Index>
LANGEVIN_DEVICE void crop_flip_elements(const CropFlipArgs<Index>& args) {
  const T* x = static_cast<const T*>(args.x);
  T* out = static_cast<T*>(args.out);
  const Index height = args.height.divisor, width = args.width.divisor;
  each_index(static_cast<Index>(args.count), [&](Index i) {
    Index a = i;
    const Index b = take_axis(a, args.b), column = take_axis(a, args.width), row = take_axis(a, args.height), image = args.per_image.divide(a);
    const Index turned = args.flips[image] != 0 ? width - 1 - column : column;
    const int64_t from_row = reflected_index(static_cast<int64_t>(row), args.offsets[2 * image], args.pad, static_cast<int64_t>(height));
    const int64_t from_column = reflected_index(static_cast<int64_t>(turned), args.offsets[2 * image + 1], args.pad, static_cast<int64_t>(width));
    out[i] = x[((a * height + static_cast<Index>(from_row)) * width + static_cast<Index>(from_column)) * args.b.divisor + b];
  });
}

LANGEVIN_KERNEL_WIDTHS(langevin_crop_flip_1, CropFlipArgs, crop_flip_elements<uint8_t>)
LANGEVIN_KERNEL_WIDTHS(langevin_crop_flip_4, CropFlipArgs, crop_flip_elements<uint32_t>)

// A block takes kDrawResults neighbouring dimensions of a row; kDrawLanes threads share each dot product and the first of them adds their parts in order.
LANGEVIN_KERNEL(langevin_gaussian_rows, GaussianRowsArgs, args) {
  LANGEVIN_SHARED(float, parts);
  const int64_t own = thread_index() / kDrawLanes, lane = thread_index() % kDrawLanes;
  for (int64_t b = block_index(); b < args.rows * args.bands; b += grid_size()) {
    const int64_t row = b / args.bands, j = b % args.bands * kDrawResults + own;
    const bool drawn = args.mask[row] != 0 && j < args.dims;
    const int64_t k = drawn ? clamped_index(args.classes[row], args.classes_count) : 0;
    float sum = 0.0f;
    if (drawn) {
      const float *factor = args.factor + (k * args.dims + j) * args.rank, *z = args.z + row * args.rank;
      for (int64_t q = lane; q < args.rank; q += kDrawLanes) sum += factor[q] * z[q];
    }
    parts[thread_index()] = sum;
    block_barrier();
    if (lane == 0 && j < args.dims) {
      for (int64_t q = 1; q < kDrawLanes; ++q) sum += parts[thread_index() + q];
      args.out[row * args.dims + j] = drawn ? args.mean[k * args.dims + j] + sum : 0.0f;
    }
    block_barrier();
  }
}

}  // namespace langevin
