// See program.h.
#include "runtime/program.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include "ops/check.h"
#include "runtime/errors.h"

namespace langevin {

namespace {

using nlohmann::json;

constexpr size_t kDeepestRepeat = 8;
constexpr size_t kMostOps = 100'000;
constexpr int64_t kMostRepeats = 1'000'000'000;
constexpr size_t kMostRecorded = 1'000'000;

[[noreturn]] void fail(const std::string& where, const std::string& message) { throw PlanError(where + " " + message); }

// Appends the scalars' values: one wait for those of a device.
void record_scalars(const TensorList& tensors, std::vector<float>& metrics) {
  for (size_t i = 0; i < tensors.size();) {
    Backend& backend = tensors[i]->backend();
    std::vector<const void*> places;
    for (; i < tensors.size() && &tensors[i]->backend() == &backend; ++i) places.push_back(tensors[i]->data());
    metrics.resize(metrics.size() + places.size());
    backend.copy_out_scalars(metrics.data() + metrics.size() - places.size(), places.data(), places.size());
  }
}

// Work that was queued is done when a run ends.
void wait_for(const PlanList& plans) {
  std::vector<Backend*> seen;
  for (const auto& plan : plans) {
    if (std::find(seen.begin(), seen.end(), &plan->backend()) != seen.end()) continue;
    seen.push_back(&plan->backend());
    plan->backend().synchronize();
  }
}

}  // namespace

// Decodes the tree in preorder into Program::ops_.
class Program::Decoder {
 public:
  Decoder(Program& program, const TensorList& tensors) : program_(program), tensors_(tensors) {}

  void body(const json& code, const std::string& where, size_t depth, size_t times, bool fixed) {
    if (!code.is_array()) fail(where, std::string("must be an array; got a value of type ") + code.type_name());
    for (size_t i = 0; i < code.size(); ++i) {
      if (program_.ops_.size() >= kMostOps) fail(where, "holds more than " + std::to_string(kMostOps) + " instructions");
      op(code[i], where + "[" + std::to_string(i) + "]", depth, times, fixed);
    }
  }

 private:
  const json& member(const json& entry, const char* name, const std::string& where) {
    const auto found = entry.find(name);
    if (found == entry.end()) fail(where, std::string("needs '") + name + "'");
    return *found;
  }
  int64_t integer(const json& value, int64_t high, const std::string& where) {
    const double number = value.is_number() ? value.get<double>() : -1;
    if (!(number >= 0 && number <= static_cast<double>(high)) || number != std::floor(number)) {
      fail(where, "must be an integer in 0.." + std::to_string(high));
    }
    return static_cast<int64_t>(number);
  }
  std::shared_ptr<DeviceTensor> tensor(const json& value, const std::string& where) {
    if (tensors_.empty()) fail(where, "names a tensor; the program was given none");
    return tensors_[static_cast<size_t>(integer(value, static_cast<int64_t>(tensors_.size()) - 1, where))];
  }
  std::shared_ptr<DeviceTensor> scalar(const json& value, DType dtype, const std::string& where) {
    auto t = tensor(value, where);
    if (t->desc().dtype != dtype || t->desc().size() != 1) {
      fail(where, std::string("must be a ") + show_dtype(dtype) + " scalar; got " + to_string(t->desc()));
    }
    return t;
  }
  TensorList tensors(const json& entry, const char* name, const std::string& where) {
    const json& list = member(entry, name, where);
    if (!list.is_array()) fail(where + "." + name, std::string("must be an array; got a value of type ") + list.type_name());
    TensorList found;
    for (size_t i = 0; i < list.size(); ++i) found.push_back(tensor(list[i], where + "." + name + "[" + std::to_string(i) + "]"));
    return found;
  }

  void op(const json& entry, const std::string& where, size_t depth, size_t times, bool fixed) {
    if (!entry.is_object()) fail(where, std::string("must be an object; got a value of type ") + entry.type_name());
    const json& name = member(entry, "do", where);
    const std::string what = name.is_string() ? name.get<std::string>() : "";
    if (what == "run") run(entry, where);
    else if (what == "repeat") repeat(entry, where, depth, times, fixed);
    else if (what == "guard") guard(entry, where);
    else if (what == "record") record(entry, where, times, fixed);
    else if (what == "copy") copy(entry, where);
    else fail(where + ".do", "must be 'run', 'repeat', 'guard', 'record' or 'copy'");
  }

