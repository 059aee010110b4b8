// A program that misuses the simulated driver in the way its first argument names, for cuda-simulator.test.ts, and prints what each call answered.
// The second argument is the folder `native`. Prototypes are written down here, so that NVIDIA's headers are not needed.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

extern "C" {
int cuInit(unsigned);
int cuDevicePrimaryCtxRetain(void** context, int device);
int cuCtxSetCurrent(void* context);
int cuStreamCreate(void** stream, unsigned flags);
int cuStreamSynchronize(void* stream);
int cuStreamBeginCapture_v2(void* stream, int mode);
int cuStreamEndCapture(void* stream, void** graph);
int cuGraphInstantiateWithFlags(void** exec, void* graph, unsigned long long flags);
int cuGraphLaunch(void* exec, void* stream);
int cuGraphDestroy(void* graph);
int cuGraphExecDestroy(void* exec);
int cuMemAllocAsync(unsigned long long* address, size_t bytes, void* stream);
int cuMemFreeAsync(unsigned long long address, void* stream);
int cuMemAllocHost_v2(void** memory, size_t bytes);
int cuMemcpyHtoDAsync_v2(unsigned long long to, const void* from, size_t bytes, void* stream);
int cuMemcpyDtoHAsync_v2(void* to, unsigned long long from, size_t bytes, void* stream);
int cuModuleLoadData(void** module, const void* image);
int cuModuleGetFunction(void** function, void* module, const char* name);
int cuLaunchKernel(void* function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned shared, void* stream, void** parameters, void** extra);
int cuGetErrorName(int error, const char** text);
int cuGetErrorString(int error, const char** text);
int nvrtcCreateProgram(void** program, const char* text, const char* name, int headers, const char* const* texts, const char* const* names);
int nvrtcCompileProgram(void* program, int count, const char* const* options);
int nvrtcGetCUBINSize(void* program, size_t* bytes);
int nvrtcGetCUBIN(void* program, char* to);
int nvrtcGetProgramLogSize(void* program, size_t* bytes);
int nvrtcGetProgramLog(void* program, char* to);
}

namespace {

const char* const kText = R"(
#include "cuda/kernels/device.cuh"
namespace langevin {
struct Args { const float* x; float* y; int64_t n; };
LANGEVIN_KERNEL(squares, Args, args) {
  for (int64_t i = block_index() * block_size() + thread_index(); i < args.n; i += block_size() * grid_size()) args.y[i] = scalar::square(args.x[i]);
}
LANGEVIN_KERNEL(row_sums, Args, args) {
  LANGEVIN_SHARED(float, sums);
  float sum = 0;
  for (int64_t i = thread_index(); i < args.n; i += block_size()) sum += args.x[block_index() * args.n + i];
  sums[thread_index()] = sum;
  for (int64_t half = block_size() / 2; half > 0; half /= 2) {
    block_barrier();
    if (thread_index() < half) sums[thread_index()] += sums[thread_index() + half];
  }
  if (thread_index() == 0) args.y[block_index()] = sums[0];
}
LANGEVIN_KERNEL(race, Args, args) {
  LANGEVIN_SHARED(float, shared);
  shared[thread_index()] = 1;
  args.y[thread_index()] = shared[(thread_index() + 1) % block_size()];
  block_barrier();
}
LANGEVIN_KERNEL(divergent, Args, args) {
  if (thread_index() != 5) block_barrier();
  args.y[0] = 1;
}
LANGEVIN_KERNEL(beyond, Args, args) { args.y[args.n + thread_index()] = 1; }
LANGEVIN_KERNEL(just_beyond, Args, args) { args.y[args.n] = 1; }
struct alignas(16) Four { float x[4]; };
LANGEVIN_KERNEL(misaligned, Args, args) {
  const Four four = *reinterpret_cast<const Four*>(args.x + 1);
  for (int i = 0; i < 4; ++i) args.y[i] = four.x[i];
}
LANGEVIN_KERNEL(beyond_shared, Args, args) {
  LANGEVIN_SHARED(float, shared);
  shared[64] = 1;
  block_barrier();
  args.y[0] = shared[0];
}
}
)";

std::string file(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream all;
  all << in.rdbuf();
  return all.str();
}

