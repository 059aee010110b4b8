// cuBLASLt: descriptors, one algorithm a product, and the product itself by plain loops. What the plugin does not use is refused by name.
#pragma GCC visibility push(default)
#include <cublasLt.h>
#pragma GCC visibility pop

#include <algorithm>

#include "cuda/simulator/numbers.h"

struct cublasLtContext {
  CUcontext context = nullptr;
};

namespace langevin::simulator {

namespace {

// Handles of the library point to its own structs, which these begin with.
struct Operation : cublasLtMatmulDescOpaque_t {
  bool tf32 = false;
  int32_t transpose_a = CUBLAS_OP_N, transpose_b = CUBLAS_OP_N;
};

struct Layout : cublasLtMatrixLayoutOpaque_t {
  bool half = false;
  uint64_t rows = 0, columns = 0;
  int64_t leading = 0;
  int32_t order = CUBLASLT_ORDER_COL, batch = 1;
  int64_t stride = 0;

  bool by_rows() const { return order == CUBLASLT_ORDER_ROW; }
  int64_t row_step() const { return by_rows() ? leading : 1; }
  int64_t column_step() const { return by_rows() ? 1 : leading; }
  // Elements from the first to behind the last, of all of the batch.
  int64_t extent() const {
    const int64_t inner = static_cast<int64_t>(by_rows() ? columns : rows), outer = static_cast<int64_t>(by_rows() ? rows : columns);
    return (batch - 1) * stride + (outer - 1) * leading + inner;
  }
};

struct Preference : cublasLtMatmulPreferenceOpaque_t {
  uint64_t workspace = 0;
  uint32_t alignment[4] = {256, 256, 256, 256};
};

template <class T, class Opaque>
T* known(Opaque* handle) {
  T* found = static_cast<T*>(handle);
  return alive(found) ? found : nullptr;
}

cublasStatus_t wrong(cublasStatus_t status, const std::string& text) {
  say("cuBLASLt: " + text);
  return status;
}

struct Problem {
  const Operation* operation;
  const Layout *a, *b, *c, *d;
  int64_t m = 0, n = 0, k = 0;
};

// Why it is not a product, or "".
std::string check(Problem* p) {
  if (p->operation == nullptr || p->a == nullptr || p->b == nullptr || p->c == nullptr || p->d == nullptr) return "a descriptor that is not alive";
  const bool ta = p->operation->transpose_a != CUBLAS_OP_N, tb = p->operation->transpose_b != CUBLAS_OP_N;
  p->m = static_cast<int64_t>(ta ? p->a->columns : p->a->rows);
  p->k = static_cast<int64_t>(ta ? p->a->rows : p->a->columns);
  p->n = static_cast<int64_t>(tb ? p->b->rows : p->b->columns);
  const int64_t inner = static_cast<int64_t>(tb ? p->b->columns : p->b->rows);
  if (p->m <= 0 || p->n <= 0 || p->k <= 0) return "an empty matrix";
  if (inner != p->k) return "inner dimensions " + std::to_string(p->k) + " and " + std::to_string(inner);
  for (const Layout* result : {p->c, p->d}) {
    if (static_cast<int64_t>(result->rows) != p->m || static_cast<int64_t>(result->columns) != p->n) {
      return "a result of " + std::to_string(result->rows) + " x " + std::to_string(result->columns) + " for a product of " + std::to_string(p->m) + " x " +
             std::to_string(p->n);
    }
  }
  for (const Layout* layout : {p->a, p->b, p->c, p->d}) {
    if (layout->leading < static_cast<int64_t>(layout->by_rows() ? layout->columns : layout->rows)) return "a leading dimension below the matrix's";
    if (layout->batch != p->d->batch) return "batch counts that differ";
  }
  const int64_t one = p->d->extent() - (p->d->batch - 1) * p->d->stride;
  if (p->d->batch > 1 && p->d->stride < one) return "results of a batch that overlap";
  return "";
}

// Types and sizes that cuBLASLt has no algorithm for.
bool supported(const Problem& p) {
  const bool half = p.a->half;
  if (p.b->half != half || p.c->half != p.d->half || (p.d->half && !half)) return false;
  if (half && (p.operation->tf32 || simulated("LANGEVIN_SIMULATOR_CAPABILITY", "90") < 80)) return false;
  for (const Layout* layout : {p.a, p.b, p.c, p.d}) {
    if (layout->leading >= (int64_t{1} << 31)) return false;
  }
  return true;
}

constexpr uint64_t kAlgorithm = 0x53696d756c617465;  // marks an algorithm as ours

// An algorithm is good for the product that it was made for.
uint64_t fingerprint(const Problem& p) {
  uint64_t hash = kAlgorithm;
  const auto mix = [&](uint64_t x) { hash = (hash ^ x) * 0x9E3779B97F4A7C15u, hash ^= hash >> 29; };
  mix(static_cast<uint64_t>(p.operation->tf32)), mix(static_cast<uint64_t>(p.operation->transpose_a)), mix(static_cast<uint64_t>(p.operation->transpose_b));
  for (const Layout* l : {p.a, p.b, p.c, p.d}) {
    mix(l->rows), mix(l->columns), mix(static_cast<uint64_t>(l->leading)), mix(static_cast<uint64_t>(l->stride));
    mix(static_cast<uint64_t>(l->batch)), mix(static_cast<uint64_t>(l->order)), mix(static_cast<uint64_t>(l->half));
  }
  return hash;
}

// Some products want memory: those with long sums.
uint64_t workspace_for(const Problem& p, uint64_t most) {
  const uint64_t wanted = p.k >= 64 ? static_cast<uint64_t>(std::min<int64_t>(p.m * p.n * 8, 1 << 20)) + 1000 : 0;
  return wanted <= most ? wanted : 0;
}

// A job is a Problem with copies of what its pointers point to: descriptors may be destroyed before it runs.
struct Job {
  Operation operation;
  Layout a, b, c, d;
  int64_t m, n, k;
  float alpha, beta;
  CUdeviceptr at_a, at_b, at_c, at_d;
  const void* workspace;
  uint64_t workspace_bytes;
  CUcontext context;
};

// op(M)'s rows (or columns) as contiguous floats.
std::vector<float> gather(const Numbers& from, int64_t count, int64_t k, int64_t step, int64_t inner_step) {
  std::vector<float> to(static_cast<size_t>(count * k));
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t j = 0; j < k; ++j) to[static_cast<size_t>(i * k + j)] = from.read(i * step + j * inner_step);
  }
  return to;
}