  void run(const json& entry, const std::string& where) {
    if (program_.plans_.empty()) fail(where + ".plan", "names a plan; the program was given none");
    Op op;
    op.kind = Kind::Run;
    op.plan = static_cast<int>(integer(member(entry, "plan", where), static_cast<int64_t>(program_.plans_.size()) - 1, where + ".plan"));
    op.inputs = tensors(entry, "inputs", where);
    op.outputs = tensors(entry, "outputs", where);
    try {
      program_.plans_[static_cast<size_t>(op.plan)]->check_bindings(op.inputs, op.outputs);
    } catch (const CodedError& error) {
      throw CodedError(error.code(), where + ": " + error.what());
    }
    program_.ops_.push_back(std::move(op));
  }

  void repeat(const json& entry, const std::string& where, size_t depth, size_t times, bool fixed) {
    if (depth >= kDeepestRepeat) fail(where, "is nested deeper than " + std::to_string(kDeepestRepeat) + " repeats");
    Op op;
    op.kind = Kind::Repeat;
    if (entry.contains("countFrom")) {
      op.tensor = scalar(entry["countFrom"], DType::I32, where + ".countFrom");
      fixed = false;
    } else {
      op.count = integer(member(entry, "count", where), kMostRepeats, where + ".count");
      times = std::min(kMostRecorded + 1, times) * std::min<size_t>(kMostRecorded + 1, static_cast<size_t>(op.count));
    }
    const size_t at = program_.ops_.size();
    program_.ops_.push_back(std::move(op));
    body(member(entry, "body", where), where + ".body", depth + 1, times, fixed);
    Op end;
    end.kind = Kind::End;
    end.jump = at;
    program_.ops_[at].jump = program_.ops_.size();
    program_.ops_.push_back(std::move(end));
  }

  void guard(const json& entry, const std::string& where) {
    Op op;
    op.kind = Kind::Guard;
    const json& name = member(entry, "name", where);
    if (!name.is_string()) fail(where + ".name", "must be a string");
    op.name = name.get<std::string>();
    op.tensor = scalar(member(entry, "tensor", where), DType::F32, where + ".tensor");
    if (!read_number(member(entry, "limit", where), &op.limit) || !(op.limit >= 0)) fail(where + ".limit", "must be a number of at least 0");
    program_.ops_.push_back(std::move(op));
  }

  void record(const json& entry, const std::string& where, size_t times, bool fixed) {
    if (!fixed) fail(where, "stands in a repeat with countFrom; the number of recorded values must be the same in every step");
    Op op;
    op.kind = Kind::Record;
    const json& list = member(entry, "tensors", where);
    if (!list.is_array()) fail(where + ".tensors", std::string("must be an array; got a value of type ") + list.type_name());
    for (size_t i = 0; i < list.size(); ++i) {
      op.inputs.push_back(scalar(list[i], DType::F32, where + ".tensors[" + std::to_string(i) + "]"));
    }
    if (!op.inputs.empty() && times > (kMostRecorded - program_.recorded_) / op.inputs.size()) {
      fail(where, "makes a step record more than " + std::to_string(kMostRecorded) + " values");
    }
    program_.recorded_ += times * op.inputs.size();
    program_.ops_.push_back(std::move(op));
  }

  void copy(const json& entry, const std::string& where) {
    Op op;
    op.kind = Kind::Copy;
    op.inputs = tensors(entry, "from", where);
    op.outputs = tensors(entry, "to", where);
    try {
      check_copy_types(op.inputs, op.outputs);
    } catch (const CodedError& error) {
      throw CodedError(error.code(), where + ": " + error.what());
    }
    program_.ops_.push_back(std::move(op));
  }

