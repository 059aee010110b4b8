// See matmul_bf16.h. B is packed whole: once for a version where it is a parameter, else at each run. Rows of A are read in place where
// they are bfloat16 already, converted otherwise, and packed where A is transposed. Rows of C are shared out among the threads in the order
// of the loops (matmul.cc says why), or panels of columns where there are too few rows; either way each sum is one thread's, in one order.
#include "cpu/matmul_bf16.h"

#include <omp.h>

#include <algorithm>

#include "cpu/bfloat16.h"

namespace langevin {

namespace {

constexpr int64_t kLeastWork = 1 << 16;     // multiplications; below, packing costs more than it gives
constexpr int64_t kSerialWork = 1 << 18;    // below, a parallel region costs more than it gives
constexpr int64_t kLeastRows = 12;          // of a thread

size_t align64(size_t bytes) { return (bytes + 63) / 64 * 64; }

class Bf16Kernel : public Kernel {
 public:
  Bf16Kernel(const Instruction& in, const MatmulGeometry& g)
      : g_(g), a_half_(is_half(in.inputs[0].layout)), b_half_(is_half(in.inputs[1].layout)), c_half_(is_half(in.outputs[0].layout)),
        keep_b_(in.input_is_parameter.size() > 1 && in.input_is_parameter[1]) {
    threads_ = g.m * g.n * g.k >= kSerialWork ? std::max(1, omp_get_max_threads()) : 1;
    by_rows_ = g.m >= kLeastRows * threads_;
    in_place_ = a_half_ && !g.transpose_a && g.k % 2 == 0;
    b_bytes_ = align64(bf16_packed_bytes(g.k, g.n));
    if (in_place_) a_bytes_ = 0;
    else if (g.transpose_a) a_bytes_ = align64(bf16_packed_bytes(g.k, g.m));
    else a_bytes_ = align64(static_cast<size_t>(g.m * bf16_pairs(g.k)) * 4);
  }

  const char* kind() const override { return "bf16"; }
  size_t workspace() const override { return a_bytes_ + (keep_b_ ? 0 : b_bytes_); }
  size_t persistent() const override { return keep_b_ ? b_bytes_ : 0; }

  void run(const KernelArgs& args) override {
    const uint64_t version = keep_b_ ? args.input_versions[1] : 0;
    void* b = keep_b_ ? args.persistent : static_cast<char*>(args.workspace) + a_bytes_;
    const bool pack_b = version == 0 || version != packed_version_ || b != packed_at_;
    if (threads_ == 1) {
      prepare(args, b, pack_b, 0, 1);
      compute(args, b, 0, 1);
    } else {
#pragma omp parallel num_threads(threads_)
      {
        const int t = omp_get_thread_num(), n = omp_get_num_threads();
        prepare(args, b, pack_b, t, n);
#pragma omp barrier
        compute(args, b, t, n);
      }
    }
    packed_version_ = version, packed_at_ = b;
  }

 private:
  // This thread's share of the packing.
  void prepare(const KernelArgs& args, void* b, bool pack_b, int t, int threads) const {
    if (pack_b) {
      const Bf16Source source{args.inputs[1], g_.transpose_b ? g_.k : g_.n, b_half_};
      const int64_t panels = (g_.n + kPanelB - 1) / kPanelB;
      for (int64_t p = panels * t / threads; p < panels * (t + 1) / threads; ++p) bf16_pack(source, g_.transpose_b, g_.k, g_.n, kPanelB, p, b);
    }
    if (in_place_) return;
    const Bf16Source source{args.inputs[0], g_.transpose_a ? g_.m : g_.k, a_half_};
    if (g_.transpose_a) {
      const int64_t panels = (g_.m + kPanelA - 1) / kPanelA;
      for (int64_t p = panels * t / threads; p < panels * (t + 1) / threads; ++p) bf16_pack(source, false, g_.k, g_.m, kPanelA, p, args.workspace);
    } else {
      const int64_t first = g_.m * t / threads, rows = g_.m * (t + 1) / threads - first;
      const Bf16Source own{source.at(first, 0), source.ld, source.half};
      bf16_rows(own, rows, g_.k, static_cast<uint32_t*>(args.workspace) + first * bf16_pairs(g_.k));
    }
  }

