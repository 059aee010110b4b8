// What stands around cuDNN's convolutions (weights in its order, images padded, cropped, converted, biased), and the convolutions themselves as plain
// loops, for geometries that cuDNN refuses, for empty ones and for tiny ones: right for every geometry, not fast.
#include "cuda/kernels/args_conv.h"
#include "cuda/kernels/precision.cuh"

namespace langevin {

LANGEVIN_DEVICE int64_t conv_first() { return block_index() * block_size() + thread_index(); }
LANGEVIN_DEVICE int64_t conv_step() { return block_size() * grid_size(); }

LANGEVIN_KERNEL(langevin_conv_weights, ConvWeightsArgs, args) {
  for (int64_t i = conv_first(); i < args.count; i += conv_step()) {
    const int64_t inner = i % args.inner, tap = i / args.inner % args.taps, o = i / args.inner / args.taps;
    store_number(args.to, i, args.last_half, static_cast<const float*>(args.from)[(o * args.inner + inner) * args.taps + tap]);
  }
}

LANGEVIN_KERNEL(langevin_conv_weights_back, ConvWeightsArgs, args) {
  for (int64_t i = conv_first(); i < args.count; i += conv_step()) {
    const int64_t tap = i % args.taps, inner = i / args.taps % args.inner, o = i / args.taps / args.inner;
    static_cast<float*>(args.to)[i] = load_number(args.from, (o * args.taps + tap) * args.inner + inner, args.last_half);
  }
}

template <class Int>
LANGEVIN_DEVICE void conv_image(const ConvImageArgs& args, int64_t i) {
  const Int at = static_cast<Int>(i), channels = static_cast<Int>(args.c), width = static_cast<Int>(args.to_w), height = static_cast<Int>(args.to_h);
  const Int c = at % channels, pixel = at / channels, row = pixel / width, image = row / height;
  const int64_t x = static_cast<int64_t>(pixel % width) - args.left, y = static_cast<int64_t>(row % height) - args.top;
  float value = 0.0f;
  if (x >= 0 && y >= 0 && x < args.from_w && y < args.from_h) {
    const int64_t from = ((static_cast<int64_t>(image) * args.from_h + y) * args.from_w + x) * args.c + static_cast<int64_t>(c);
    value = load_number(args.from, from, args.from_half);
  }
  if (args.bias != nullptr) value += args.bias[c];
  store_number(args.to, i, args.to_half, value);
}

// `to` may be `from` where sizes and precisions are equal.
LANGEVIN_KERNEL(langevin_conv_image, ConvImageArgs, args) {
  for (int64_t i = conv_first(); i < args.count; i += conv_step()) {
    if (args.wide) {
      conv_image<uint64_t>(args, i);
    } else {
      conv_image<uint32_t>(args, i);
    }
  }
}

// A thread a result: y[n, p, q, o].
LANGEVIN_KERNEL(langevin_conv_forward, ConvArgs, args) {
  const int64_t inner = args.c / args.groups, outer = args.o / args.groups;
  for (int64_t i = conv_first(); i < args.count; i += conv_step()) {
    const int64_t o = i % args.o, q = i / args.o % args.ow, p = i / args.o / args.ow % args.oh, n = i / args.o / args.ow / args.oh;
    float sum = 0.0f;
    for (int64_t a = 0; a < args.kh; ++a) {
      const int64_t y = p * args.stride[0] - args.top + a * args.dilation[0];
      if (y < 0 || y >= args.h) continue;
      for (int64_t b = 0; b < args.kw; ++b) {
        const int64_t x = q * args.stride[1] - args.left + b * args.dilation[1];
        if (x < 0 || x >= args.w) continue;
        const int64_t from = ((n * args.h + y) * args.w + x) * args.c + o / outer * inner;
        for (int64_t c = 0; c < inner; ++c) {
          sum += load_number(args.first, from + c, args.first_half) * static_cast<const float*>(args.second)[((o * inner + c) * args.kh + a) * args.kw + b];
        }
      }
    }
    store_number(args.result, i, args.result_half, args.bias == nullptr ? sum : sum + args.bias[o]);
  }
}

// The output position whose window has its tap `offset` (tap times dilation, minus padding) at `at`, or -1.
LANGEVIN_DEVICE int64_t conv_source(int64_t at, int64_t offset, int64_t stride, int64_t outputs) {
  const int64_t distance = at - offset;
  return distance < 0 || distance % stride != 0 || distance / stride >= outputs ? -1 : distance / stride;
}

// A thread a result: dx[n, y, x, c].
LANGEVIN_KERNEL(langevin_conv_input_grad, ConvArgs, args) {
  const int64_t inner = args.c / args.groups, outer = args.o / args.groups;
  for (int64_t i = conv_first(); i < args.count; i += conv_step()) {
    const int64_t c = i % args.c, x = i / args.c % args.w, y = i / args.c / args.w % args.h, n = i / args.c / args.w / args.h;
    const int64_t first = c / inner * outer;
    float sum = 0.0f;
    for (int64_t a = 0; a < args.kh; ++a) {
      const int64_t p = conv_source(y, a * args.dilation[0] - args.top, args.stride[0], args.oh);
      if (p < 0) continue;
      for (int64_t b = 0; b < args.kw; ++b) {
        const int64_t q = conv_source(x, b * args.dilation[1] - args.left, args.stride[1], args.ow);
        if (q < 0) continue;
        const int64_t from = ((n * args.oh + p) * args.ow + q) * args.o;
        for (int64_t o = first; o < first + outer; ++o) {
          const int64_t weight = ((o * inner + c % inner) * args.kh + a) * args.kw + b;
          sum += load_number(args.first, from + o, args.first_half) * static_cast<const float*>(args.second)[weight];
        }
      }
    }
    store_number(args.result, i, args.result_half, sum);
  }
}

// Terms thread, thread + block_size(), ... of dw[o, inner c, a, b]: over the batch and the result's image.
LANGEVIN_DEVICE float conv_weight_sum(const ConvArgs& args, int64_t weight) {
  const int64_t inner = args.c / args.groups, outer = args.o / args.groups;
  const int64_t b = weight % args.kw, a = weight / args.kw % args.kh, i = weight / args.kw / args.kh % inner, o = weight / args.kw / args.kh / inner;
  const int64_t c = o / outer * inner + i, terms = args.n * args.oh * args.ow;
  float sum = 0.0f;
  for (int64_t t = thread_index(); t < terms; t += block_size()) {
    const int64_t q = t % args.ow, p = t / args.ow % args.oh, n = t / args.ow / args.oh;
    const int64_t y = p * args.stride[0] - args.top + a * args.dilation[0], x = q * args.stride[1] - args.left + b * args.dilation[1];
    if (y < 0 || x < 0 || y >= args.h || x >= args.w) continue;
    sum += load_number(args.first, ((n * args.h + y) * args.w + x) * args.c + c, args.first_half) * load_number(args.second, t * args.o + o, args.second_half);
  }
  return sum;
}

// A block a result, whose threads' sums are added as a tree. A power of two of threads, a float of shared memory for each.
LANGEVIN_KERNEL(langevin_conv_weight_grad, ConvArgs, args) {
  LANGEVIN_SHARED(float, partial);
  const int64_t t = thread_index();
  for (int64_t weight = block_index(); weight < args.count; weight += grid_size()) {
    partial[t] = conv_weight_sum(args, weight);
    block_barrier();
    for (int64_t width = block_size() / 2; width > 0; width /= 2) {
      if (t < width) partial[t] += partial[t + width];
      block_barrier();
    }
    if (t == 0) static_cast<float*>(args.result)[weight] = partial[0];
    block_barrier();
  }
}

}  // namespace langevin
