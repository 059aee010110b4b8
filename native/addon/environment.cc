// See environment.h.
#include "addon/environment.h"

#include <new>
#include <system_error>

#include "runtime/errors.h"
#include "runtime/tensor.h"

namespace langevin {

Failure current_failure() {
  try {
    throw;
  } catch (const PlanError& error) {
    return {"E_PLAN", error.what()};
  } catch (const CodedError& error) {
    return {error.code(), error.what()};
  } catch (const std::bad_alloc&) {
    return {"E_DEVICE", "out of memory: use a smaller batch or model, or dispose of tensors that are no longer needed"};
  } catch (const std::system_error& error) {
    return {"E_DEVICE", std::string("the system refused: ") + error.what()};
  } catch (const std::exception& error) {
    return {"E_INTERNAL", error.what()};
  } catch (...) {
    return {"E_INTERNAL", "internal: an exception of unknown type"};
  }
}

Napi::Error to_error(Napi::Env env, const Failure& failure) {
  Napi::Error error = Napi::Error::New(env, failure.message);
  error.Set("code", Napi::String::New(env, failure.code));
  return error;
}

void Task::run(const std::atomic<bool>& stop) noexcept {
  try {
    work_(stop);
  } catch (...) {
    failure_ = current_failure();
  }
}

void Task::settle(Napi::Env env) {
  if (failure_.code.empty()) {
    try {
      deferred_.Resolve(finish_(env));
      return;
    } catch (const Napi::Error& error) {
      deferred_.Reject(error.Value());
      return;
    } catch (...) {
      failure_ = current_failure();
    }
  }
  deferred_.Reject(to_error(env, failure_).Value());
}

void Environment::create(Napi::Env env) {
  auto self = std::make_shared<Environment>();
  self->env_ = env;
  const napi_value name = Napi::String::New(env, "langevin");
  const napi_status status =
      napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, self.get(), wake, &self->wake_);
  if (status != napi_ok) throw Napi::Error::New(env, "langevin: cannot create a thread-safe function");
  napi_unref_threadsafe_function(env, self->wake_);
  auto* holder = new std::shared_ptr<Environment>(self);
  env.SetInstanceData<std::shared_ptr<Environment>>(holder);
  napi_add_env_cleanup_hook(env, close, holder);
  // process.exit and uncaught exceptions end the main thread's environment without its cleanup hooks, and exit() would then take oneDNN
  // (whose statics are made lazily, so no atexit handler of ours could come first) from under the work that still runs.
  const Napi::Object process = env.Global().Get("process").As<Napi::Object>();
  const auto stop_work = [](const Napi::CallbackInfo& info) { Worker::instance().withdraw(of(info.Env())); };
  process.Get("once").As<Napi::Function>().Call(process, {Napi::String::New(env, "exit"), Napi::Function::New(env, stop_work)});
}

Environment& Environment::of(Napi::Env env) { return **env.GetInstanceData<std::shared_ptr<Environment>>(); }

Napi::Promise Environment::submit(Napi::Env env, Task::Work work, Task::Finish finish) {
  auto task = std::make_unique<Task>(env, std::move(work), std::move(finish));
  const Napi::Promise promise = task->promise();
  task->client = shared_from_this();
  if (stop) throw to_error(env, {"E_CANCELLED", "the environment is closing"});
  try {
    Worker::instance().submit(std::move(task));
  } catch (...) {
    throw to_error(env, current_failure());
  }
  if (pending_++ == 0) napi_ref_threadsafe_function(env, wake_);
  return promise;
}

void Environment::finished(std::unique_ptr<Job> job) {
  std::lock_guard<std::mutex> lock(mutex_);
  done_.push_back(std::move(job));
  // After close() nothing is finished any more, so wake_ is valid here.
  napi_call_threadsafe_function(wake_, nullptr, napi_tsfn_nonblocking);
}

void Environment::wake(napi_env env, napi_value, void* context, void*) {
  if (env != nullptr) static_cast<Environment*>(context)->settle_all(Napi::Env(env));
}

void Environment::settle_all(Napi::Env env) {
  std::deque<std::unique_ptr<Job>> done;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    done.swap(done_);
  }
  Napi::HandleScope scope(env);
  for (auto& job : done) {
    try {
      static_cast<Task&>(*job).settle(env);
    } catch (const Napi::Error&) {
      // The environment is being terminated and no longer settles promises.
    }
    job.reset();
    if (--pending_ == 0) napi_unref_threadsafe_function(env, wake_);
  }
}

// The environment ends: work that has not started is dropped, running work stops between two kernels. What the jobs hold is
// released here, on the JavaScript thread, while the environment still exists.
void Environment::close(void* holder) {
  Environment& self = **static_cast<std::shared_ptr<Environment>*>(holder);
  const auto dropped = Worker::instance().withdraw(self);
  std::deque<std::unique_ptr<Job>> done;
  {
    std::lock_guard<std::mutex> lock(self.mutex_);
    done.swap(self.done_);
  }
}

}  // namespace langevin
