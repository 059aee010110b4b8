// The fused loop kernel: walks the iteration space in tiles that stay in the first-level cache, running each instruction over a tile
// (loop_simd.h), and divides the tiles among threads by a fixed rule, so that a result depends only on the number of threads.
// Plan building stands in loop_plan.cc.
#include <omp.h>

#include <algorithm>
#include <cstring>

#include "cpu/bfloat16.h"
#include "cpu/loop_groups.h"
#include "cpu/loop_plan.h"
#include "ops/registry.h"

namespace langevin {

namespace {

constexpr int64_t kSerialElements = 16384;     // below, a parallel region costs more than it gives...
constexpr int64_t kSerialWork = 1 << 18;       // ...unless elements times instructions exceed this
constexpr int64_t kChunk = 4096;               // elements folded before accumulators of disjoint results are finished
constexpr int64_t kPrivateResults = 32768;     // most results for which each thread keeps accumulators of all
constexpr size_t kLine = 64;

size_t round_up(size_t n) { return (n + kLine - 1) / kLine * kLine; }

class LoopKernel : public Kernel {
 public:
  LoopKernel(const Instruction& in, const LoopProgram& program)
      : plan_(build_loop_plan(in, program)), groups_(plan_.space, program.axes), reducing_(!plan_.reductions.empty()) {
    const int64_t total = plan_.space.total;
    const int64_t work = total * static_cast<int64_t>(plan_.body.size());
    const bool parallel = total >= kSerialElements || (total >= kSerialElements / 4 && work >= kSerialWork);
    const int threads = std::max(1, omp_get_max_threads());
    parts_ = parallel ? threads : 1;
    read_rows(in, program, threads);
    direct_now_.assign(plan_.direct_outputs.size(), 0);
    if (reducing_) plan_reduction();
    if (reducing_ && (division_ != Division::Outer || groups_.groups()[0].size % std::max<int64_t>(1, split_.rows) != 0)) split_ = RowSplit();
    pointers_ = round_up(static_cast<size_t>(plan_.slots) * sizeof(char*));
    caches_ = round_up(plan_.expandeds.size() * sizeof(ExpansionCache));
    accumulator_offset_ = pointers_ + caches_ + round_up(plan_.scratch);
    size_t accumulators = 0;
    for (const auto& r : plan_.reductions) {
      reduction_offset_.push_back(accumulators);
      accumulators += round_up(static_cast<size_t>(accumulated_) * r.table->bytes);
    }
    part_bytes_ = accumulator_offset_ + accumulators + 2 * kLine;  // parts start on different cache sets
    split_.workspace = part_bytes_;
  }

  size_t workspace() const override { return part_bytes_ * static_cast<size_t>(parts_); }

  RowSplit row_split() const override { return split_; }
  void begin_rows(const KernelArgs& args) override { decide_direct_outputs(args); }
  void run_rows(const KernelArgs& args, int index) override {
    Part part = make_part(args, 0);
    const int64_t first = split_.rows * index / split_.parts, end = split_.rows * (index + 1) / split_.parts;
    if (reducing_) {
      const int64_t units = groups_.groups()[0].size / split_.rows;
      run_units(part, first * units, end * units);
    } else {
      const int64_t inner = plan_.space.total / split_.rows;
      run_range(part, first * inner, end * inner, 0);
    }
  }

  void run(const KernelArgs& args) override {
    decide_direct_outputs(args);
    if (parts_ == 1) {
      run_part(args, 0);
    } else {
#pragma omp parallel num_threads(parts_)
      for (int part = omp_get_thread_num(); part < parts_; part += omp_get_num_threads()) run_part(args, part);
    }
    if (reducing_ && division_ == Division::Private) combine(args);
  }

 private:
  // How a reducing loop is divided: any stretch a part, with accumulators of all results each; or by the outermost kept dimension, or
  // by the kept dimension inside an outermost reduced one, where results are disjoint and are finished chunk by chunk.
  enum class Division : uint8_t { Private, Outer, Inner };

  // Rows are axis 0, the outermost of the iteration space in either layout.
  void read_rows(const Instruction& in, const LoopProgram& program, int threads) {
    if (program.shape.empty() || program.shape[0] < threads || plan_.space.total == 0) return;
    if (std::find(program.axes.begin(), program.axes.end(), 0) != program.axes.end()) return;
    split_.rows = program.shape[0];
    split_.parts = threads;
    for (const TensorDesc& t : in.inputs) split_.by_rows.push_back(t.shape.size() == program.shape.size() && t.shape[0] == split_.rows);
  }

