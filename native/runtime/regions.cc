// See regions.h.
#include "runtime/regions.h"

#include <algorithm>
#include <set>

#include "ops/cost.h"

namespace langevin {

namespace {

// What a region should have to do, in seconds on one thread: less is not worth waking the others for.
constexpr double kLeastSeconds = 8e-6;
constexpr double kProductRate = 6e10, kLoopRate = 3e9;  // operations a second, roughly

class Former {
 public:
  Former(Lowered& lowered, const std::vector<DecodedPlan::Output>& outputs) : lowered_(lowered), outputs_(outputs) {}

  void run() {
    for (Step& step : lowered_.steps) {
      RowSplit split = step.cached >= 0 ? RowSplit() : step.kernel->row_split();
      if (split.parts > 1 && joins(step, split)) {
        add(std::move(step), split);
      } else if (independent(step)) {
        done_.push_back(std::move(step));
      } else {
        close();
        if (split.parts > 1) add(std::move(step), split);
        else done_.push_back(std::move(step));
      }
    }
    close();
    lowered_.steps = std::move(done_);
  }

 private:
  // The memory behind a buffer, by number: an output may lie in that of the input it is the alias of.
  int64_t memory(int b) const {
    const Buffer& buffer = lowered_.buffers[static_cast<size_t>(b)];
    if (buffer.kind == Buffer::Input) return -1 - buffer.index;
    if (buffer.kind == Buffer::Output) {
      const int alias = outputs_[static_cast<size_t>(buffer.index)].alias;
      if (alias >= 0) return -1 - alias;
    }
    return b;
  }

  bool joins(const Step& step, const RowSplit& split) const {
    if (open_.empty()) return true;
    if (split.rows != rows_ || split.parts != parts_) return false;
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      if (!split.by_rows[i] && written_.count(memory(step.inputs[i])) > 0) return false;
    }
    return std::none_of(step.outputs.begin(), step.outputs.end(), [&](int b) { return read_whole_.count(memory(b)) > 0; });
  }

  bool independent(const Step& step) const {
    const auto touched = [&](int b) { return written_.count(memory(b)) > 0; };
    const auto read = [&](int b) { return read_.count(memory(b)) > 0 || touched(b); };
    return std::none_of(step.inputs.begin(), step.inputs.end(), touched) && std::none_of(step.outputs.begin(), step.outputs.end(), read);
  }

  void add(Step step, const RowSplit& split) {
    rows_ = split.rows;
    parts_ = split.parts;
    workspace_ = std::max(workspace_, (split.workspace + 63) / 64 * 64);
    const Cost cost = cost_of(step.instruction);
    seconds_ += cost.operations / (step.op == "loop" ? kLoopRate : kProductRate);
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      read_.insert(memory(step.inputs[i]));
      if (!split.by_rows[i]) read_whole_.insert(memory(step.inputs[i]));
    }
    for (int b : step.outputs) written_.insert(memory(b));
    open_.push_back(std::move(step));
  }

  void close() {
    const bool worth = open_.size() > 1 && seconds_ >= kLeastSeconds;
    const int first = static_cast<int>(done_.size()), end = first + static_cast<int>(open_.size());
    for (Step& step : open_) {
      if (worth) step.region = {first, end, parts_, workspace_};
      done_.push_back(std::move(step));
    }
    open_.clear();
    read_.clear();
    read_whole_.clear();
    written_.clear();
    seconds_ = 0;
    workspace_ = 0;
  }

  Lowered& lowered_;
  const std::vector<DecodedPlan::Output>& outputs_;
  std::vector<Step> done_, open_;
  std::set<int64_t> read_, read_whole_, written_;  // memory, by the steps of the open region
  int64_t rows_ = 0;
  int parts_ = 1;
  double seconds_ = 0;
  size_t workspace_ = 0;
};

}  // namespace

void form_regions(Lowered& lowered, const std::vector<DecodedPlan::Output>& outputs) { Former(lowered, outputs).run(); }

}  // namespace langevin
