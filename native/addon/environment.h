// What the addon keeps for one JavaScript environment (the main thread, or a worker_threads Worker): the class constructors and the
// way back from the native worker thread. No arithmetic here.
#pragma once

#include <napi.h>

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "runtime/worker.h"

namespace langevin {

// A failure on its way to JavaScript: `code` becomes a property of the Error.
struct Failure {
  std::string code;  // empty while there is none
  std::string message;
};

// The exception being handled, as a failure. Call inside a catch block.
Failure current_failure();
Napi::Error to_error(Napi::Env env, const Failure& failure);

// Asynchronous work: `work` runs on the worker thread, then `finish` makes the promise's value on the JavaScript thread.
class Task final : public Job {
 public:
  using Work = std::function<void(const std::atomic<bool>& stop)>;
  using Finish = std::function<Napi::Value(Napi::Env)>;
  Task(Napi::Env env, Work work, Finish finish) : deferred_(env), work_(std::move(work)), finish_(std::move(finish)) {}

  void run(const std::atomic<bool>& stop) noexcept override;
  void settle(Napi::Env env);
  Napi::Promise promise() const { return deferred_.Promise(); }

 private:
  Napi::Promise::Deferred deferred_;
  Work work_;
  Finish finish_;
  Failure failure_;
};

class Environment final : public Client, public std::enable_shared_from_this<Environment> {
 public:
  // Creates the environment's instance data.
  static void create(Napi::Env env);
  static Environment& of(Napi::Env env);

  // Queues the work; the promise settles when it is done. The event loop stays alive until then.
  Napi::Promise submit(Napi::Env env, Task::Work work, Task::Finish finish);

  void finished(std::unique_ptr<Job> job) override;

  Napi::FunctionReference tensor_class;
  Napi::FunctionReference plan_class;
  Napi::FunctionReference program_class;

 private:
  static void wake(napi_env env, napi_value, void* context, void*);
  static void close(void* self);
  void settle_all(Napi::Env env);

  napi_env env_ = nullptr;
  napi_threadsafe_function wake_ = nullptr;
  size_t pending_ = 0;  // JavaScript thread only
  std::mutex mutex_;
  std::deque<std::unique_ptr<Job>> done_;
};

}  // namespace langevin
