// normal, uniform, random_int and shuffle_index: pure functions of (key, stream, element), the CPU's very integers (ops/philox.h).
#include "cuda/kernels/args_random.h"
#include "cuda/kernels/each.cuh"

namespace langevin {

LANGEVIN_DEVICE RandomKey random_key(const int32_t* k) {
  return {static_cast<uint32_t>(k[0]), static_cast<uint32_t>(k[1]), static_cast<uint32_t>(k[2]), static_cast<uint32_t>(k[3])};
}

// Four results of one type that are stored together.
template <class T>
struct alignas(16) RandomFour {
  T value[4];
};

// A thread a block of four words. `make` turns them into four elements; the last block may have fewer.
template <class T, class Make>
LANGEVIN_DEVICE void random_draw(const RandomArgs& args, const Make& make) {
  const RandomKey key = random_key(args.key);
  each_index((args.size + 3) / 4, [&](int64_t block) {
    RandomFour<T> four;
    make(random_block(key, args.stream, static_cast<uint32_t>(block)), &four);
    T* out = static_cast<T*>(args.out) + 4 * block;
    if (4 * block + 4 <= args.size) {
      *reinterpret_cast<RandomFour<T>*>(out) = four;
    } else {
      for (int64_t j = 0; j < args.size - 4 * block; ++j) out[j] = four.value[j];
    }
  });
}

LANGEVIN_KERNEL(langevin_random_uniform, RandomArgs, args) {
  random_draw<float>(args, [](const PhiloxWords& words, RandomFour<float>* four) {
    for (int j = 0; j < 4; ++j) four->value[j] = uniform_of(words.w[j]);
  });
}

LANGEVIN_KERNEL(langevin_random_normal, RandomArgs, args) {
  random_draw<float>(args, [](const PhiloxWords& words, RandomFour<float>* four) {
    normals_of(words.w[0], words.w[1], &four->value[0], &four->value[1]);
    normals_of(words.w[2], words.w[3], &four->value[2], &four->value[3]);
  });
}

LANGEVIN_KERNEL(langevin_random_int, RandomArgs, args) {
  random_draw<int32_t>(args, [&](const PhiloxWords& words, RandomFour<int32_t>* four) {
    for (int j = 0; j < 4; ++j) four->value[j] = static_cast<int32_t>(bounded(words.w[j], args.bound));
  });
}

// A thread an element; size is at least 1.
LANGEVIN_KERNEL(langevin_shuffle_index, ShuffleArgs, args) {
  const RandomKey key = random_key(args.key);
  const uint64_t step = static_cast<uint64_t>(key.step_high) << 32 | key.step_low, per_epoch = static_cast<uint64_t>(args.n / args.size);
  const int64_t base = static_cast<int64_t>(step % per_epoch) * args.size;
  const uint32_t n = static_cast<uint32_t>(args.n), epoch = static_cast<uint32_t>(step / per_epoch), stream = static_cast<uint32_t>(args.stream);
  const ShuffleOrder order = shuffle_order(n, epoch, stream, key.seed_low, key.seed_high);
  each_index(args.size, [&](int64_t i) { args.out[i] = static_cast<int32_t>(order.at(static_cast<uint32_t>(base + i))); });
}

}  // namespace langevin