  void plan_reduction() {
    const auto& g = groups_.groups();
    const int64_t kept = groups_.kept();
    accumulated_ = kept;
    if (plan_.space.total == 0) return;
    if (g[0].kept && g.size() > 1 && (g[0].size >= parts_ || kept > kPrivateResults)) {
      divide_by(Division::Outer, g[0]);
    } else if (g[0].kept && g.size() == 1 && kept > kChunk) {  // nothing is reduced
      divide_by(Division::Outer, g[0]);
    } else if (!g[0].kept && kept > kPrivateResults) {
      divide_by(Division::Inner, g[1]);
    }
  }

  void divide_by(Division division, const LoopGroups::Group& group) {
    division_ = division;
    chunk_units_ = std::max<int64_t>(1, (kChunk + group.inner - 1) / group.inner);
    accumulated_ = chunk_units_ * group.kept_inner;
  }

  // Everything a part owns in the workspace.
  struct Part {
    const KernelArgs& args;
    char** at;  // slot pointers
    ExpansionCache* caches;
    char* accumulators;
  };

  Part make_part(const KernelArgs& args, int index) {
    char* base = static_cast<char*>(args.workspace) + part_bytes_ * static_cast<size_t>(index);
    Part part{args, reinterpret_cast<char**>(base), reinterpret_cast<ExpansionCache*>(base + pointers_), base + accumulator_offset_};
    char* scratch = base + pointers_ + caches_;
    for (int s = 0; s < plan_.slots; ++s) {
      const size_t offset = plan_.slot_offset[static_cast<size_t>(s)];
      part.at[s] = offset == SIZE_MAX ? nullptr : scratch + offset;
    }
    for (size_t i = 0; i < plan_.constants.size(); ++i) part.at[plan_.constant_slots[i]] = reinterpret_cast<char*>(&plan_.constants[i]);
    for (const auto& s : plan_.singles) part.at[s.slot] = const_cast<char*>(static_cast<const char*>(args.inputs[s.input]));
    for (size_t i = 0; i < plan_.expandeds.size(); ++i) part.caches[i] = ExpansionCache();
    if (plan_.space.total > 0) {
      for (const auto& s : plan_.prologue) s.function(part.at[s.a], part.at[s.b], part.at[s.c], part.at[s.out], 1);
      const size_t tile = static_cast<size_t>(plan_.tile);
      for (const auto& s : plan_.splats) s.function(part.at[s.a], part.at[s.b], part.at[s.c], part.at[s.out], tile);
    }
    return part;
  }

  void run_part(const KernelArgs& args, int index) {
    Part part = make_part(args, index);
    if (reducing_ && division_ != Division::Private) {
      const auto& by = division_ == Division::Outer ? groups_.groups()[0] : groups_.groups()[1];
      return run_units(part, by.size * index / parts_, by.size * (index + 1) / parts_);
    }
    if (reducing_) clear(part, accumulated_);
    const int64_t tiles = (plan_.space.total + plan_.tile - 1) / plan_.tile;
    const int64_t first = tiles * index / parts_ * plan_.tile, end = tiles * (index + 1) / parts_ * plan_.tile;
    run_range(part, first, std::min(end, plan_.space.total), 0);
  }

  // Units first..end of the dimension that disjoint results are divided by.
  void run_units(Part& part, int64_t first, int64_t end) {
    const auto& g = groups_.groups();
    const auto& by = division_ == Division::Outer ? g[0] : g[1];
    const int64_t repeats = division_ == Division::Outer ? 1 : g[0].size;
    for (int64_t u = first; u < end; u += chunk_units_) {
      const int64_t count = std::min(chunk_units_, end - u);
      clear(part, count * by.kept_inner);
      for (int64_t r = 0; r < repeats; ++r) {
        const int64_t start = r * g[0].inner + u * by.inner;
        run_range(part, start, start + count * by.inner, u * by.kept_inner);
      }
      for (size_t i = 0; i < plan_.reductions.size(); ++i) {
        const auto& reduction = plan_.reductions[i];
        groups_.finish(*reduction.table, part.accumulators + reduction_offset_[i], u * by.kept_inner, count * by.kept_inner,
                       part.args.outputs[reduction.output]);
      }
    }
  }

  void clear(Part& part, int64_t n) {
    for (size_t i = 0; i < plan_.reductions.size(); ++i) {
      plan_.reductions[i].table->clear(static_cast<size_t>(n), part.accumulators + reduction_offset_[i]);
    }
  }

