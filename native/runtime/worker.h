// The one thread on which all native work of a process runs, first in, first out. It knows nothing of JavaScript: a client (one an
// environment) gets its finished jobs back and settles promises on its own thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

namespace langevin {

class Client;

class Job {
 public:
  virtual ~Job() = default;
  virtual void run(const std::atomic<bool>& stop) noexcept = 0;  // on the worker thread
  std::shared_ptr<Client> client;
};

class Client {
 public:
  virtual ~Client() = default;
  virtual void finished(std::unique_ptr<Job> job) = 0;  // on the worker thread
  std::atomic<bool> stop{false};                        // set when the client goes away: running jobs end early
};

class Worker {
 public:
  static Worker& instance();  // started at first use, never destroyed: an idle thread does not hinder the process from ending

  // Throws std::system_error where no thread can be started.
  void submit(std::unique_ptr<Job> job);

  // Sets client.stop, returns the client's jobs that have not started, and waits until none of its jobs runs.
  std::vector<std::unique_ptr<Job>> withdraw(Client& client);

 private:
  Worker() = default;
  void loop();

  std::mutex mutex_;
  std::condition_variable more_;
  std::condition_variable idle_;
  std::deque<std::unique_ptr<Job>> queue_;
  Client* running_ = nullptr;
  bool started_ = false;
};

}  // namespace langevin
