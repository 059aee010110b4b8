// See worker.h.
#include "runtime/worker.h"

#include <thread>

namespace langevin {

Worker& Worker::instance() {
  static Worker* worker = new Worker;
  return *worker;
}

void Worker::submit(std::unique_ptr<Job> job) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!started_) {
    std::thread([this] { loop(); }).detach();
    started_ = true;
  }
  queue_.push_back(std::move(job));
  more_.notify_one();
}

std::vector<std::unique_ptr<Job>> Worker::withdraw(Client& client) {
  client.stop = true;
  std::unique_lock<std::mutex> lock(mutex_);
  std::vector<std::unique_ptr<Job>> mine;
  std::deque<std::unique_ptr<Job>> rest;
  for (auto& job : queue_) {
    if (job->client.get() == &client) mine.push_back(std::move(job));
    else rest.push_back(std::move(job));
  }
  queue_.swap(rest);
  idle_.wait(lock, [&] { return running_ != &client; });
  return mine;
}

void Worker::loop() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    more_.wait(lock, [&] { return !queue_.empty(); });
    std::unique_ptr<Job> job = std::move(queue_.front());
    queue_.pop_front();
    const std::shared_ptr<Client> client = job->client;
    running_ = client.get();
    lock.unlock();
    job->run(client->stop);
    client->finished(std::move(job));
    lock.lock();
    running_ = nullptr;
    idle_.notify_all();
  }
}

}  // namespace langevin
