// The addon's entry: info(), setThreads(), memory(), copy(), compile(), program() and the classes. One Environment each JavaScript thread.
#include <napi.h>

#include <cmath>

#include "addon/objects.h"
#include "cpu/info.h"
#include "ops/registry.h"
#include "runtime/devices.h"
#include "runtime/threads.h"

namespace langevin {

namespace {

Napi::Array string_list(Napi::Env env, const std::vector<std::string>& names) {
  auto array = Napi::Array::New(env, names.size());
  for (size_t i = 0; i < names.size(); ++i) array[static_cast<uint32_t>(i)] = Napi::String::New(env, names[i]);
  return array;
}

Napi::Value cuda_info(const Napi::CallbackInfo& call) {
  try {
    return Napi::String::New(call.Env(), cuda_description());
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw to_error(call.Env(), current_failure());
  }
}

Napi::Value info(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  std::vector<std::string> ops;
  for (int i = 0; i < op_count; ++i) ops.emplace_back(op_entry(i).name);
  auto object = Napi::Object::New(env);
  object["version"] = Napi::String::New(env, LANGEVIN_VERSION);
  object["isa"] = Napi::String::New(env, cpu_isa());
  object["machineCode"] = Napi::Boolean::New(env, machine_code());
  object["oneDnn"] = Napi::String::New(env, dnnl_version_text());
  object["bfloat16"] = Napi::Boolean::New(env, cpu_backend().missing_for_bfloat16().empty());
  object["threads"] = Napi::Number::New(env, default_threads());
  object["ops"] = string_list(env, ops);
  object["loopOps"] = string_list(env, loop_op_names());
  // Read only where asked for: it loads NVIDIA's driver.
  object.DefineProperty(Napi::PropertyDescriptor::Accessor<cuda_info>("cuda", napi_enumerable));
  return object;
}

Napi::Value set_threads(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  const double n = call[0].IsNumber() ? call[0].As<Napi::Number>().DoubleValue() : 0;
  if (!(n >= 1 && n <= kMostThreads) || n != std::floor(n)) {
    throw Napi::RangeError::New(env, "setThreads: the number of threads must be an integer in 1.." + std::to_string(kMostThreads));
  }
  set_default_threads(static_cast<int>(n));
  return env.Undefined();
}

Napi::Value copy(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  auto from = std::make_shared<TensorList>(tensor_list(call[0], "from"));
  auto to = std::make_shared<TensorList>(tensor_list(call[1], "to"));
  try {
    check_copy_types(*from, *to);
  } catch (...) {
    throw to_error(env, current_failure());
  }
  return Environment::of(env).submit(
      env, [from, to](const std::atomic<bool>&) { copy_tensors(*from, *to); }, [](Napi::Env e) { return e.Undefined(); });
}

// { used, peak, total, free } in bytes, of what this process holds on that device.
Napi::Value memory(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  if (!call[0].IsString()) throw Napi::TypeError::New(env, "memory: the device must be a string");
  const std::string device = call[0].As<Napi::String>();
  auto found = std::make_shared<DeviceMemory>();
  return Environment::of(env).submit(
      env, [device, found](const std::atomic<bool>&) { *found = backend_for(device).memory(); },
      [found](Napi::Env e) -> Napi::Value {
        auto object = Napi::Object::New(e);
        object["used"] = Napi::Number::New(e, static_cast<double>(found->used));
        object["peak"] = Napi::Number::New(e, static_cast<double>(found->peak));
        object["total"] = Napi::Number::New(e, static_cast<double>(found->total));
        object["free"] = Napi::Number::New(e, static_cast<double>(found->free));
        return object;
      });
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  Environment::create(env);
  Environment& environment = Environment::of(env);
  const Napi::Function tensor = TensorObject::define(env);
  environment.tensor_class = Napi::Persistent(tensor);
  environment.plan_class = Napi::Persistent(PlanObject::define(env));
  environment.program_class = Napi::Persistent(ProgramObject::define(env));
  exports["Tensor"] = tensor;
  exports["info"] = Napi::Function::New<info>(env, "info");
  exports["setThreads"] = Napi::Function::New<set_threads>(env, "setThreads");
  exports["memory"] = Napi::Function::New<memory>(env, "memory");
  exports["copy"] = Napi::Function::New<copy>(env, "copy");
  exports["compile"] = Napi::Function::New<PlanObject::compile>(env, "compile");
  exports["program"] = Napi::Function::New<ProgramObject::create>(env, "program");
  return exports;
}

}  // namespace

NODE_API_MODULE(langevin, init)

}  // namespace langevin
