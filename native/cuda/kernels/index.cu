// Reading and writing by index: gather, scatter_add, scatter_rows, argmax. No two threads write one element, and sums are taken in the order of the
// index list, so results are the CPU's bit for bit.
//
// Positions that name one row are chained first (LinkArgs); the thread that has the chain's start then walks it. Short lists are chained by looking at
// each pair; long ones are sorted, eight bits a pass, each block counting a chunk's digits with a thread a digit.
#include "cuda/kernels/args_data.h"
#include "cuda/kernels/each.cuh"

namespace langevin {

template <class T, class Index>
LANGEVIN_DEVICE void gather_units(const GatherArgs<Index>& args) {
  const T* x = static_cast<const T*>(args.x);
  T* out = static_cast<T*>(args.out);
  each_index(args.count, [&](Index i) {
    Index rest = i;
    const Index j = take_axis(rest, args.inner), k = take_axis(rest, args.indices_count);
    out[i] = x[(rest * args.length + clamped_index(args.indices[k], args.length)) * args.inner.divisor + j];
  });
}

LANGEVIN_KERNEL_WIDTHS(langevin_gather_1, GatherArgs, gather_units<uint8_t>)
LANGEVIN_KERNEL_WIDTHS(langevin_gather_4, GatherArgs, gather_units<uint32_t>)
LANGEVIN_KERNEL_WIDTHS(langevin_gather_16, GatherArgs, gather_units<Quad>)

LANGEVIN_DEVICE int64_t index_link(bool first, int64_t next) { return first ? next : -1 - next; }
LANGEVIN_DEVICE int64_t index_next(int64_t link) { return link < 0 ? -1 - link : link; }

// A thread a position, which looks back for an equal one and forward for the next: at most count, about length where rows are named evenly.
LANGEVIN_KERNEL(langevin_index_links, LinkArgs, args) {
  each_index(args.count, [&](int64_t i) {
    const int64_t key = clamped_index(args.indices[i], args.length);
    int64_t before = i - 1, next = i + 1;
    while (before >= 0 && clamped_index(args.indices[before], args.length) != key) --before;
    while (next < args.count && clamped_index(args.indices[next], args.length) != key) ++next;
    args.links[i] = index_link(before < 0, next);
  });
}

// The chunk's keys, into shared memory; how many there are.
LANGEVIN_DEVICE int64_t load_sort_chunk(const SortArgs& args, int64_t chunk, uint32_t* keys) {
  const int64_t first = chunk * kSortChunk, left = args.count - first, n = left < kSortChunk ? left : kSortChunk;
  for (int64_t k = thread_index(); k < n; k += block_size()) {
    keys[k] = args.keys_in != nullptr ? args.keys_in[first + k] : static_cast<uint32_t>(clamped_index(args.indices[first + k], args.length));
  }
  block_barrier();
  return n;
}

// Blocks of kSortDigits threads, a thread a digit.
LANGEVIN_KERNEL(langevin_sort_count, SortArgs, args) {
  LANGEVIN_SHARED(uint32_t, keys);
  for (int64_t chunk = block_index(); chunk < args.chunks; chunk += grid_size()) {
    const int64_t n = load_sort_chunk(args, chunk, keys), digit = thread_index();
    int64_t found = 0;
    for (int64_t k = 0; k < n; ++k) found += ((keys[k] >> args.shift) & (kSortDigits - 1)) == digit;
    args.places[digit * args.chunks + chunk] = found;
    block_barrier();
  }
}

// One block of kScanThreads: the counts become the sums of all before them. A thread sums a stretch, the stretches' sums are added up, then each
// thread writes its own.
LANGEVIN_KERNEL(langevin_sort_places, SortArgs, args) {
  LANGEVIN_SHARED(int64_t, sums);
  const int64_t n = kSortDigits * args.chunks, t = thread_index(), each = (n + kScanThreads - 1) / kScanThreads;
  const int64_t first = t * each, end = first + each < n ? first + each : n;
  int64_t own = 0;
  for (int64_t i = first; i < end; ++i) own += args.places[i];
  sums[t] = own;
  block_barrier();
  for (int64_t distance = 1; distance < kScanThreads; distance *= 2) {
    const int64_t before = t >= distance ? sums[t - distance] : 0;
    block_barrier();
    sums[t] += before;
    block_barrier();
  }
  int64_t place = sums[t] - own;
  for (int64_t i = first; i < end; ++i) {
    const int64_t found = args.places[i];
    args.places[i] = place;
    place += found;
  }
}

// Blocks of kSortDigits threads: each writes the keys of its digit in their order.
LANGEVIN_KERNEL(langevin_sort_move, SortArgs, args) {
  LANGEVIN_SHARED(uint32_t, keys);
  for (int64_t chunk = block_index(); chunk < args.chunks; chunk += grid_size()) {
    const int64_t n = load_sort_chunk(args, chunk, keys), digit = thread_index();
    int64_t place = args.places[digit * args.chunks + chunk];
    for (int64_t k = 0; k < n; ++k) {
      if (((keys[k] >> args.shift) & (kSortDigits - 1)) != digit) continue;
      const int64_t at = chunk * kSortChunk + k;
      args.keys_out[place] = keys[k];
      args.order_out[place] = args.order_in != nullptr ? args.order_in[at] : at;
      ++place;
    }
    block_barrier();
  }
}

// Neighbours in the sorted list (keys_in, order_in) are linked.
LANGEVIN_KERNEL(langevin_sort_links, SortArgs, args) {
  each_index(args.count, [&](int64_t p) {
    const uint32_t key = args.keys_in[p];
    const bool first = p == 0 || args.keys_in[p - 1] != key, last = p + 1 == args.count || args.keys_in[p + 1] != key;
    args.links[args.order_in[p]] = index_link(first, last ? args.count : args.order_in[p + 1]);
  });
}

// A thread an element of the updates; those whose position starts a chain add the chain to their row.
template <class T, class Index>
LANGEVIN_DEVICE void scatter_sums(const ScatterArgs<Index>& args) {
  const T* updates = static_cast<const T*>(args.updates);
  T* out = static_cast<T*>(args.out);
  const Index inner = args.inner.divisor, count = args.indices_count.divisor;
  each_index(args.count, [&](Index e) {
    Index rest = e;
    const Index j = take_axis(rest, args.inner), i = take_axis(rest, args.indices_count);
    if (args.links[i] < 0) return;
    T* to = out + (rest * args.length + clamped_index(args.indices[i], args.length)) * inner + j;
    T sum = *to;
    for (Index k = i; k < count; k = static_cast<Index>(index_next(args.links[k]))) sum += updates[(rest * count + k) * inner + j];
    *to = sum;
  });
}

LANGEVIN_KERNEL_WIDTHS(langevin_scatter_add_f32, ScatterArgs, scatter_sums<float>)
LANGEVIN_KERNEL_WIDTHS(langevin_scatter_add_i32, ScatterArgs, scatter_sums<uint32_t>)

// A thread a unit of the rows; those at a chain's end write it.
template <class T, class Index>
LANGEVIN_DEVICE void scatter_last(const ScatterArgs<Index>& args) {
  const T* rows = static_cast<const T*>(args.updates);
  T* out = static_cast<T*>(args.out);
  each_index(args.count, [&](Index e) {
    Index i = e;
    const Index j = take_axis(i, args.inner);
    if (index_next(args.links[i]) < static_cast<int64_t>(args.indices_count.divisor)) return;
    out[clamped_index(args.indices[i], args.length) * args.inner.divisor + j] = rows[e];
  });
}

LANGEVIN_KERNEL_WIDTHS(langevin_scatter_rows_1, ScatterArgs, scatter_last<uint8_t>)
LANGEVIN_KERNEL_WIDTHS(langevin_scatter_rows_4, ScatterArgs, scatter_last<uint32_t>)
LANGEVIN_KERNEL_WIDTHS(langevin_scatter_rows_16, ScatterArgs, scatter_last<Quad>)

// Is (value, at) before (best, best_at)? NaN is largest; the first of equals wins.
template <class T>
LANGEVIN_DEVICE bool argmax_better(T value, int64_t at, T best, int64_t best_at) {
  const bool nan = value != value, best_nan = best != best;
  if (nan != best_nan) return nan;
  return value > best || (!(value < best) && at < best_at);
}

// A thread a result: short columns, or ones whose neighbours are read together.
template <class T, class Index>
LANGEVIN_DEVICE void argmax_thread(const ArgmaxArgs<Index>& args) {
  const T* x = static_cast<const T*>(args.x);
  const Index inner = args.inner.divisor;
  each_index(static_cast<Index>(args.count), [&](Index e) {
    Index rest = e;
    const Index j = take_axis(rest, args.inner);
    const T* column = x + rest * args.length * inner + j;
    Index best = 0;
    T value = column[0];
    for (Index k = 1; k < args.length && value == value; ++k) {  // the first NaN ends the search
      const T next = column[k * inner];
      if (next > value || next != next) value = next, best = k;
    }
    args.out[e] = static_cast<int32_t>(best);
  });
}

LANGEVIN_KERNEL_WIDTHS(langevin_argmax_f32, ArgmaxArgs, argmax_thread<float>)
LANGEVIN_KERNEL_WIDTHS(langevin_argmax_i32, ArgmaxArgs, argmax_thread<int32_t>)

// A block a result. Shared memory: a value, then a position, for each thread. The block's size is a power of two and at most the length.
template <class T, class Index>
LANGEVIN_DEVICE void argmax_block(const ArgmaxArgs<Index>& args, int64_t* positions) {
  T* values = reinterpret_cast<T*>(positions + block_size());
  const T* x = static_cast<const T*>(args.x);
  const int64_t inner = static_cast<int64_t>(args.inner.divisor), length = static_cast<int64_t>(args.length), t = thread_index();
  for (int64_t e = block_index(); e < args.count; e += grid_size()) {
    Index rest = static_cast<Index>(e);
    const Index j = take_axis(rest, args.inner);
    const T* column = x + static_cast<int64_t>(rest) * length * inner + static_cast<int64_t>(j);
    int64_t best = t;
    T value = column[t * inner];
    for (int64_t k = t + block_size(); k < length; k += block_size()) {
      const T next = column[k * inner];
      if (argmax_better(next, k, value, best)) value = next, best = k;
    }
    values[t] = value;
    positions[t] = best;
    block_barrier();
    for (int64_t width = block_size() / 2; width > 0; width /= 2) {
      if (t < width && argmax_better(values[t + width], positions[t + width], values[t], positions[t])) {
        values[t] = values[t + width];
        positions[t] = positions[t + width];
      }
      block_barrier();
    }
    if (t == 0) args.out[e] = static_cast<int32_t>(positions[0]);
    block_barrier();
  }
}

LANGEVIN_KERNEL_WIDTHS_SHARED(langevin_argmax_block_f32, ArgmaxArgs, int64_t, argmax_block<float>)
LANGEVIN_KERNEL_WIDTHS_SHARED(langevin_argmax_block_i32, ArgmaxArgs, int64_t, argmax_block<int32_t>)

}  // namespace langevin
