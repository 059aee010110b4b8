// The kernels that are made of source text by NVRTC (device.h). What was added since the last time is compiled in programs of some twenty kernels
// each, at the same time on several threads: a program has a cost of its own (the headers), and one large one would keep a single core busy.
#include <algorithm>
#include <atomic>
#include <exception>
#include <system_error>
#include <thread>

#include "cuda/code_cache.h"
#include "cuda/device_modules.h"
#include "cuda/embedded.h"
#include "cuda/libraries.h"
#include "runtime/errors.h"

namespace langevin {

namespace {

constexpr size_t kKernelsPerProgram = 20;
constexpr size_t kMostThreads = 8;

struct Program {
  std::vector<std::string> names;
  std::string text = "#include \"cuda/kernels/device.cuh\"\n";
  std::string code;  // CUBIN
  bool cached = false;
  std::exception_ptr failure;
};

struct NvrtcProgram {
  nvrtcProgram handle = nullptr;
  ~NvrtcProgram() {
    if (handle != nullptr) nvrtc().nvrtcDestroyProgram_(&handle);
  }
};

std::string log_of(nvrtcProgram program) {
  size_t bytes = 0;
  if (nvrtc().nvrtcGetProgramLogSize_(program, &bytes) != NVRTC_SUCCESS || bytes <= 1) return "no message";
  std::string log(bytes, 0);
  if (nvrtc().nvrtcGetProgramLog_(program, &log[0]) != NVRTC_SUCCESS) return "no message";
  log.resize(std::min<size_t>(log.find('\0'), 2000));
  return log;
}

std::string compiled(const std::string& text, const std::string& architecture) {
  std::vector<const char*> headers, names;
  for (int i = 0; i < kEmbeddedHeadersCount; ++i) {
    headers.push_back(kEmbeddedHeaders[i].data);
    names.push_back(kEmbeddedHeaders[i].name);
  }
  NvrtcProgram program;
  check_nvrtc(nvrtc().nvrtcCreateProgram_(&program.handle, text.c_str(), "langevin.cu", kEmbeddedHeadersCount, headers.data(), names.data()), "compiling kernels");
  const char* options[] = {architecture.c_str(), "--std=c++17", "--disable-warnings"};
  const nvrtcResult result = nvrtc().nvrtcCompileProgram_(program.handle, 3, options);
  if (result == NVRTC_ERROR_INVALID_OPTION) {
    throw CodedError("E_DEVICE", "NVRTC does not know this GPU (" + architecture + "): " + log_of(program.handle) + "; install a newer NVRTC");
  }
  if (result != NVRTC_SUCCESS) throw CodedError("E_INTERNAL", "internal: NVRTC refuses a kernel: " + log_of(program.handle));
  size_t bytes = 0;
  check_nvrtc(nvrtc().nvrtcGetCUBINSize_(program.handle, &bytes), "compiling kernels");
  std::string code(bytes, 0);
  check_nvrtc(nvrtc().nvrtcGetCUBIN_(program.handle, &code[0]), "compiling kernels");
  return code;
}

// All that code depends on beside its text. The library's path is part of it because a simulator may stand for NVRTC.
std::string circumstances_of(const std::string& architecture) {
  const LibraryFound library = find_library(0);
  std::string text = library.version + " " + library.path + " " + architecture + "\n";
  for (int i = 0; i < kEmbeddedHeadersCount; ++i) text += kEmbeddedHeaders[i].data;
  return text;
}

void make_code(Program& program, const std::string& architecture, const std::string& circumstances, bool from_cache) {
  const std::string key = content_hash(circumstances + program.text);
  program.code = from_cache ? read_cached_code(key) : "";
  program.cached = !program.code.empty();
  if (program.cached) return;
  program.code = compiled(program.text, architecture);
  write_cached_code(key, program.code);
}

void make_all(std::vector<Program>& programs, const std::string& architecture, const std::string& circumstances) {
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t p = next++; p < programs.size(); p = next++) {
      try {
        make_code(programs[p], architecture, circumstances, true);
      } catch (...) {
        programs[p].failure = std::current_exception();
      }
    }
  };
  std::vector<std::thread> helpers;
  const size_t threads = std::min({programs.size(), kMostThreads, std::max<size_t>(std::thread::hardware_concurrency(), 1)});
  try {
    while (helpers.size() + 1 < threads) helpers.emplace_back(work);
  } catch (const std::system_error&) {
    // Fewer threads, then.
  }
  work();
  for (std::thread& helper : helpers) helper.join();
  for (const Program& program : programs) {
    if (program.failure) std::rethrow_exception(program.failure);
  }
}

}  // namespace

void CudaDevice::add_source(const std::string& name, const std::string& text) {
  std::lock_guard<std::recursive_mutex> lock(modules_->mutex);
  if (modules_->source_kernels.count(name) > 0) return;
  for (const auto& pending : modules_->pending) {
    if (pending.first == name) return;
  }
  modules_->pending.emplace_back(name, text);
}

void CudaDevice::compile_sources() {
  std::lock_guard<std::recursive_mutex> lock(modules_->mutex);
  if (modules_->pending.empty()) return;
  // Taken out first: a text that cannot be compiled must not hinder later plans.
  const auto sources = std::move(modules_->pending);
  modules_->pending.clear();
  nvrtc();  // a missing library is told before threads are started
  std::vector<Program> programs;
  for (const auto& source : sources) {
    if (programs.empty() || programs.back().names.size() == kKernelsPerProgram) programs.emplace_back();
    programs.back().names.push_back(source.first);
    programs.back().text += source.second + "\n";
  }
  const std::string architecture = "--gpu-architecture=sm_" + std::to_string(capability_), circumstances = circumstances_of(architecture);
  make_all(programs, architecture, circumstances);
  use();
  for (Program& program : programs) {
    CUmodule module = nullptr;
    CUresult result = driver().cuModuleLoadData_(&module, program.code.data());
    if (result != CUDA_SUCCESS && program.cached) {
      make_code(program, architecture, circumstances, false);
      result = driver().cuModuleLoadData_(&module, program.code.data());
    }
    check_cuda(result, "loading compiled kernels");
    modules_->sources.push_back(module);
    for (const std::string& name : program.names) {
      CUfunction function = nullptr;
      check_cuda(driver().cuModuleGetFunction_(&function, module, name.c_str()), "finding a compiled kernel");
      modules_->source_kernels[name] = function;
    }
  }
}

CUfunction CudaDevice::source_kernel(const std::string& name) {
  std::lock_guard<std::recursive_mutex> lock(modules_->mutex);
  const auto found = modules_->source_kernels.find(name);
  if (found != modules_->source_kernels.end()) return found->second;
  // A text may hold further kernels beside the one by whose name it goes.
  use();
  for (CUmodule module : modules_->sources) {
    CUfunction function = nullptr;
    if (driver().cuModuleGetFunction_(&function, module, name.c_str()) == CUDA_SUCCESS) return modules_->source_kernels[name] = function;
  }
  throw CodedError("E_INTERNAL", "internal: the kernel " + name + " was not compiled");
}

}  // namespace langevin
