// Rounds of a plan in one kernel: the launch of what chain_code.cc wrote. LANGEVIN_CUDA_CHAINS=0 has everything run step by step instead.
#include <algorithm>

#include "cuda/backend.h"
#include "cuda/chain_code.h"
#include "cuda/launch.h"

namespace langevin {

namespace {

constexpr size_t kMostPointers = 448;  // a kernel's arguments are at most 4 KiB on older drivers
constexpr size_t kPlainShared = 48 << 10;  // bytes that need no asking

class CudaChain final : public RepeatedPlan {
 public:
  CudaChain(CudaBackend& backend, CudaDevice& device, const ChainPlan& plan, ChainCode code)
      : backend_(backend), device_(device), code_(std::move(code)), shared_(plan.shared),
        blocks_(static_cast<unsigned>((plan.rows + plan.tile - 1) / plan.tile)) {}
  ~CudaChain() override { backend_.release(scratch_, code_.scratch); }

  void prepare() override {
    if (function_ != nullptr) return;
    if (scratch_ == nullptr) scratch_ = backend_.allocate(code_.scratch);
    device_.use();
    device_.add_source(code_.name, code_.text);
    device_.compile_sources();
    const CUfunction function = device_.source_kernel(code_.name);
    if (shared_ > kPlainShared) {
      const int bytes = static_cast<int>(shared_);
      check_cuda(driver().cuFuncSetAttribute_(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, bytes), "asking for shared memory");
    }
    function_ = function;
  }

  void run(const std::vector<void*>& memory, uint64_t rounds) override {
    device_.use();
    Arguments args;
    args.rounds = static_cast<int64_t>(rounds);
    std::copy(memory.begin(), memory.end(), args.at);
    args.at[memory.size()] = scratch_;
    // The driver reads as much of it as the kernel declares.
    launch(device_, function_, Extent{blocks_}, Extent{kChainThreads}, shared_, args);
    for (const ChainCode::Left& left : code_.left) {
      backend_.copy(memory[static_cast<size_t>(left.input)], static_cast<char*>(scratch_) + left.offset, left.bytes);
    }
  }

  uint64_t kernels() const override { return 1 + code_.left.size(); }

 private:
  struct Arguments {
    int64_t rounds;
    void* at[kMostPointers];
  };

  CudaBackend& backend_;
  CudaDevice& device_;
  const ChainCode code_;
  const size_t shared_;
  const unsigned blocks_;
  void* scratch_ = nullptr;
  CUfunction function_ = nullptr;
};

}  // namespace

std::unique_ptr<RepeatedPlan> CudaBackend::make_repeated(const DecodedPlan& plan, const std::vector<int>& carried) {
  if (!repeats_ || plan.inputs.size() + plan.constants.size() >= kMostPointers) return nullptr;
  const std::unique_ptr<ChainPlan> chain = chain_plan(plan, carried, {device_.shared_per_block(), device_.multiprocessors()});
  if (!chain) return nullptr;
  return std::make_unique<CudaChain>(*this, device_, *chain, chain_code(plan, *chain));
}

}  // namespace langevin