int say(const char* what, int result) {
  const char* name = "?";
  cuGetErrorName(result, &name);
  std::printf("%s %s\n", what, name);
  return result;
}

void must(int result, const char* what) {
  if (result == 0) return;
  const char* text = "?";
  cuGetErrorString(result, &text);
  std::printf("FAILED %s %d %s\n", what, result, text);
  std::exit(1);
}

struct Args {
  unsigned long long x, y;
  int64_t n;
};

constexpr int64_t kRows = 50, kColumns = 63, kCount = kRows * kColumns;

struct Machine {
  void *stream = nullptr, *module = nullptr;
  unsigned long long x = 0, y = 0;
  std::vector<float> in = std::vector<float>(kCount), out = std::vector<float>(kCount);

  explicit Machine(const std::string& native) {
    must(cuInit(0), "cuInit");
    void* context = nullptr;
    must(cuDevicePrimaryCtxRetain(&context, 0), "context");
    must(cuCtxSetCurrent(context), "context");
    must(cuStreamCreate(&stream, 1), "stream");
    compile(native);
    must(cuMemAllocAsync(&x, kCount * 4, stream), "memory");
    must(cuMemAllocAsync(&y, kCount * 4, stream), "memory");
    for (int64_t i = 0; i < kCount; ++i) in[static_cast<size_t>(i)] = static_cast<float>(i % kColumns);
    must(cuMemcpyHtoDAsync_v2(x, in.data(), kCount * 4, stream), "copy");
  }

  void compile(const std::string& native) {
    const char* names[] = {"cuda/kernels/device.cuh", "ops/functors.h", "ops/philox.h"};
    std::vector<std::string> texts;
    for (const char* name : names) texts.push_back(file(native + "/" + name));
    const char* pointers[] = {texts[0].c_str(), texts[1].c_str(), texts[2].c_str()};
    void* program = nullptr;
    must(nvrtcCreateProgram(&program, kText, "test.cu", 3, pointers, names), "program");
    const char* options[] = {"--gpu-architecture=sm_90", "--std=c++17"};
    const int compiled = nvrtcCompileProgram(program, 2, options);
    size_t bytes = 0;
    nvrtcGetProgramLogSize(program, &bytes);
    std::string log(bytes, ' ');
    nvrtcGetProgramLog(program, log.data());
    if (compiled != 0) std::printf("%s\n", log.c_str());
    must(compiled, "compiling");
    must(nvrtcGetCUBINSize(program, &bytes), "cubin");
    std::string cubin(bytes, ' ');
    must(nvrtcGetCUBIN(program, cubin.data()), "cubin");
    must(cuModuleLoadData(&module, cubin.data()), "module");
  }

  int launch(const char* name, Args args, unsigned grid, unsigned block, unsigned shared = 0) {
    void* function = nullptr;
    must(cuModuleGetFunction(&function, module, name), name);
    void* parameters[] = {&args};
    return cuLaunchKernel(function, grid, 1, 1, block, 1, 1, shared, stream, parameters, nullptr);
  }

  const std::vector<float>& read() {
    must(cuMemcpyDtoHAsync_v2(out.data(), y, kCount * 4, stream), "reading");
    return out;
  }
};

void right(Machine& m) {
  must(m.launch("squares", {m.x, m.y, kCount}, 7, 96), "squares");
  int64_t wrong = 0;
  m.read();
  for (size_t i = 0; i < m.out.size(); ++i) wrong += m.out[i] != m.in[i] * m.in[i];
  must(m.launch("row_sums", {m.x, m.y, kColumns}, kRows, 32, 128), "row_sums");
  m.read();
  for (size_t i = 0; i < kRows; ++i) wrong += m.out[i] != kColumns * (kColumns - 1) / 2;
  std::printf("wrong %lld\n", static_cast<long long>(wrong));
}

void race(Machine& m) {
  must(m.launch("race", {m.x, m.y, 0}, 1, 64, 256), "race");
  m.read();
  int seen = 0;
  for (size_t i = 0; i < 64; ++i) seen += m.out[i] != 1;
  std::printf("seen %s\n", seen > 0 ? "yes" : "no");
}

