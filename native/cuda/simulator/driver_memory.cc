// Allocations, copies and fills of the driver.
#include <cstring>

#include "cuda/simulator/entry.h"

namespace langevin::simulator {

namespace {

std::map<uint64_t, size_t>& pinned() {
  static auto* all = new std::map<uint64_t, size_t>;
  return *all;
}

bool is_pinned(const void* memory, size_t bytes) {
  const uint64_t at = reinterpret_cast<uint64_t>(memory);
  auto found = pinned().upper_bound(at);
  if (found == pinned().begin()) return false;
  --found;
  return at + bytes <= found->first + found->second;
}

// The driver looks at addresses when it is called.
CUresult check_device(const Entry& entry, CUcontext context, CUdeviceptr address, size_t bytes) {
  const std::string wrong = context->memory->check(address, bytes);
  return wrong.empty() ? CUDA_SUCCESS : entry.wrong(CUDA_ERROR_INVALID_VALUE, "device address " + hex(address) + ": " + wrong);
}

// A copy between the device and memory that is not pinned cannot be part of a graph: the driver copies that memory now.
CUresult refuse_capture(const Entry& entry, CUstream stream) {
  if (stream->capture == nullptr) return CUDA_SUCCESS;
  stream->invalidated = true;
  return entry.wrong(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "memory of the host that is not pinned, while the stream is captured");
}

CUresult check_host(const Entry& entry, CUcontext context, const void* host) {
  if (!context->memory->owns(reinterpret_cast<uint64_t>(host))) return CUDA_SUCCESS;
  return entry.wrong(CUDA_ERROR_INVALID_VALUE, "the host's side of the copy is an address of the device");
}

}  // namespace

}  // namespace langevin::simulator

using namespace langevin::simulator;