  // Elements first..end of the linear order; accumulators begin at result `result`.
  void run_range(Part& part, int64_t first, int64_t end, int64_t result) {
    for (int64_t start = first; start < end; start += plan_.tile) run_tile(part, start, std::min(plan_.tile, end - start), result);
  }

  void run_tile(Part& part, int64_t start, int64_t n, int64_t result) {
    char** at = part.at;
    for (const auto& d : plan_.directs) at[d.slot] = const_cast<char*>(source(part, d.source)) + start * d.bytes;
    for (size_t i = 0; i < plan_.expandeds.size(); ++i) {
      const auto& e = plan_.expandeds[i];
      char* buffer = reinterpret_cast<char*>(part.at) + pointers_ + caches_ + plan_.slot_offset[static_cast<size_t>(e.slot)];
      const void* lanes = expand_operand(loop_table(), e.walk, source(part, e.source), e.bytes, start, n, buffer, &part.caches[i]);
      at[e.slot] = const_cast<char*>(static_cast<const char*>(lanes));
    }
    for (size_t i = 0; i < plan_.direct_outputs.size(); ++i) {
      const auto& o = plan_.direct_outputs[i];
      if (direct_now_[i]) at[o.slot] = static_cast<char*>(part.args.outputs[o.output]) + start * 4;
    }
    const size_t count = static_cast<size_t>(n);
    for (const auto& stretch : plan_.stretches) {
      if (stretch.code) {
        stretch.code->run(at, count);
        continue;
      }
      for (size_t i = stretch.first; i < stretch.end; ++i) {
        const auto& s = plan_.body[i];
        s.function(at[s.a], at[s.b], at[s.c], at[s.out], count);
      }
    }
    for (size_t i = 0; i < plan_.reductions.size(); ++i) {
      const auto& r = plan_.reductions[i];
      groups_.fold(*r.table, at[r.slot], start, n, part.accumulators + reduction_offset_[i], result);
    }
    for (const auto& s : plan_.stores) {
      if (s.unless_direct >= 0 && direct_now_[static_cast<size_t>(s.unless_direct)]) continue;
      char* out = static_cast<char*>(part.args.outputs[s.output]) + start * s.bytes;
      if (s.bytes == 4) std::memcpy(out, at[s.slot], count * 4);
      else if (s.bytes == 2) bf16_store(at[s.slot], nullptr, nullptr, out, count);
      else loop_table().store_bytes(at[s.slot], nullptr, nullptr, out, count);
    }
  }

  const char* source(const Part& part, const LoopPlan::Source& s) const {
    return s.input >= 0 ? static_cast<const char*>(part.args.inputs[s.input])
                        : reinterpret_cast<const char*>(plan_.tables[static_cast<size_t>(s.table)].data());
  }

  void decide_direct_outputs(const KernelArgs& args) {
    for (size_t i = 0; i < plan_.direct_outputs.size(); ++i) {
      const auto& o = plan_.direct_outputs[i];
      bool free = true;
      for (int input : o.late_inputs) free = free && args.inputs[input] != args.outputs[o.output];
      direct_now_[i] = free;
    }
  }

  // Accumulators of all parts into those of the first, in order, then out.
  void combine(const KernelArgs& args) {
    char* first = static_cast<char*>(args.workspace) + accumulator_offset_;
    for (size_t i = 0; i < plan_.reductions.size(); ++i) {
      const auto& r = plan_.reductions[i];
      char* acc = first + reduction_offset_[i];
      for (int part = 1; part < parts_; ++part) {
        r.table->merge(acc + part_bytes_ * static_cast<size_t>(part), static_cast<size_t>(accumulated_), acc);
      }
      groups_.finish(*r.table, acc, 0, accumulated_, args.outputs[r.output]);
    }
  }

  LoopPlan plan_;
  LoopGroups groups_;
  bool reducing_;
  Division division_ = Division::Private;
  int parts_ = 1;
  RowSplit split_;
  int64_t chunk_units_ = 0, accumulated_ = 0;
  size_t pointers_ = 0, caches_ = 0, accumulator_offset_ = 0, part_bytes_ = 0;
  std::vector<size_t> reduction_offset_;
  std::vector<char> direct_now_;
};

}  // namespace

std::unique_ptr<Kernel> make_loop(const Instruction& instruction) {
  return std::make_unique<LoopKernel>(instruction, decode_loop(instruction));
}

}  // namespace langevin
