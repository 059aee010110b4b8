// The Program class and program().
#include <cmath>
#include <cstring>

#include "addon/objects.h"

namespace langevin {

namespace {

using ProgramHandle = std::shared_ptr<Program>;

Napi::Value result_object(Napi::Env env, const ProgramResult& result) {
  auto object = Napi::Object::New(env);
  object["completed"] = Napi::Number::New(env, static_cast<double>(result.completed));
  auto metrics = Napi::Float32Array::New(env, result.metrics.size());
  if (!result.metrics.empty()) std::memcpy(metrics.Data(), result.metrics.data(), result.metrics.size() * sizeof(float));
  object["metrics"] = metrics;
  object["seconds"] = Napi::Number::New(env, result.seconds);
  object["kernels"] = Napi::Number::New(env, static_cast<double>(result.kernels));
  object["cancelled"] = Napi::Boolean::New(env, result.cancelled);
  object["guard"] = env.Null();
  if (result.guard) {
    auto guard = Napi::Object::New(env);
    guard["name"] = Napi::String::New(env, result.guard->name);
    guard["value"] = Napi::Number::New(env, result.guard->value);
    guard["limit"] = Napi::Number::New(env, result.guard->limit);
    guard["step"] = Napi::Number::New(env, static_cast<double>(result.guard->step));
    object["guard"] = guard;
  }
  return object;
}

std::vector<std::shared_ptr<CompiledPlan>> plan_list(const Napi::Value& value) {
  const Napi::Env env = value.Env();
  if (!value.IsArray()) throw Napi::TypeError::New(env, "program: plans must be an array of plans");
  const auto array = value.As<Napi::Array>();
  const Napi::Function plan_class = Environment::of(env).plan_class.Value();
  std::vector<std::shared_ptr<CompiledPlan>> list;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value entry = array[i];
    if (!entry.IsObject() || !entry.As<Napi::Object>().InstanceOf(plan_class)) {
      throw Napi::TypeError::New(env, "program: plans[" + std::to_string(i) + "] must be a Plan of this addon");
    }
    list.push_back(PlanObject::Unwrap(entry.As<Napi::Object>())->get(env));
  }
  return list;
}

}  // namespace

Napi::Function ProgramObject::define(Napi::Env env) {
  return DefineClass(env, "Program", {InstanceMethod<&ProgramObject::run>("run"), InstanceMethod<&ProgramObject::cancel>("cancel")});
}

ProgramObject::ProgramObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ProgramObject>(info) {
  if (!info[0].IsExternal()) throw Napi::TypeError::New(info.Env(), "Program: use program()");
  program_ = *info[0].As<Napi::External<ProgramHandle>>().Data();
}

Napi::Value ProgramObject::create(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsString()) throw Napi::TypeError::New(env, "program: the program must be a string of JSON");
  const std::string text = info[0].As<Napi::String>();
  auto plans = plan_list(info[1]);
  auto tensors = tensor_list(info[2], "tensors");
  ProgramHandle program;
  try {
    program = std::make_shared<Program>(text, std::move(plans), std::move(tensors));
  } catch (...) {
    throw to_error(env, current_failure());
  }
  return Environment::of(env).program_class.New({Napi::External<ProgramHandle>::New(env, &program)});
}

Napi::Value ProgramObject::run(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const double steps = info[0].IsNumber() ? info[0].As<Napi::Number>().DoubleValue() : -1;
  if (!(steps >= 0 && steps <= 9007199254740991.0) || steps != std::floor(steps)) {
    throw Napi::RangeError::New(env, "Program.run: steps must be a non-negative integer");
  }
  const ProgramHandle program = program_;
  const uint64_t epoch = program->epoch();
  auto result = std::make_shared<ProgramResult>();
  return Environment::of(env).submit(
      env,
      [program, epoch, steps, result](const std::atomic<bool>& stop) { *result = program->run(static_cast<uint64_t>(steps), epoch, stop); },
      [result](Napi::Env e) { return result_object(e, *result); });
}

Napi::Value ProgramObject::cancel(const Napi::CallbackInfo& info) {
  program_->cancel();
  return info.Env().Undefined();
}

}  // namespace langevin