extern "C" {

CUresult CUDAAPI cuMemGetInfo(size_t* free_bytes, size_t* total) {
  const Entry entry("cuMemGetInfo");
  if (const CUresult no = entry.ready(true); no != CUDA_SUCCESS) return no;
  if (free_bytes == nullptr || total == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *free_bytes = current_context()->memory->free_bytes();
  *total = current_context()->memory->total();
  return CUDA_SUCCESS;
}

// The only pool is the device's default one; its handle is its context.
CUresult CUDAAPI cuDeviceGetDefaultMemPool(CUmemoryPool* pool, CUdevice device) {
  const Entry entry("cuDeviceGetDefaultMemPool");
  if (const CUresult no = entry.ready(false); no != CUDA_SUCCESS) return no;
  if (pool == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (device < 0 || device >= simulated("LANGEVIN_SIMULATOR_DEVICES", "1")) return CUDA_ERROR_INVALID_DEVICE;
  if (!alive(context_of(device))) return entry.wrong(CUDA_ERROR_INVALID_CONTEXT, "before the device's context was retained");
  *pool = reinterpret_cast<CUmemoryPool>(context_of(device));
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute which, void* value) {
  const Entry entry("cuMemPoolSetAttribute");
  if (const CUresult no = entry.ready(false); no != CUDA_SUCCESS) return no;
  CUcontext context = reinterpret_cast<CUcontext>(pool);
  if (!alive(context) || value == nullptr) return entry.wrong(CUDA_ERROR_INVALID_VALUE, "not a pool");
  Memory& memory = *context->memory;
  const uint64_t number = *static_cast<const cuuint64_t*>(value);
  switch (which) {
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD: memory.release_threshold = number; return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
      if (number != 0) return entry.wrong(CUDA_ERROR_INVALID_VALUE, "a high-water mark can only be set to 0");
      (which == CU_MEMPOOL_ATTR_USED_MEM_HIGH ? memory.used_high : memory.reserved_high) =
          which == CU_MEMPOOL_ATTR_USED_MEM_HIGH ? memory.used() : memory.reserved();
      return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
    case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES: return CUDA_SUCCESS;
    default: return entry.wrong(CUDA_ERROR_INVALID_VALUE, "attribute " + std::to_string(which) + " cannot be set");
  }
}

CUresult CUDAAPI cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute which, void* value) {
  const Entry entry("cuMemPoolGetAttribute");
  if (const CUresult no = entry.ready(false); no != CUDA_SUCCESS) return no;
  CUcontext context = reinterpret_cast<CUcontext>(pool);
  if (!alive(context) || value == nullptr) return entry.wrong(CUDA_ERROR_INVALID_VALUE, "not a pool");
  const Memory& memory = *context->memory;
  cuuint64_t& number = *static_cast<cuuint64_t*>(value);
  switch (which) {
    case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD: number = memory.release_threshold; return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_USED_MEM_CURRENT: number = memory.used(); return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_USED_MEM_HIGH: number = memory.used_high; return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT: number = memory.reserved(); return CUDA_SUCCESS;
    case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH: number = memory.reserved_high; return CUDA_SUCCESS;
    default: return entry.wrong(CUDA_ERROR_INVALID_VALUE, "the simulator does not know attribute " + std::to_string(which));
  }
}

CUresult CUDAAPI cuMemPoolTrimTo(CUmemoryPool pool, size_t keep) {
  const Entry entry("cuMemPoolTrimTo");
  if (const CUresult no = entry.ready(false); no != CUDA_SUCCESS) return no;
  CUcontext context = reinterpret_cast<CUcontext>(pool);
  if (!alive(context)) return entry.wrong(CUDA_ERROR_INVALID_VALUE, "not a pool");
  context->memory->trim(keep);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemAllocAsync(CUdeviceptr* address, size_t bytes, CUstream stream) {
  const Entry entry("cuMemAllocAsync");
  if (const CUresult no = entry.ready(&stream); no != CUDA_SUCCESS) return no;
  if (address == nullptr || bytes == 0) return entry.wrong(CUDA_ERROR_INVALID_VALUE, "0 bytes, or nowhere to put the address");
  if (stream->capture != nullptr) {
    stream->invalidated = true;
    return entry.wrong(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the stream is captured (the memory would be the graph's)");
  }
  *address = stream->context->memory->allocate(bytes);
  if (*address == 0) {
    // What was freed in the stream is free when the stream has come there.
    if (const CUresult bad = drain(stream->context); bad != CUDA_SUCCESS) return bad;
    *address = stream->context->memory->allocate(bytes);
  }
  ++counts().allocations;
  return *address == 0 ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemFreeAsync(CUdeviceptr address, CUstream stream) {
  const Entry entry("cuMemFreeAsync");
  if (const CUresult no = entry.ready(&stream); no != CUDA_SUCCESS) return no;
  CUcontext context = stream->context;
  if (stream->capture == nullptr && !context->memory->begin_release(address)) {
    return entry.wrong(CUDA_ERROR_INVALID_VALUE, hex(address) + " is freed already, or is not the start of an allocation");
  }
  return enqueue(stream, {"cuMemFreeAsync", [context, address] {
                            const std::string written = context->memory->check_guards(address);
                            if (!written.empty()) throw Fault{CUDA_ERROR_ILLEGAL_ADDRESS, "some work " + written};
                            context->memory->release(address);
                          }, true});
}

CUresult CUDAAPI cuMemAllocHost(void** memory, size_t bytes) {
  const Entry entry("cuMemAllocHost");
  if (const CUresult no = entry.ready(true); no != CUDA_SUCCESS) return no;
  if (memory == nullptr || bytes == 0) return entry.wrong(CUDA_ERROR_INVALID_VALUE, "0 bytes, or nowhere to put the address");
  if (const CUresult no = not_while_capturing(current_context(), "cuMemAllocHost"); no != CUDA_SUCCESS) return no;
  *memory = std::malloc(bytes);
  if (*memory == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  std::memset(*memory, 0xCD, bytes);
  pinned()[reinterpret_cast<uint64_t>(*memory)] = bytes;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemFreeHost(void* memory) {
  const Entry entry("cuMemFreeHost");
  if (const CUresult no = entry.ready(true); no != CUDA_SUCCESS) return no;
  const auto found = pinned().find(reinterpret_cast<uint64_t>(memory));
  if (found == pinned().end()) return entry.wrong(CUDA_ERROR_INVALID_VALUE, "not pinned memory, or freed before");
  if (const CUresult no = not_while_capturing(current_context(), "cuMemFreeHost"); no != CUDA_SUCCESS) return no;
  const CUresult result = drain(current_context());  // it waits
  pinned().erase(found);
  std::free(memory);
  return result;
}

CUresult CUDAAPI cuMemcpyHtoDAsync(CUdeviceptr to, const void* from, size_t bytes, CUstream stream) {
  const Entry entry("cuMemcpyHtoDAsync");
  if (const CUresult no = entry.ready(&stream); no != CUDA_SUCCESS) return no;
  if (bytes == 0) return CUDA_SUCCESS;
  CUcontext context = stream->context;
  if (const CUresult no = check_device(entry, context, to, bytes); no != CUDA_SUCCESS) return no;
  if (const CUresult no = check_host(entry, context, from); no != CUDA_SUCCESS) return no;
  std::vector<unsigned char> staged;
  if (!is_pinned(from, bytes)) {
    if (const CUresult no = refuse_capture(entry, stream); no != CUDA_SUCCESS) return no;
    staged.assign(static_cast<const unsigned char*>(from), static_cast<const unsigned char*>(from) + bytes);
  }
  ++counts().copies_to_device;
  return enqueue(stream, {"a copy to the device", [context, to, from, bytes, staged = std::move(staged)] {
                            std::memcpy(use(*context->memory, to, bytes, "a copy to"), staged.empty() ? from : staged.data(), bytes);
                          }});
}

CUresult CUDAAPI cuMemcpyDtoHAsync(void* to, CUdeviceptr from, size_t bytes, CUstream stream) {
  const Entry entry("cuMemcpyDtoHAsync");
  if (const CUresult no = entry.ready(&stream); no != CUDA_SUCCESS) return no;
  if (bytes == 0) return CUDA_SUCCESS;
  CUcontext context = stream->context;
  if (const CUresult no = check_device(entry, context, from, bytes); no != CUDA_SUCCESS) return no;
  if (const CUresult no = check_host(entry, context, to); no != CUDA_SUCCESS) return no;
  const bool waits = !is_pinned(to, bytes);
  if (waits) {
    if (const CUresult no = refuse_capture(entry, stream); no != CUDA_SUCCESS) return no;
  }
  ++counts().copies_to_host;
  const CUresult result = enqueue(stream, {"a copy to the host", [context, to, from, bytes] {
                                             std::memcpy(to, use(*context->memory, from, bytes, "a copy from"), bytes);
                                           }});
  return waits && result == CUDA_SUCCESS ? drain(stream) : result;
}

CUresult CUDAAPI cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  const Entry entry("cuMemcpyDtoDAsync");
  if (const CUresult no = entry.ready(&stream); no != CUDA_SUCCESS) return no;
  if (bytes == 0) return CUDA_SUCCESS;
  CUcontext context = stream->context;
  if (const CUresult no = check_device(entry, context, to, bytes); no != CUDA_SUCCESS) return no;
  if (const CUresult no = check_device(entry, context, from, bytes); no != CUDA_SUCCESS) return no;
  if (to < from + bytes && from < to + bytes) return entry.wrong(CUDA_ERROR_INVALID_VALUE, "the two sides overlap");
  return enqueue(stream, {"a copy on the device", [context, to, from, bytes] {
                            std::memcpy(use(*context->memory, to, bytes, "a copy to"), use(*context->memory, from, bytes, "a copy from"), bytes);
                          }});
}

CUresult CUDAAPI cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream stream) {
  const Entry entry("cuMemsetD8Async");
  if (const CUresult no = entry.ready(&stream); no != CUDA_SUCCESS) return no;
  if (bytes == 0) return CUDA_SUCCESS;
  CUcontext context = stream->context;
  if (const CUresult no = check_device(entry, context, to, bytes); no != CUDA_SUCCESS) return no;
  return enqueue(stream, {"a fill", [context, to, value, bytes] { std::memset(use(*context->memory, to, bytes, "a fill of"), value, bytes); }});
}

}  // extern "C"
