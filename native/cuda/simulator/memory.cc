// Device memory of the simulator: allocations between unmapped pages, filled with 0xCD, with guard bytes where a page is not filled.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "cuda/simulator/simulator.h"

namespace langevin::simulator {

namespace {

constexpr uint64_t kPage = 4096, kAlignment = 256, kRound = 512;
constexpr unsigned char kFresh = 0xCD, kGuard = 0xFA;

uint64_t round_up(uint64_t x, uint64_t to) { return (x + to - 1) / to * to; }

uint64_t reserve(uint64_t bytes) {
  void* found = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (found == MAP_FAILED) throw std::bad_alloc();
  return reinterpret_cast<uint64_t>(found);
}

}  // namespace

Memory::Memory(size_t total) : total_(total) {
  base_ = reserve(kSpace);
  shift_ = reserve(kSpace) - base_;
  next_ = base_;
}

CUdeviceptr Memory::allocate(size_t bytes) {
  const uint64_t counted = round_up(bytes, kRound);
  if (counted > total_ || used_ > total_ - counted) return 0;
  const uint64_t payload = round_up(bytes, kAlignment), length = round_up(payload, kPage);
  // The next free place with an unmapped page before and behind; addresses come again only when all were used.
  for (int round = 0;; ++round) {
    auto after = living_.lower_bound(next_);
    while (after != living_.end() && after->second.pages < next_ + length + 2 * kPage) {
      next_ = after->second.pages + after->second.length;
      ++after;
    }
    if (next_ + length + 2 * kPage <= base_ + kSpace) break;
    if (round == 1) return 0;
    next_ = base_;
  }
  const uint64_t pages = next_ + kPage;
  unsigned char* memory = mapped(pages);
  if (mmap(memory, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED) return 0;
  next_ = pages + length;
  const uint64_t start = pages + length - payload;
  std::memset(memory, kGuard, start - pages);
  std::memset(mapped(start), kFresh, bytes);
  std::memset(mapped(start + bytes), kGuard, payload - bytes);
  living_[start] = {pages, length, bytes, false};
  released_.erase(released_.lower_bound(pages), released_.lower_bound(pages + length));
  used_ += counted;
  reserved_ = std::max(reserved_, used_);
  used_high = std::max(used_high, used_);
  reserved_high = std::max(reserved_high, reserved_);
  return start;
}

bool Memory::begin_release(CUdeviceptr address) {
  const auto found = living_.find(address);
  if (found == living_.end() || found->second.leaving) return false;
  found->second.leaving = true;
  return true;
}

void Memory::release(CUdeviceptr address) {
  const auto found = living_.find(address);
  const Block block = found->second;
  mmap(mapped(block.pages), block.length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
  used_ -= round_up(block.bytes, kRound);
  living_.erase(found);
  constexpr size_t kRemembered = 10000;
  if (released_.size() == kRemembered) released_.clear();
  released_[address] = block.bytes;
}

std::map<uint64_t, Memory::Block>::const_iterator Memory::find(uint64_t inside) const {
  auto found = living_.upper_bound(inside);
  if (found == living_.begin()) return living_.end();
  --found;
  return inside < found->first + found->second.bytes ? found : living_.end();
}

std::string Memory::check(CUdeviceptr address, size_t bytes) const {
  if (bytes == 0) return "";
  const auto found = find(address);
  if (found == living_.end()) return describe(address);
  const uint64_t room = found->first + found->second.bytes - address;
  if (bytes <= room) return "";
  return std::to_string(bytes) + " bytes where an allocation of " + std::to_string(found->second.bytes) + " has " + std::to_string(room) + " left";
}

std::string Memory::describe(uint64_t address) const {
  if (!owns(address)) return "an address that is not the device's";
  const auto inside = find(address);
  if (inside != living_.end()) return "byte " + std::to_string(address - inside->first) + " of an allocation of " + std::to_string(inside->second.bytes);
  auto gone = released_.upper_bound(address);
  if (gone != released_.begin()) {
    --gone;
    if (address < gone->first + gone->second) {
      return "byte " + std::to_string(address - gone->first) + " of an allocation of " + std::to_string(gone->second) + " bytes that was freed";
    }
  }
  const auto after = living_.upper_bound(address);
  const uint64_t to_next = after == living_.end() ? ~uint64_t{0} : after->first - address;
  if (after != living_.begin()) {
    const auto before = std::prev(after);
    const uint64_t behind = address - (before->first + before->second.bytes);
    if (behind <= to_next && behind < (uint64_t{1} << 20)) {
      return std::to_string(behind) + " bytes behind an allocation of " + std::to_string(before->second.bytes) + " bytes";
    }
  }
  if (to_next < (uint64_t{1} << 20)) return std::to_string(to_next) + " bytes before an allocation of " + std::to_string(after->second.bytes) + " bytes";
  return "memory that is not allocated, or no longer";
}

std::string Memory::guards_of(uint64_t start, const Block& block) const {
  const uint64_t before = std::max(block.pages, start - kAlignment);
  for (uint64_t at = before; at < start; ++at) {
    if (*mapped(at) != kGuard) return "wrote " + std::to_string(start - at) + " bytes before an allocation of " + std::to_string(block.bytes) + " bytes";
  }
  for (uint64_t at = start + block.bytes; at < block.pages + block.length; ++at) {
    if (*mapped(at) != kGuard) {
      return "wrote " + std::to_string(at - start - block.bytes) + " bytes behind the end of an allocation of " + std::to_string(block.bytes) + " bytes";
    }
  }
  return "";
}

std::string Memory::check_guards(uint64_t inside) const {
  const auto found = find(inside);
  return found == living_.end() ? "" : guards_of(found->first, found->second);
}

std::string Memory::check_all_guards() const {
  for (const auto& [start, block] : living_) {
    const std::string wrong = guards_of(start, block);
    if (!wrong.empty()) return wrong;
  }
  return "";
}

std::string hex(CUdeviceptr address) {
  char text[32];
  std::snprintf(text, sizeof text, "0x%llx", address);
  return text;
}

unsigned char* use(const Memory& memory, CUdeviceptr address, size_t bytes, const std::string& what) {
  const std::string wrong = memory.check(address, bytes);
  if (!wrong.empty()) throw Fault{CUDA_ERROR_ILLEGAL_ADDRESS, what + " " + hex(address) + ": " + wrong};
  return memory.mapped(address);
}

}  // namespace langevin::simulator
