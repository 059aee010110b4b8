// The Plan class and compile().
#include "addon/objects.h"
#include "ops/cost.h"
#include "runtime/devices.h"
#include "runtime/threads.h"

namespace langevin {

namespace {

// What compile() hands to the Plan constructor, which JavaScript cannot make itself.
using PlanHandle = std::shared_ptr<CompiledPlan>;

}  // namespace

Napi::Function PlanObject::define(Napi::Env env) {
  return DefineClass(env, "Plan",
                     {InstanceMethod<&PlanObject::run>("run"), InstanceMethod<&PlanObject::dispose>("dispose"),
                      InstanceMethod<&PlanObject::set_profiling>("setProfiling"), InstanceMethod<&PlanObject::profile>("profile"),
                      InstanceAccessor<&PlanObject::stats>("stats")});
}

PlanObject::PlanObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<PlanObject>(info) {
  if (!info[0].IsExternal()) throw Napi::TypeError::New(info.Env(), "Plan: use compile()");
  plan_ = *info[0].As<Napi::External<PlanHandle>>().Data();
  Napi::MemoryManagement::AdjustExternalMemory(info.Env(), static_cast<int64_t>(plan_->stats().persistent_bytes));
}

void PlanObject::Finalize(Napi::Env env) { release(env); }

void PlanObject::release(Napi::Env env) {
  if (!plan_) return;
  Napi::MemoryManagement::AdjustExternalMemory(env, -static_cast<int64_t>(plan_->stats().persistent_bytes));
  plan_.reset();  // queued work and programs hold it until they are done
}

const std::shared_ptr<CompiledPlan>& PlanObject::get(Napi::Env env) const {
  if (!plan_) throw to_error(env, {"E_DEVICE", "the plan has been disposed of"});
  return plan_;
}

Napi::Value PlanObject::compile(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsString()) throw Napi::TypeError::New(env, "compile: the plan must be a string of JSON");
  if (!info[1].IsTypedArray() || info[1].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array) {
    throw Napi::TypeError::New(env, "compile: the constants must be a Uint8Array");
  }
  auto text = std::make_shared<std::string>(info[0].As<Napi::String>().Utf8Value());
  const auto blob = info[1].As<Napi::Uint8Array>();
  auto constants = std::make_shared<std::vector<uint8_t>>(blob.Data(), blob.Data() + blob.ElementLength());
  auto plan = std::make_shared<PlanHandle>();
  if (!info[2].IsUndefined() && !info[2].IsString()) throw Napi::TypeError::New(env, "compile: the device must be a string");
  const std::string device = info[2].IsString() ? info[2].As<Napi::String>().Utf8Value() : "cpu";
  const int threads = default_threads();
  return Environment::of(env).submit(
      env,
      [text, constants, plan, device, threads](const std::atomic<bool>&) {
        *plan = std::make_shared<CompiledPlan>(*text, *constants, backend_for(device), threads);
        text->clear();
        constants->clear();
      },
      [plan](Napi::Env e) -> Napi::Value {
        return Environment::of(e).plan_class.New({Napi::External<PlanHandle>::New(e, plan.get())});
      });
}

Napi::Value PlanObject::run(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto plan = get(env);
  auto inputs = std::make_shared<TensorList>(tensor_list(info[0], "inputs"));
  auto outputs = std::make_shared<TensorList>(tensor_list(info[1], "outputs"));
  try {
    plan->check_bindings(*inputs, *outputs);
  } catch (...) {
    throw to_error(env, current_failure());
  }
  return Environment::of(env).submit(
      env, [plan, inputs, outputs](const std::atomic<bool>& stop) { plan->run(*inputs, *outputs, stop); },
      [](Napi::Env e) { return e.Undefined(); });
}

Napi::Value PlanObject::dispose(const Napi::CallbackInfo& info) {
  release(info.Env());
  return info.Env().Undefined();
}

Napi::Value PlanObject::stats(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const PlanStats& stats = get(env)->stats();
  auto object = Napi::Object::New(env);
  object["arenaBytes"] = Napi::Number::New(env, static_cast<double>(stats.arena_bytes));
  object["persistentBytes"] = Napi::Number::New(env, static_cast<double>(stats.persistent_bytes));
  auto kernels = Napi::Array::New(env, stats.kernels.size());
  for (size_t i = 0; i < stats.kernels.size(); ++i) {
    auto entry = Napi::Object::New(env);
    entry["op"] = Napi::String::New(env, stats.kernels[i].first);
    entry["count"] = Napi::Number::New(env, stats.kernels[i].second);
    kernels[static_cast<uint32_t>(i)] = entry;
  }
  object["kernels"] = kernels;
  object["reorders"] = Napi::Number::New(env, stats.reorders);
  object["text"] = Napi::String::New(env, stats.text);
  return object;
}

Napi::Value PlanObject::set_profiling(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsBoolean()) throw Napi::TypeError::New(env, "setProfiling: takes true or false");
  const bool on = info[0].As<Napi::Boolean>().Value();
  const auto plan = get(env);
  return Environment::of(env).submit(
      env, [plan, on](const std::atomic<bool>&) { plan->set_profiling(on); }, [](Napi::Env e) { return e.Undefined(); });
}

// One entry a step: { op, text, runs, seconds, operations, bytes }, the last two a run.
Napi::Value PlanObject::profile(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto plan = get(env);
  auto steps = std::make_shared<std::vector<StepProfile>>();
  return Environment::of(env).submit(
      env, [plan, steps](const std::atomic<bool>&) { *steps = plan->profile(); },
      [plan, steps](Napi::Env e) -> Napi::Value {
        auto list = Napi::Array::New(e, steps->size());
        for (size_t i = 0; i < steps->size(); ++i) {
          const Step& step = plan->steps()[i];
          const Cost cost = cost_of(step.instruction);
          auto entry = Napi::Object::New(e);
          entry["op"] = Napi::String::New(e, step.op);
          entry["text"] = Napi::String::New(e, print_step(step));
          entry["runs"] = Napi::Number::New(e, static_cast<double>((*steps)[i].runs));
          entry["seconds"] = Napi::Number::New(e, static_cast<double>((*steps)[i].nanoseconds) * 1e-9);
          entry["operations"] = Napi::Number::New(e, cost.operations);
          entry["bytes"] = Napi::Number::New(e, cost.bytes);
          list[static_cast<uint32_t>(i)] = entry;
        }
        return list;
      });
}

}  // namespace langevin