void run_job(const Job& job) {
  const Memory& memory = *job.context->memory;
  const bool round = job.operation.tf32 && rounds_tf32();
  const auto map = [&](const Layout& layout, CUdeviceptr at, const char* name) {
    const size_t element = layout.half ? 2 : 4;
    return Numbers{use(memory, at, static_cast<size_t>(layout.extent()) * element, std::string("a product's ") + name), layout.half, round};
  };
  const Numbers a = map(job.a, job.at_a, "A"), b = map(job.b, job.at_b, "B"), d = map(job.d, job.at_d, "D");
  const Numbers c = job.beta == 0 ? d : map(job.c, job.at_c, "C");
  spoil(memory, job.workspace, job.workspace_bytes, "a product");
  const bool ta = job.operation.transpose_a != CUBLAS_OP_N, tb = job.operation.transpose_b != CUBLAS_OP_N;
  const int64_t row_of_a = ta ? job.a.column_step() : job.a.row_step(), along_a = ta ? job.a.row_step() : job.a.column_step();
  const int64_t column_of_b = tb ? job.b.row_step() : job.b.column_step(), along_b = tb ? job.b.column_step() : job.b.row_step();
  const auto shifted = [](const Numbers& from, const Layout& layout, int64_t entry) {
    return Numbers{from.data + entry * layout.stride * static_cast<int64_t>(from.bytes()), from.half, from.round};
  };
  for (int64_t entry = 0; entry < job.d.batch; ++entry) {
    const std::vector<float> rows = gather(shifted(a, job.a, entry), job.m, job.k, row_of_a, along_a);
    const std::vector<float> columns = gather(shifted(b, job.b, entry), job.n, job.k, column_of_b, along_b);
    const Numbers to = shifted(d, job.d, entry);
    Numbers added = shifted(c, job.c, entry);
    added.round = false;
    for (int64_t j = 0; j < job.n; ++j) {
      for (int64_t i = 0; i < job.m; ++i) {
        double sum = job.alpha * dot(&rows[static_cast<size_t>(i * job.k)], &columns[static_cast<size_t>(j * job.k)], job.k);
        if (job.beta != 0) sum += static_cast<double>(job.beta) * added.read(i * job.c.row_step() + j * job.c.column_step());
        to.write(i * job.d.row_step() + j * job.d.column_step(), sum);
      }
    }
  }
}

