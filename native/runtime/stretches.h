// Stretches of a program: instructions in a row whose work a device can record once and replay (a CUDA graph): runs of plans, copies, and
// repeats of constant count around them. What the host looks at (guards, records, counts from tensors) stands between stretches. Without a device
// that records there are none.
//
// Why a replay computes what a run would: pointers are those of the recording, as bound tensors never move, and a recording made before scratch
// memory moved is made anew. What a plan keeps of a parameter (packed weights, another layout) is made at its first use within the recording and
// whenever the parameter is written in it, since record() gives every tensor that is read a new version beforehand: so each replay makes it of what
// the parameter then holds, whoever wrote it. After a replay the outputs have new versions, as after a run, so plans that run without a recording
// again take nothing stale.
#pragma once

#include <functional>

#include "runtime/repeats.h"

namespace langevin {

class Stretches {
 public:
  // Runs instructions first..end-1 as they stand.
  using Interpret = std::function<void(size_t first, size_t end)>;

  Stretches() = default;
  Stretches(const std::vector<ProgramOp>& ops, const PlanList& plans, const Repeats& repeats);

  // If a stretch begins at that instruction and can be replayed, does so and sets *at to its last instruction; else the caller interprets it. The
  // first run of a stretch is interpreted (memory finds its place, code is loaded), the second recorded. Adds to *kernels. Throws E_CANCELLED.
  bool replay(size_t* at, const Interpret& interpret, uint64_t* kernels, const std::atomic<bool>& stop);

 private:
  struct Stretch {
    size_t first = 0, end = 0;             // instructions
    size_t body_first = 0, body_end = 0;   // what is recorded, `rounds` times in a row: all of it once, or the body of the one long repeat
    uint64_t rounds = 1, times = 1;        // the recording is replayed `times` times
    Backend* backend = nullptr;
    uint64_t kernels = 0;                  // of one replay
    int runs = 0;
    uint64_t generation = 0;               // of scratch memory, when it was recorded
    bool refused = false;                  // by the device
    std::unique_ptr<Recording> recording;
  };
  struct Unit;

  void find(size_t first, size_t end);
  Unit unit(size_t at) const;
  void close(Stretch& open);
  void record(Stretch& stretch, const Interpret& interpret);
  bool current(const Stretch& stretch) const;
  template <class F>
  void each(const Stretch& stretch, const F& visit) const;

  const std::vector<ProgramOp>* ops_ = nullptr;
  const PlanList* plans_ = nullptr;
  const Repeats* repeats_ = nullptr;
  std::vector<Stretch> stretches_;
  std::vector<int> begins_;  // by instruction: the stretch that begins there, or -1
};

}  // namespace langevin
