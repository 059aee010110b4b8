// Devices, contexts, streams and events. LANGEVIN_SIMULATOR_DEVICES (1), _CAPABILITY (90), _MEMORY (bytes a device, 8 GiB), _MULTIPROCESSORS (8),
// _DRIVER (13000: the driver's version).
#include <chrono>
#include <cstring>

#include "cuda/simulator/entry.h"

namespace langevin::simulator {

namespace {

std::vector<std::unique_ptr<CUctx_st>>& contexts() {
  static auto* all = new std::vector<std::unique_ptr<CUctx_st>>;
  return *all;
}

bool initialised = false;
thread_local CUcontext thread_context = nullptr;

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

int simulated(const char* name, const char* otherwise) { return std::atoi(setting(name, otherwise).c_str()); }

CUcontext current_context() { return thread_context; }

CUresult Entry::ready(bool context) const {
  if (!initialised) return misuse(CUDA_ERROR_NOT_INITIALIZED, std::string(name_) + " before cuInit");
  if (!context) return CUDA_SUCCESS;
  if (thread_context == nullptr) return misuse(CUDA_ERROR_INVALID_CONTEXT, std::string(name_) + " on a thread without a context (cuCtxSetCurrent)");
  return thread_context->error;
}

CUresult Entry::ready(CUstream* stream) const {
  if (const CUresult no = ready(true); no != CUDA_SUCCESS) return no;
  if (*stream == nullptr) *stream = thread_context->streams[0];
  if (!alive(*stream)) return misuse(CUDA_ERROR_INVALID_HANDLE, std::string(name_) + ": not a stream, or one that was destroyed");
  if ((*stream)->context != thread_context) {
    return misuse(CUDA_ERROR_INVALID_HANDLE, std::string(name_) + ": the stream is of another device than the thread's context");
  }
  return CUDA_SUCCESS;
}

CUresult Entry::wrong(CUresult code, const std::string& text) const { return misuse(code, std::string(name_) + ": " + text); }

CUcontext context_of(int device) { return contexts()[static_cast<size_t>(device)].get(); }

CUresult not_while_capturing(CUcontext context, const char* what) {
  for (CUstream stream : context->streams) {
    if (stream->capture == nullptr || stream->mode == CU_STREAM_CAPTURE_MODE_RELAXED) continue;
    if (stream->mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL && stream->capturing_thread != thread_id()) continue;
    stream->invalidated = true;
    return misuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, std::string(what) + " while a stream is captured");
  }
  return CUDA_SUCCESS;
}

CUresult enqueue(CUstream stream, Work work) {
  static const bool immediate = setting("LANGEVIN_SIMULATOR_QUEUE", "deferred") == "immediate";
  CUcontext context = stream->context;
  if (stream->capture != nullptr) {
    if (stream->invalidated) return misuse(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, work.name + " in a capture that was invalidated before");
    if (work.frees_memory) {
      stream->invalidated = true;
      return misuse(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, work.name + " while the stream is captured");
    }
    stream->capture->nodes.push_back(std::move(work));
    return CUDA_SUCCESS;
  }
  if (stream == context->streams[0]) {
    // The default stream waits for all the others, which may not be while one is captured.
    for (CUstream other : context->streams) {
      if (other->capture != nullptr) {
        other->invalidated = true;
        return misuse(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, work.name + " in the default stream while another stream is captured");
      }
      if (other == stream) continue;
      if (const CUresult bad = drain(other); bad != CUDA_SUCCESS) return bad;
    }
  }
  stream->queue.push_back(std::move(work));
  constexpr size_t kWaiting = 256;
  return immediate || stream == context->streams[0] || stream->queue.size() >= kWaiting ? drain(stream) : CUDA_SUCCESS;
}

CUresult drain(CUstream stream) {
  CUcontext context = stream->context;
  std::vector<Work> queue;
  queue.swap(stream->queue);
  for (const Work& work : queue) {
    if (context->error != CUDA_SUCCESS) break;
    try {
      work.run();
    } catch (const Fault& fault) {
      context->error = misuse(fault.code, fault.text);
    }
  }
  return context->error;
}

CUresult drain(CUcontext context) {
  for (CUstream stream : context->streams) {
    if (const CUresult bad = drain(stream); bad != CUDA_SUCCESS) return bad;
  }
  return check_guards(context);
}

CUresult check_guards(CUcontext context) {
  const std::string written = context->memory->check_all_guards();
  if (!written.empty() && context->error == CUDA_SUCCESS) context->error = misuse(CUDA_ERROR_ILLEGAL_ADDRESS, "some work " + written);
  return context->error;
}

}  // namespace langevin::simulator

using namespace langevin::simulator;