void graph(Machine& m) {
  must(cuStreamBeginCapture_v2(m.stream, 1), "capture");
  must(m.launch("squares", {m.x, m.x, kCount}, 3, 64), "squares");
  void *captured = nullptr, *exec = nullptr;
  must(cuStreamEndCapture(m.stream, &captured), "capture");
  must(cuGraphInstantiateWithFlags(&exec, captured, 0), "graph");
  must(cuGraphDestroy(captured), "graph");
  for (int i = 0; i < 2; ++i) must(cuGraphLaunch(exec, m.stream), "graph");
  must(cuMemcpyDtoHAsync_v2(m.out.data(), m.x, kCount * 4, m.stream), "reading");
  std::printf("fourth power of 3: %g\n", static_cast<double>(m.out[3]));
  must(cuGraphExecDestroy(exec), "graph");
  say("again", cuGraphLaunch(exec, m.stream));
}

void waiting_in_capture(Machine& m) {
  must(cuStreamBeginCapture_v2(m.stream, 1), "capture");
  say("wait", cuStreamSynchronize(m.stream));
  say("launch", m.launch("squares", {m.x, m.y, kCount}, 3, 64));
  void* captured = nullptr;
  say("end", cuStreamEndCapture(m.stream, &captured));
  std::printf("graph %s\n", captured == nullptr ? "none" : "some");
}

void allocating_in_capture(Machine& m) {
  unsigned long long more = 0;
  must(cuStreamBeginCapture_v2(m.stream, 1), "capture");
  say("allocate", cuMemAllocAsync(&more, 100, m.stream));
}

// A kernel that goes wrong: the launch is fine, waiting tells, and the context stays broken.
void broken(Machine& m, const char* name, Args args, unsigned shared = 0) {
  say("launch", m.launch(name, args, 2, 64, shared));
  say("wait", cuStreamSynchronize(m.stream));
  say("later", cuStreamSynchronize(m.stream));
}

void limits(Machine& m) {
  const Args args{m.x, m.y, kCount};
  say("threads", m.launch("squares", args, 1, 1025));
  say("blocks", m.launch("squares", args, 0, 32));
  say("shared", m.launch("squares", args, 1, 32, 49153));
  unsigned long long large = 0;
  say("memory", cuMemAllocAsync(&large, size_t{1} << 40, m.stream));
  say("inside", cuMemFreeAsync(m.x + 4, m.stream));
  say("free", cuMemFreeAsync(m.x, m.stream));
  say("twice", cuMemFreeAsync(m.x, m.stream));
  say("copy", cuMemcpyHtoDAsync_v2(m.y, m.in.data(), kCount * 4 + 1, m.stream));
}

void pinned(Machine& m) {
  void* memory = nullptr;
  must(cuMemAllocHost_v2(&memory, 4 * kCount), "pinned");
  must(m.launch("squares", {m.x, m.y, kCount}, 1, 64), "squares");
  must(cuMemcpyDtoHAsync_v2(memory, m.y, 4 * kCount, m.stream), "reading");
  std::printf("early %s\n", static_cast<float*>(memory)[3] == 9 ? "there" : "not there");
  must(cuStreamSynchronize(m.stream), "waiting");
  std::printf("late %s\n", static_cast<float*>(memory)[3] == 9 ? "there" : "not there");
}

}  // namespace

int main(int, char** argv) {
  const std::string which = argv[1];
  if (which == "no context") {
    void* stream = nullptr;
    say("before", cuStreamCreate(&stream, 0));
    must(cuInit(0), "cuInit");
    say("after", cuStreamCreate(&stream, 0));
    return 0;
  }
  Machine m(argv[2]);
  const Args args{m.x, m.y, kCount};
  if (which == "right") right(m);
  else if (which == "race") race(m);
  else if (which == "graph") graph(m);
  else if (which == "waiting in capture") waiting_in_capture(m);
  else if (which == "allocating in capture") allocating_in_capture(m);
  else if (which == "limits") limits(m);
  else if (which == "pinned") pinned(m);
  else if (which == "host pointer") broken(m, "squares", {m.x, reinterpret_cast<unsigned long long>(m.out.data()), 64});
  else if (which == "freed") must(cuMemFreeAsync(m.y, m.stream), "free"), broken(m, "squares", args);
  else if (which == "divergent" || which == "beyond" || which == "misaligned" || which == "just_beyond") broken(m, argv[1], args);
  else if (which == "beyond_shared") broken(m, argv[1], args, 256);
  else return 2;
  return 0;
}
