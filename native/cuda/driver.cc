// See driver.h. What the addon asks before it loads this plugin (runtime/cuda_probe.h) is asked again here, with the version that this build needs.
#include "cuda/driver.h"

#include <new>

#include "runtime/cuda_probe.h"
#include "runtime/errors.h"

namespace langevin {

namespace {

// Two steps, so that what cuda.h renames is looked up by its new name.
#define LANGEVIN_TEXT(name) #name
#define LANGEVIN_SYMBOL(name) LANGEVIN_TEXT(name)

// Machine code runs on drivers of the major version that made it and later ones.
constexpr int kNeededVersion = CUDA_VERSION / 1000 * 1000;

template <class F>
void find(const CudaProbe& probe, F& function, const char* symbol) {
  function = reinterpret_cast<F>(symbol_of(probe.library, symbol));
  if (function != nullptr) return;
  throw CodedError("E_DEVICE", "NVIDIA's driver is too old: " + probe.library.path + ", for CUDA " + show_cuda_version(probe.version) + ", has no " + symbol +
                                   "; install a driver for CUDA " + show_cuda_version(CUDA_VERSION) + " or later");
}

Driver load() {
  const CudaProbe probe = probe_cuda();
  if (!probe.problem.empty()) throw CodedError("E_DEVICE", probe.problem);
  if (probe.version < kNeededVersion) {
    throw CodedError("E_DEVICE", "NVIDIA's driver is too old: " + probe.library.path + " is for CUDA " + show_cuda_version(probe.version) +
                                     ", this build needs " + show_cuda_version(kNeededVersion) + " or later; install a newer driver");
  }
  Driver driver;
#define LANGEVIN_FIND(name) find(probe, driver.name##_, LANGEVIN_SYMBOL(name));
  LANGEVIN_DRIVER_FUNCTIONS(LANGEVIN_FIND)
#undef LANGEVIN_FIND
  return driver;
}

// After these the context can do no more work.
bool is_lasting(CUresult result) {
  switch (result) {
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_ECC_UNCORRECTABLE: return true;
    default: return false;
  }
}

}  // namespace

const Driver& driver() {
  static const Driver functions = load();  // a failure is thrown at every call
  return functions;
}

void check_cuda(CUresult result, const char* what) {
  if (result == CUDA_SUCCESS) return;
  if (result == CUDA_ERROR_OUT_OF_MEMORY) throw std::bad_alloc();
  const char* name = nullptr;
  const char* text = nullptr;
  driver().cuGetErrorName_(result, &name);
  driver().cuGetErrorString_(result, &text);
  std::string message = std::string(what) + ": " + (name == nullptr ? "error " + std::to_string(result) : name) + (text == nullptr ? "" : std::string(": ") + text);
  if (is_lasting(result)) message += "; the GPU takes no more work from this process: start it again";
  throw CodedError("E_DEVICE", message);
}

}  // namespace langevin