extern "C" {

CUresult CUDAAPI cuInit(unsigned int flags) {
  const Entry entry("cuInit");
  if (flags != 0) return entry.wrong(CUDA_ERROR_INVALID_VALUE, "flags are not 0");
  const int devices = simulated("LANGEVIN_SIMULATOR_DEVICES", "1");
  if (devices <= 0) return CUDA_ERROR_NO_DEVICE;
  for (int device = static_cast<int>(contexts().size()); device < devices; ++device) {
    auto context = std::make_unique<CUctx_st>();
    context->device = device;
    contexts().push_back(std::move(context));
  }
  initialised = true;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDriverGetVersion(int* version) {
  if (version == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *version = simulated("LANGEVIN_SIMULATOR_DRIVER", "13000");
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  const Entry entry("cuDevicePrimaryCtxRetain");
  if (const CUresult no = entry.ready(false); no != CUDA_SUCCESS) return no;
  if (context == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (device < 0 || static_cast<size_t>(device) >= contexts().size()) return entry.wrong(CUDA_ERROR_INVALID_DEVICE, "no such device");
  CUcontext found = context_of(device);
  if (found->retained++ == 0) {
    found->memory = std::make_unique<Memory>(std::stoull(setting("LANGEVIN_SIMULATOR_MEMORY", "8589934592")));
    found->streams.push_back(made(new CUstream_st));
    found->streams[0]->context = found;
    made(found);
  }
  *context = found;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxSetCurrent(CUcontext context) {
  const Entry entry("cuCtxSetCurrent");
  if (const CUresult no = entry.ready(false); no != CUDA_SUCCESS) return no;
  if (context != nullptr && !alive(context)) return entry.wrong(CUDA_ERROR_INVALID_CONTEXT, "not a context");
  thread_context = context;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxGetCurrent(CUcontext* context) {
  const Entry entry("cuCtxGetCurrent");
  if (const CUresult no = entry.ready(false); no != CUDA_SUCCESS) return no;
  if (context == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *context = thread_context;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamCreate(CUstream* stream, unsigned int flags) {
  const Entry entry("cuStreamCreate");
  if (const CUresult no = entry.ready(true); no != CUDA_SUCCESS) return no;
  if (stream == nullptr || (flags & ~static_cast<unsigned>(CU_STREAM_NON_BLOCKING)) != 0) return entry.wrong(CUDA_ERROR_INVALID_VALUE, "arguments");
  *stream = made(new CUstream_st);
  (*stream)->context = thread_context;
  thread_context->streams.push_back(*stream);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamSynchronize(CUstream stream) {
  const Entry entry("cuStreamSynchronize");
  if (const CUresult no = entry.ready(&stream); no != CUDA_SUCCESS) return no;
  if (stream->capture != nullptr) {
    stream->invalidated = true;
    return entry.wrong(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the stream is captured");
  }
  ++counts().synchronizes;
  CUresult result = drain(stream);
  if (result == CUDA_SUCCESS) result = check_guards(thread_context);
  Memory& memory = *thread_context->memory;
  if (memory.reserved() > memory.release_threshold) memory.trim(memory.release_threshold);
  write_counts();
  return result;
}

CUresult CUDAAPI cuEventCreate(CUevent* event, unsigned int flags) {
  const Entry entry("cuEventCreate");
  if (const CUresult no = entry.ready(true); no != CUDA_SUCCESS) return no;
  if (event == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *event = made(new CUevent_st);
  (*event)->context = thread_context;
  (*event)->timing = (flags & CU_EVENT_DISABLE_TIMING) == 0;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuEventRecord(CUevent event, CUstream stream) {
  const Entry entry("cuEventRecord");
  if (const CUresult no = entry.ready(&stream); no != CUDA_SUCCESS) return no;
  if (!alive(event) || event->context != stream->context) return entry.wrong(CUDA_ERROR_INVALID_HANDLE, "not an event of this device");
  event->state = std::make_shared<CUevent_st::State>();
  event->state->recorded = stream->capture == nullptr;
  return enqueue(stream, {"an event", [state = event->state] {
                            state->done = true;
                            state->seconds = now();
                          }});
}

CUresult CUDAAPI cuEventSynchronize(CUevent event) {
  const Entry entry("cuEventSynchronize");
  if (const CUresult no = entry.ready(true); no != CUDA_SUCCESS) return no;
  if (!alive(event)) return entry.wrong(CUDA_ERROR_INVALID_HANDLE, "not an event");
  if (const CUresult no = not_while_capturing(event->context, "cuEventSynchronize"); no != CUDA_SUCCESS) return no;
  return event->state->recorded && !event->state->done ? drain(event->context) : CUDA_SUCCESS;
}

CUresult CUDAAPI cuEventElapsedTime(float* milliseconds, CUevent start, CUevent end) {
  const Entry entry("cuEventElapsedTime");
  if (const CUresult no = entry.ready(true); no != CUDA_SUCCESS) return no;
  if (milliseconds == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (!alive(start) || !alive(end) || !start->timing || !end->timing || !start->state->recorded || !end->state->recorded) {
    return entry.wrong(CUDA_ERROR_INVALID_HANDLE, "an event that was not recorded, or without timing");
  }
  if (!start->state->done || !end->state->done) return CUDA_ERROR_NOT_READY;
  *milliseconds = static_cast<float>((end->state->seconds - start->state->seconds) * 1e3);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuEventDestroy(CUevent event) {
  const Entry entry("cuEventDestroy");
  if (const CUresult no = entry.ready(true); no != CUDA_SUCCESS) return no;
  if (!alive(event)) return entry.wrong(CUDA_ERROR_INVALID_HANDLE, "not an event, or destroyed before");
  destroy(event);
  return CUDA_SUCCESS;
}

}  // extern "C"