  Program& program_;
  const TensorList& tensors_;
};

Program::Program(const std::string& text, std::vector<std::shared_ptr<CompiledPlan>> plans, TensorList tensors) : plans_(std::move(plans)) {
  const json root = parse_json(text, "program");
  const auto code = root.is_object() ? root.find("code") : root.end();
  if (code == root.end()) throw PlanError("program must be an object with 'code'");
  Decoder(*this, tensors).body(*code, "code", 0, 1, true);
  repeats_ = Repeats(ops_, plans_);
  stretches_ = Stretches(ops_, plans_, repeats_);
}

int64_t Program::repeat_count(const Op& op) const {
  if (!op.tensor) return op.count;
  int32_t count = 0;
  op.tensor->backend().copy_out(&count, op.tensor->data(), sizeof count);
  return count;
}

Program::Outcome Program::run_step(ProgramResult& result, const std::atomic<bool>& stop) { return interpret(0, ops_.size(), false, result, stop); }

// Instructions first..end-1, whole repeats. `recording`: their work is only written down, by a device, and nothing of it counts.
Program::Outcome Program::interpret(size_t first, size_t end, bool recording, ProgramResult& result, const std::atomic<bool>& stop) {
  std::array<int64_t, kDeepestRepeat> left{};  // rounds still to do, by nesting
  size_t depth = 0;
  const Stretches::Interpret record = [&](size_t from, size_t to) {
    ProgramResult nothing;
    interpret(from, to, true, nothing, stop);
  };
  for (size_t at = first; at < end; ++at) {
    const Op& op = ops_[at];
    if (!recording && stretches_.replay(&at, record, &result.kernels, stop)) continue;
    switch (op.kind) {
      case Kind::Run:
        result.kernels += plans_[static_cast<size_t>(op.plan)]->run(op.inputs, op.outputs, stop, false);
        break;
      case Kind::Repeat:
        left[depth] = repeat_count(op);
        if (repeats_.run(at, left[depth], &result.kernels, stop)) at = op.jump;
        else if (left[depth] > 0) ++depth;
        else at = op.jump;
        break;
      case Kind::End:
        if (--left[depth - 1] > 0) at = op.jump;
        else --depth;
        break;
      case Kind::Guard: {
        float value = 0;
        op.tensor->backend().copy_out(&value, op.tensor->data(), sizeof value);
        if (std::isfinite(value) && std::fabs(value) <= op.limit) break;
        result.guard = std::make_unique<GuardStop>(GuardStop{op.name, value, op.limit, result.completed});
        return Outcome::Guarded;
      }
      case Kind::Record: record_scalars(op.inputs, result.metrics); break;
      case Kind::Copy: copy_tensors(op.inputs, op.outputs); break;
    }
  }
  return Outcome::Completed;
}

ProgramResult Program::run(uint64_t steps, uint64_t epoch, const std::atomic<bool>& stop) {
  ProgramResult result;
  // All of it at once where that is little; a run of many steps grows it now and then.
  result.metrics.reserve(static_cast<size_t>(std::min<uint64_t>(steps, 65536)) * std::min<size_t>(recorded_, 256));
  repeats_.prepare();
  const auto start = std::chrono::steady_clock::now();
  while (result.completed < steps) {
    if (epoch_.load(std::memory_order_relaxed) != epoch || stop.load(std::memory_order_relaxed)) {
      result.cancelled = true;
      break;
    }
    if (run_step(result, stop) == Outcome::Guarded) break;
    ++result.completed;
  }
  wait_for(plans_);
  result.metrics.resize(static_cast<size_t>(result.completed) * recorded_);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

void check_copy_types(const TensorList& from, const TensorList& to) {
  if (from.size() != to.size()) {
    throw CodedError("E_SHAPE", "copy takes as many targets as sources; got " + std::to_string(from.size()) + " and " + std::to_string(to.size()));
  }
  for (size_t i = 0; i < from.size(); ++i) {
    const TensorDesc& a = from[i]->desc();
    const TensorDesc& b = to[i]->desc();
    if (a.dtype == b.dtype && a.shape == b.shape) continue;
    throw CodedError(a.dtype != b.dtype ? "E_DTYPE" : "E_SHAPE", "copy " + std::to_string(i) + ": " + to_string(a) + " does not fit " + to_string(b));
  }
}

void copy_tensors(const TensorList& from, const TensorList& to) {
  for (size_t i = 0; i < from.size(); ++i) {
    if (from[i] == to[i]) continue;
    copy_contents(*to[i], *from[i]);
  }
}

}  // namespace langevin