  void compute(const KernelArgs& args, const void* b, int t, int threads) const {
    const int64_t panels = (g_.n + kPanelB - 1) / kPanelB;
    const int64_t row0 = by_rows_ ? g_.m * t / threads : 0, row1 = by_rows_ ? g_.m * (t + 1) / threads : g_.m;
    const int64_t panel0 = by_rows_ ? 0 : panels * t / threads, panel1 = by_rows_ ? panels : panels * (t + 1) / threads;
    // Strips of rows whose part of A stays in the second-level cache while the panels of B pass by.
    const int64_t strip = g_.transpose_a ? kPanelA : std::max<int64_t>(6, (kStrip / (bf16_pairs(g_.k) * 4)) / 6 * 6);
    for (int64_t i = row0; i < row1;) {
      const int64_t end = std::min(row1, g_.transpose_a ? (i / strip + 1) * strip : i + strip);
      for (int64_t p = panel0; p < panel1; ++p) tile(args, b, i, end, p);
      i = end;
    }
  }

  static constexpr int64_t kStrip = 128 * 1024;  // bytes of A

  void tile(const KernelArgs& args, const void* b, int64_t first, int64_t end, int64_t panel) const {
    Bf16Tile tile;
    const int64_t pairs = bf16_pairs(g_.k), column = panel * kPanelB;
    if (g_.transpose_a) {  // all rows lie in one panel
      const int64_t p = first / kPanelA;
      tile.a = static_cast<const uint32_t*>(args.workspace) + pairs * p * kPanelA + (first - p * kPanelA);
      tile.row = 1, tile.pair = bf16_panel_width(g_.m, p, kPanelA);
    } else {
      tile.a = static_cast<const uint32_t*>(in_place_ ? args.inputs[0] : args.workspace) + first * pairs;
      tile.row = pairs, tile.pair = 1;
    }
    tile.b = static_cast<const uint32_t*>(b) + pairs * column;
    tile.pairs = pairs, tile.m = end - first, tile.n = std::min(kPanelB, g_.n - column);
    tile.c = static_cast<char*>(args.outputs[0]) + (first * g_.n + column) * (c_half_ ? 2 : 4);
    tile.ldc = g_.n, tile.half = c_half_;
    bf16_multiply(tile);
  }

  MatmulGeometry g_;
  bool a_half_, b_half_, c_half_, keep_b_;
  bool by_rows_ = true, in_place_ = false;
  int threads_ = 1;
  size_t a_bytes_ = 0, b_bytes_ = 0;
  uint64_t packed_version_ = 0;
  const void* packed_at_ = nullptr;
};

// Without batch axes; a batch of A against one B is one tall product.
MatmulGeometry single_product(const Instruction& in) {
  MatmulGeometry g = matmul_geometry(in);
  for (size_t i = 0; i < g.batch.size(); ++i) {
    if (g.batch[i] == 1) continue;
    if (g.transpose_a || g.batch_b[i] != 1 || g.batch_a[i] == 1) return MatmulGeometry();  // m = 0: no
    g.m *= g.batch[i];
  }
  return g;
}

}  // namespace

bool bf16_product(const Instruction& in) {
  const MatmulGeometry g = single_product(in);
  return g.m >= 8 && g.n >= 16 && g.k >= 16 && g.m * g.n * g.k >= kLeastWork;
}

std::unique_ptr<Kernel> make_bf16_matmul(const Instruction& in) { return std::make_unique<Bf16Kernel>(in, single_product(in)); }

}  // namespace langevin
