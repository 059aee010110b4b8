// See libraries.h. Each library is one row of kLibraries; the messages are made of it.
#include "cuda/libraries.h"

#include <cstdlib>
#include <new>
#include <vector>

#include "cuda/driver.h"
#include "runtime/cuda_probe.h"
#include "runtime/errors.h"

namespace langevin {

namespace {

#define LANGEVIN_TEXT(name) #name
#define LANGEVIN_SYMBOL(name) LANGEVIN_TEXT(name)

enum Kind { kNvrtc, kCublasLt, kCudnn };

struct Row {
  const char* name;   // in describe()
  const char* title;  // in messages
  const char* file;   // without its major version
  std::vector<int> majors;  // that will do, best first
  bool follows_cuda;  // the major version is CUDA's, which the driver must have
  const char* install;
};

const Row kLibraries[] = {
    {"nvrtc", "NVRTC", "libnvrtc.so.", {13, 12}, true, "pip install nvidia-cuda-nvrtc (nvidia-cuda-nvrtc-cu12 for CUDA 12) or apt-get install cuda-nvrtc-13-0"},
    {"cublasLt", "cuBLASLt", "libcublasLt.so.", {13, 12}, true, "pip install nvidia-cublas (nvidia-cublas-cu12 for CUDA 12) or apt-get install libcublas-13-0"},
    {"cudnn", "cuDNN 9", "libcudnn.so.", {9}, false, "pip install nvidia-cudnn-cu13 (nvidia-cudnn-cu12 for CUDA 12) or apt-get install cudnn9-cuda-13"},
};

// Where a CUDA installation and pip's wheels put libraries. Wheels lie under a Python's site-packages, in nvidia/cu13/lib or nvidia/<library>/lib.
std::vector<std::string> usual_folders() {
  std::vector<std::string> folders;
  const auto add = [&](const std::string& pattern) {
    for (std::string& folder : matching_folders(pattern)) folders.push_back(std::move(folder));
  };
  const auto below = [&](const char* variable, const char* const* inner, size_t n) {
    const char* value = std::getenv(variable);
    for (size_t i = 0; value != nullptr && value[0] != 0 && i < n; ++i) add(std::string(value) + inner[i]);
  };
  const char* const toolkit[] = {"/lib64", "/lib", "/targets/*-linux/lib"};
  const char* const python[] = {"/lib", "/lib/python3*/site-packages/nvidia/*/lib"};
  const char* const home[] = {"/.local/lib/python3*/site-packages/nvidia/*/lib"};
  below("CUDA_HOME", toolkit, 3);
  below("CUDA_PATH", toolkit, 3);
  below("VIRTUAL_ENV", python, 2);
  below("CONDA_PREFIX", python, 2);
  for (const char* inner : toolkit) add(std::string("/usr/local/cuda") + inner);
  below("HOME", home, 1);
  add("/usr/local/lib/python3*/*-packages/nvidia/*/lib");
  add("/usr/lib/python3*/*-packages/nvidia/*/lib");
  return folders;
}

std::string file_names(const Row& row) {
  std::string text;
  for (int major : row.majors) text += (text.empty() ? "" : " or ") + (row.file + std::to_string(major));
  return text;
}

[[noreturn]] void missing(const Row& row, const std::string& fact) {
  throw CodedError("E_DEVICE", std::string(row.title) + " " + fact + ": " + row.install + ", or set LANGEVIN_CUDA_PATH to the folder that has it");
}

Library open(const Row& row) {
  const int driver_major = probe_cuda().version / 1000;
  std::vector<std::string> names;
  std::string newest;  // that the driver is too old for
  for (int major : row.majors) {
    (row.follows_cuda && major > driver_major ? newest : names.emplace_back()) = row.file + std::to_string(major);
  }
  Library library = open_library(names, cuda_path_folders(), usual_folders());
  if (library.handle != nullptr) return library;
  if (!library.problem.empty()) missing(row, "could not be loaded (" + library.problem + ")");
  const char* path = std::getenv("LANGEVIN_CUDA_PATH");
  const std::string given = path == nullptr || path[0] == 0 ? "" : std::string(path) + ", ";
  const std::string driver_is = newest.empty() ? "" : "; the driver is for CUDA " + std::to_string(driver_major) + ", too old for " + newest;
  missing(row, "was not found (looked for " + file_names(row) + " in " + given + "the system's library path, CUDA's folders and Python's site-packages" + driver_is + ")");
}

template <class F>
struct Loaded {
  Library library;
  F functions;
  std::string version;
};

template <class Function>
void find(const Row& row, const Library& library, Function& function, const char* symbol) {
  function = reinterpret_cast<Function>(symbol_of(library, symbol));
  if (function == nullptr) missing(row, "is too old (" + library.path + " has no " + symbol + ")");
}

std::string dotted(size_t major, size_t minor, size_t patch) { return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch); }

void check_major(const Row& row, const Library& library, int major, const std::string& version) {
  for (int good : row.majors) {
    if (good == major) return;
  }
  missing(row, "has the wrong version (" + library.path + " is " + version + "; " + file_names(row) + " is needed)");
}

#define LANGEVIN_FIND(name) find(row, loaded.library, loaded.functions.name##_, LANGEVIN_SYMBOL(name));

Loaded<Nvrtc> load_nvrtc() {
  const Row& row = kLibraries[kNvrtc];
  Loaded<Nvrtc> loaded{open(row), {}, ""};
  LANGEVIN_NVRTC_FUNCTIONS(LANGEVIN_FIND)
  int major = 0, minor = 0;
  if (loaded.functions.nvrtcVersion_(&major, &minor) != NVRTC_SUCCESS) major = 0;
  loaded.version = std::to_string(major) + "." + std::to_string(minor);
  // It asks for this one by its name alone, when it first compiles; one that is loaded already serves, wherever it was found.
  open_file(loaded.library.path.substr(0, loaded.library.path.rfind('/') + 1) + "libnvrtc-builtins.so." + loaded.version);
  check_major(row, loaded.library, major, loaded.version);
  return loaded;
}

Loaded<CublasLt> load_cublas_lt() {
  const Row& row = kLibraries[kCublasLt];
  Loaded<CublasLt> loaded{open(row), {}, ""};
  LANGEVIN_CUBLASLT_FUNCTIONS(LANGEVIN_FIND)
  const size_t version = loaded.functions.cublasLtGetVersion_();
  loaded.version = dotted(version / 10000, version / 100 % 100, version % 100);
  check_major(row, loaded.library, static_cast<int>(version / 10000), loaded.version);
  return loaded;
}

Loaded<Cudnn> load_cudnn() {
  const Row& row = kLibraries[kCudnn];
  Loaded<Cudnn> loaded{open(row), {}, ""};
  LANGEVIN_CUDNN_FUNCTIONS(LANGEVIN_FIND)
  const size_t version = loaded.functions.cudnnGetVersion_();
  loaded.version = dotted(version / 10000, version / 100 % 100, version % 100);
  check_major(row, loaded.library, static_cast<int>(version / 10000), loaded.version);
  return loaded;
}
#undef LANGEVIN_FIND

// A failure is thrown at every call.
const Loaded<Nvrtc>& loaded_nvrtc() {
  static const Loaded<Nvrtc> loaded = load_nvrtc();
  return loaded;
}
const Loaded<CublasLt>& loaded_cublas_lt() {
  static const Loaded<CublasLt> loaded = load_cublas_lt();
  return loaded;
}
const Loaded<Cudnn>& loaded_cudnn() {
  static const Loaded<Cudnn> loaded = [] {
    // cuDNN asks for cuBLASLt by its name alone, as NVRTC does above.
    try {
      loaded_cublas_lt();
    } catch (const CodedError&) {
      // Then cuDNN itself says what it misses.
    }
    return load_cudnn();
  }();
  return loaded;
}

template <class F>
LibraryFound describe(const Row& row, const Loaded<F>& (*load)()) {
  LibraryFound found{row.name, "", "", ""};
  try {
    const Loaded<F>& loaded = load();
    found.version = loaded.version;
    found.path = loaded.library.path;
  } catch (const CodedError& error) {
    found.missing = error.what();
  }
  return found;
}

[[noreturn]] void fail(const char* what, const char* text) { throw CodedError("E_DEVICE", std::string(what) + ": " + (text == nullptr ? "unknown error" : text)); }

}  // namespace

const Nvrtc& nvrtc() { return loaded_nvrtc().functions; }
const CublasLt& cublas_lt() { return loaded_cublas_lt().functions; }
const Cudnn& cudnn() { return loaded_cudnn().functions; }

LibraryFound find_library(int kind) {
  switch (kind) {
    case kNvrtc: return describe(kLibraries[kNvrtc], loaded_nvrtc);
    case kCublasLt: return describe(kLibraries[kCublasLt], loaded_cublas_lt);
    default: return describe(kLibraries[kCudnn], loaded_cudnn);
  }
}

void check_nvrtc(nvrtcResult result, const char* what) {
  if (result != NVRTC_SUCCESS) fail(what, nvrtc().nvrtcGetErrorString_(result));
}

void check_cublas(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_ALLOC_FAILED) throw std::bad_alloc();
  if (status != CUBLAS_STATUS_SUCCESS) fail(what, cublas_lt().cublasLtGetStatusString_(status));
}

void check_cudnn(cudnnStatus_t status, const char* what) {
  if (status == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED || status == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED) throw std::bad_alloc();
  if (status != CUDNN_STATUS_SUCCESS) fail(what, cudnn().cudnnGetErrorString_(status));
}

}  // namespace langevin
