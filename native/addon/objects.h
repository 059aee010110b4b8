// The JavaScript classes Tensor, Plan and Program: arguments checked and converted, work queued. See docs/architecture.md, "Addon surface".
#pragma once

#include <napi.h>

#include <memory>

#include "addon/environment.h"
#include "runtime/program.h"

namespace langevin {

class TensorObject final : public Napi::ObjectWrap<TensorObject> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit TensorObject(const Napi::CallbackInfo& info);
  void Finalize(Napi::Env env) override;
  // The tensor, or a JavaScript error where it has been disposed of.
  const std::shared_ptr<DeviceTensor>& get(Napi::Env env) const;

 private:
  Napi::Value write(const Napi::CallbackInfo& info);
  Napi::Value read(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);
  Napi::Value bytes(const Napi::CallbackInfo& info);
  void release(Napi::Env env);

  std::shared_ptr<DeviceTensor> tensor_;
};

class PlanObject final : public Napi::ObjectWrap<PlanObject> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit PlanObject(const Napi::CallbackInfo& info);
  void Finalize(Napi::Env env) override;
  const std::shared_ptr<CompiledPlan>& get(Napi::Env env) const;
  static Napi::Value compile(const Napi::CallbackInfo& info);

 private:
  Napi::Value run(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);
  Napi::Value stats(const Napi::CallbackInfo& info);
  Napi::Value set_profiling(const Napi::CallbackInfo& info);
  Napi::Value profile(const Napi::CallbackInfo& info);
  void release(Napi::Env env);

  std::shared_ptr<CompiledPlan> plan_;
};

class ProgramObject final : public Napi::ObjectWrap<ProgramObject> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit ProgramObject(const Napi::CallbackInfo& info);
  static Napi::Value create(const Napi::CallbackInfo& info);

 private:
  Napi::Value run(const Napi::CallbackInfo& info);
  Napi::Value cancel(const Napi::CallbackInfo& info);

  std::shared_ptr<Program> program_;
};

// An array of Tensor objects as device tensors. TypeError naming `what` otherwise.
TensorList tensor_list(const Napi::Value& value, const char* what);

}  // namespace langevin
