// Scratch memory that every plan of a process on one device shares, since one worker thread runs them one after another.
#pragma once

#include <map>
#include <memory>

#include "runtime/backend.h"

namespace langevin {

class Arena {
 public:
  explicit Arena(Backend& backend) : backend_(backend) {}
  ~Arena() { backend_.release(memory_, bytes_); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // At least that many bytes, contents undefined; what an earlier call returned is invalid afterwards. Throws std::bad_alloc.
  uint8_t* ensure(size_t bytes) {
    if (memory_ != nullptr && bytes <= bytes_) return memory_;
    backend_.release(memory_, bytes_);
    memory_ = nullptr;
    bytes_ = 0;
    memory_ = static_cast<uint8_t*>(backend_.allocate(bytes));
    bytes_ = bytes;
    ++generation_;
    return memory_;
  }

  // How often ensure() has moved the memory: who has kept a pointer into it compares.
  uint64_t generation() const { return generation_; }

  // The arena of that backend; freed with the last plan that holds it. Worker thread only.
  static std::shared_ptr<Arena> shared(Backend& backend) {
    static std::map<Backend*, std::weak_ptr<Arena>> current;
    std::shared_ptr<Arena> arena = current[&backend].lock();
    if (!arena) {
      arena = std::make_shared<Arena>(backend);
      current[&backend] = arena;
    }
    return arena;
  }

 private:
  Backend& backend_;
  uint8_t* memory_ = nullptr;
  size_t bytes_ = 0;
  uint64_t generation_ = 0;
};

}  // namespace langevin
