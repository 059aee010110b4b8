// How the simulator says what was misused, its counts, and the driver's names of errors.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "cuda/simulator/simulator.h"

namespace langevin::simulator {

namespace {

struct Named {
  CUresult code;
  const char *name, *text;
};
#define LANGEVIN_NAMED(name, text) {name, #name, text}
constexpr Named kErrors[] = {
    LANGEVIN_NAMED(CUDA_SUCCESS, "no error"),
    LANGEVIN_NAMED(CUDA_ERROR_INVALID_VALUE, "invalid argument"),
    LANGEVIN_NAMED(CUDA_ERROR_OUT_OF_MEMORY, "out of memory"),
    LANGEVIN_NAMED(CUDA_ERROR_NOT_INITIALIZED, "initialization error"),
    LANGEVIN_NAMED(CUDA_ERROR_DEINITIALIZED, "driver shutting down"),
    LANGEVIN_NAMED(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected"),
    LANGEVIN_NAMED(CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"),
    LANGEVIN_NAMED(CUDA_ERROR_INVALID_IMAGE, "device kernel image is invalid"),
    LANGEVIN_NAMED(CUDA_ERROR_INVALID_CONTEXT, "invalid device context"),
    LANGEVIN_NAMED(CUDA_ERROR_NO_BINARY_FOR_GPU, "no kernel image is available for execution on the device"),
    LANGEVIN_NAMED(CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"),
    LANGEVIN_NAMED(CUDA_ERROR_NOT_FOUND, "named symbol not found"),
    LANGEVIN_NAMED(CUDA_ERROR_NOT_READY, "device not ready"),
    LANGEVIN_NAMED(CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered"),
    LANGEVIN_NAMED(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "too many resources requested for launch"),
    LANGEVIN_NAMED(CUDA_ERROR_MISALIGNED_ADDRESS, "misaligned address"),
    LANGEVIN_NAMED(CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure"),
    LANGEVIN_NAMED(CUDA_ERROR_NOT_SUPPORTED, "operation not supported"),
    LANGEVIN_NAMED(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "operation not permitted when stream is capturing"),
    LANGEVIN_NAMED(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "operation failed due to a previous error during capture"),
    LANGEVIN_NAMED(CUDA_ERROR_STREAM_CAPTURE_UNMATCHED, "capture was not initiated in this stream"),
    LANGEVIN_NAMED(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, "operation would make the legacy stream depend on a capturing blocking stream"),
    LANGEVIN_NAMED(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, "attempt to terminate a thread-local capture sequence from another thread"),
    LANGEVIN_NAMED(CUDA_ERROR_ILLEGAL_STATE, "the operation cannot be performed in the present state"),
    LANGEVIN_NAMED(CUDA_ERROR_UNKNOWN, "unknown error"),
};

CUresult last_code = CUDA_SUCCESS;
std::string last_text;

const Named* find(CUresult code) {
  for (const Named& entry : kErrors) {
    if (entry.code == code) return &entry;
  }
  return nullptr;
}

}  // namespace

std::recursive_mutex& lock() {
  static auto* mutex = new std::recursive_mutex;
  return *mutex;
}

std::string setting(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != 0 ? value : otherwise;
}

void say(const std::string& text) {
  static const bool quiet = setting("LANGEVIN_SIMULATOR_QUIET", "0") == "1";
  if (!quiet) std::fprintf(stderr, "cuda simulator: %s\n", text.c_str());
}

CUresult misuse(CUresult code, const std::string& text) {
  say(text);
  last_code = code;
  last_text = text;
  return code;
}

Counts& counts() {
  static auto* all = new Counts;
  return *all;
}

void write_counts() {
  static const std::string path = setting("LANGEVIN_SIMULATOR_COUNTS", "");
  if (path.empty()) return;
  const Counts& c = counts();
  const std::string unfinished = path + "." + std::to_string(getpid());
  {
    std::ofstream out(unfinished, std::ios::trunc);
    out << "{\"launches\":" << c.launches << ",\"graphLaunches\":" << c.graph_launches << ",\"kernels\":" << c.kernels
        << ",\"libraryCalls\":" << c.library_calls << ",\"synchronizes\":" << c.synchronizes << ",\"copiesToHost\":" << c.copies_to_host
        << ",\"copiesToDevice\":" << c.copies_to_device << ",\"allocations\":" << c.allocations << ",\"compilations\":" << c.compilations
        << ",\"graphs\":" << c.graphs << "}\n";
  }
  std::rename(unfinished.c_str(), path.c_str());
}

namespace {
struct AtEnd {
  ~AtEnd() { write_counts(); }
} at_end;
}  // namespace

}  // namespace langevin::simulator

using namespace langevin::simulator;

extern "C" {

CUresult CUDAAPI cuGetErrorName(CUresult error, const char** text) {
  if (text == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const Named* found = find(error);
  *text = found == nullptr ? nullptr : found->name;
  return found == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

// As the driver's, and behind it what the simulator saw.
CUresult CUDAAPI cuGetErrorString(CUresult error, const char** text) {
  if (text == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const std::lock_guard<std::recursive_mutex> held(lock());
  const Named* found = find(error);
  *text = found == nullptr ? nullptr : found->text;
  if (found == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (error == last_code && error != CUDA_SUCCESS) {
    static thread_local std::string whole;
    whole = std::string(found->text) + " (" + last_text + ")";
    *text = whole.c_str();
  }
  return CUDA_SUCCESS;
}

}  // extern "C"