bool overlap(CUdeviceptr a, const Layout& la, CUdeviceptr d, const Layout& ld) {
  const uint64_t bytes_a = static_cast<uint64_t>(la.extent()) * (la.half ? 2 : 4), bytes_d = static_cast<uint64_t>(ld.extent()) * (ld.half ? 2 : 4);
  return a < d + bytes_d && d < a + bytes_a;
}

// Sets `to` from an attribute's bytes.
template <class T>
cublasStatus_t take(T* to, const void* from, size_t bytes) {
  if (from == nullptr || bytes != sizeof(T)) {
    return wrong(CUBLAS_STATUS_INVALID_VALUE, "an attribute of " + std::to_string(bytes) + " bytes for one of " + std::to_string(sizeof(T)));
  }
  std::memcpy(to, from, sizeof(T));
  return CUBLAS_STATUS_SUCCESS;
}

using Held = std::lock_guard<std::recursive_mutex>;

}  // namespace

}  // namespace langevin::simulator

using namespace langevin::simulator;

extern "C" {

size_t cublasLtGetVersion() { return 130101; }

const char* cublasLtGetStatusString(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED: return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
    default: return "CUBLAS_STATUS unknown";
  }
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  const Held held(lock());
  if (handle == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  if (current_context() == nullptr) return wrong(CUBLAS_STATUS_NOT_INITIALIZED, "a handle on a thread without a context");
  *handle = made(new cublasLtContext);
  (*handle)->context = current_context();
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* operation, cublasComputeType_t compute, cudaDataType_t scale) {
  const Held held(lock());
  if (operation == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  if ((compute != CUBLAS_COMPUTE_32F && compute != CUBLAS_COMPUTE_32F_FAST_TF32) || scale != CUDA_R_32F) {
    return wrong(CUBLAS_STATUS_NOT_SUPPORTED, "a compute type or scale type that the simulator does not know");
  }
  auto* fresh = new Operation;
  fresh->tf32 = compute == CUBLAS_COMPUTE_32F_FAST_TF32;
  *operation = made(fresh);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t operation) {
  const Held held(lock());
  auto* found = known<Operation>(operation);
  if (found == nullptr) return wrong(CUBLAS_STATUS_INVALID_VALUE, "destroying what is no operation");
  destroy(found);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute, const void* value, size_t bytes) {
  const Held held(lock());
  auto* found = known<Operation>(operation);
  if (found == nullptr) return wrong(CUBLAS_STATUS_INVALID_VALUE, "an attribute of what is no operation");
  int32_t given = 0;
  if (const cublasStatus_t bad = take(&given, value, bytes); bad != CUBLAS_STATUS_SUCCESS) return bad;
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
    case CUBLASLT_MATMUL_DESC_TRANSB:
      if (given != CUBLAS_OP_N && given != CUBLAS_OP_T) return wrong(CUBLAS_STATUS_INVALID_VALUE, "a transpose of " + std::to_string(given));
      (attribute == CUBLASLT_MATMUL_DESC_TRANSA ? found->transpose_a : found->transpose_b) = given;
      return CUBLAS_STATUS_SUCCESS;
    case CUBLASLT_MATMUL_DESC_POINTER_MODE:
      return given == CUBLASLT_POINTER_MODE_HOST ? CUBLAS_STATUS_SUCCESS : wrong(CUBLAS_STATUS_NOT_SUPPORTED, "scalars that are not on the host");
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      return given == CUBLASLT_EPILOGUE_DEFAULT ? CUBLAS_STATUS_SUCCESS : wrong(CUBLAS_STATUS_NOT_SUPPORTED, "an epilogue, which the simulator has not");
    default: return wrong(CUBLAS_STATUS_NOT_SUPPORTED, "attribute " + std::to_string(attribute) + " of an operation, which the simulator does not know");
  }
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type, uint64_t rows, uint64_t columns, int64_t leading) {
  const Held held(lock());
  if (layout == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  if (type != CUDA_R_32F && type != CUDA_R_16BF) return wrong(CUBLAS_STATUS_NOT_SUPPORTED, "a matrix of a type that the simulator does not know");
  auto* fresh = new Layout;
  fresh->half = type == CUDA_R_16BF;
  fresh->rows = rows;
  fresh->columns = columns;
  fresh->leading = leading;
  *layout = made(fresh);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  const Held held(lock());
  auto* found = known<Layout>(layout);
  if (found == nullptr) return wrong(CUBLAS_STATUS_INVALID_VALUE, "destroying what is no layout");
  destroy(found);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout, cublasLtMatrixLayoutAttribute_t attribute, const void* value, size_t bytes) {
  const Held held(lock());
  auto* found = known<Layout>(layout);
  if (found == nullptr) return wrong(CUBLAS_STATUS_INVALID_VALUE, "an attribute of what is no layout");
  switch (attribute) {
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT: return take(&found->batch, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET: return take(&found->stride, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ORDER: {
      const cublasStatus_t status = take(&found->order, value, bytes);
      if (status == CUBLAS_STATUS_SUCCESS && found->order != CUBLASLT_ORDER_COL && found->order != CUBLASLT_ORDER_ROW) {
        return wrong(CUBLAS_STATUS_NOT_SUPPORTED, "an order that is neither rows nor columns");
      }
      return status;
    }
    default: return wrong(CUBLAS_STATUS_NOT_SUPPORTED, "attribute " + std::to_string(attribute) + " of a layout, which the simulator does not know");
  }
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  const Held held(lock());
  if (preference == nullptr) return CUBLAS_STATUS_INVALID_VALUE;
  *preference = made(new Preference);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  const Held held(lock());
  auto* found = known<Preference>(preference);
  if (found == nullptr) return wrong(CUBLAS_STATUS_INVALID_VALUE, "destroying what is no preference");
  destroy(found);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    size_t bytes) {
  const Held held(lock());
  auto* found = known<Preference>(preference);
  if (found == nullptr) return wrong(CUBLAS_STATUS_INVALID_VALUE, "an attribute of what is no preference");
  uint32_t mask = 0;
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: return take(&found->workspace, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: return take(&mask, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES: return take(&found->alignment[0], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES: return take(&found->alignment[1], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES: return take(&found->alignment[2], value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES: return take(&found->alignment[3], value, bytes);
    default: return wrong(CUBLAS_STATUS_NOT_SUPPORTED, "attribute " + std::to_string(attribute) + " of a preference, which the simulator does not know");
  }
}

// In an algorithm: a mark, the product's fingerprint, the workspace, and the alignments as powers of two.
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t* results, int* found) {
  const Held held(lock());
  if (!alive(handle)) return wrong(CUBLAS_STATUS_NOT_INITIALIZED, "not a handle");
  const Preference* wishes = known<Preference>(preference);
  if (wishes == nullptr || requested < 1 || results == nullptr || found == nullptr) return wrong(CUBLAS_STATUS_INVALID_VALUE, "arguments of the heuristic");
  Problem p{known<Operation>(operation), known<Layout>(a), known<Layout>(b), known<Layout>(c), known<Layout>(d)};
  const std::string bad = check(&p);
  *found = 0;
  if (!bad.empty()) return wrong(CUBLAS_STATUS_INVALID_VALUE, bad);
  if (!supported(p)) return CUBLAS_STATUS_NOT_SUPPORTED;
  *found = 1;
  results[0] = {};
  results[0].state = CUBLAS_STATUS_SUCCESS;
  results[0].workspaceSize = workspace_for(p, wishes->workspace);
  results[0].wavesCount = 1;
  uint64_t alignments = 0;
  for (const uint32_t alignment : wishes->alignment) alignments = alignments << 16 | std::min<uint32_t>(alignment, 4096);
  const uint64_t words[4] = {kAlgorithm, fingerprint(p), results[0].workspaceSize, alignments};
  std::memcpy(&results[0].algo, words, sizeof words);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, const void* alpha, const void* a, cublasLtMatrixLayout_t layout_a,
                              const void* b, cublasLtMatrixLayout_t layout_b, const void* beta, const void* c, cublasLtMatrixLayout_t layout_c, void* d,
                              cublasLtMatrixLayout_t layout_d, const cublasLtMatmulAlgo_t* algorithm, void* workspace, size_t workspace_bytes,
                              cudaStream_t stream) {
  const Entry entry("cublasLtMatmul");
  if (!alive(handle)) return wrong(CUBLAS_STATUS_NOT_INITIALIZED, "not a handle");
  CUstream queue = stream;
  if (entry.ready(&queue) != CUDA_SUCCESS) return CUBLAS_STATUS_EXECUTION_FAILED;
  if (queue->context != handle->context) return wrong(CUBLAS_STATUS_INVALID_VALUE, "a handle of another device than the stream's");
  Problem p{known<Operation>(operation), known<Layout>(layout_a), known<Layout>(layout_b), known<Layout>(layout_c), known<Layout>(layout_d)};
  if (const std::string bad = check(&p); !bad.empty()) return wrong(CUBLAS_STATUS_INVALID_VALUE, bad);
  if (!supported(p)) return wrong(CUBLAS_STATUS_NOT_SUPPORTED, "a product that the heuristic would have refused");
  if (alpha == nullptr || beta == nullptr || algorithm == nullptr) return wrong(CUBLAS_STATUS_INVALID_VALUE, "no scalars, or no algorithm");
  uint64_t words[4];
  std::memcpy(words, algorithm, sizeof words);
  if (words[0] != kAlgorithm || words[1] != fingerprint(p)) return wrong(CUBLAS_STATUS_INVALID_VALUE, "an algorithm of another product");
  const void* operands[4] = {a, b, c, d};
  for (int i = 0; i < 4; ++i) {
    const uint64_t alignment = words[3] >> (48 - 16 * i) & 0xffff;
    if (alignment == 0 || reinterpret_cast<uint64_t>(operands[i]) % alignment != 0) {
      return wrong(CUBLAS_STATUS_INVALID_VALUE, std::string(1, "ABCD"[i]) + " is not aligned to " + std::to_string(alignment) + " bytes, as was promised");
    }
  }
  if (words[2] > 0 && (workspace == nullptr || workspace_bytes < words[2] || reinterpret_cast<uint64_t>(workspace) % 256 != 0)) {
    return wrong(CUBLAS_STATUS_INVALID_VALUE,
                 "a workspace of " + std::to_string(workspace_bytes) + " bytes; the algorithm wants " + std::to_string(words[2]) + ", 256-aligned");
  }
  Job job{*p.operation, *p.a, *p.b, *p.c, *p.d, p.m, p.n, p.k, *static_cast<const float*>(alpha), *static_cast<const float*>(beta),
          reinterpret_cast<CUdeviceptr>(a), reinterpret_cast<CUdeviceptr>(b), reinterpret_cast<CUdeviceptr>(c), reinterpret_cast<CUdeviceptr>(d),
          workspace, words[2], queue->context};
  if (overlap(job.at_a, job.a, job.at_d, job.d) || overlap(job.at_b, job.b, job.at_d, job.d)) {
    return wrong(CUBLAS_STATUS_INVALID_VALUE, "a result over an operand");
  }
  ++counts().library_calls;
  return enqueue(queue, {"a product", [job] { run_job(job); }}) == CUDA_SUCCESS ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_EXECUTION_FAILED;
}

}  // extern "C"
