// NVRTC by the host's compiler: text and headers into a folder of their own, a shared library out of it, wrapped as a "cubin". Libraries are kept
// by the hash of what they were made of, in a folder under the system's temporary one (LANGEVIN_SIMULATOR_CACHE elsewhere). The compiler is CXX,
// else c++. Only headers given by name are seen, and those of rtc/ before them.
#include <dirent.h>
#include <fcntl.h>
#pragma GCC visibility push(default)
#include <nvrtc.h>
#pragma GCC visibility pop
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "cuda/simulator/entry.h"

struct _nvrtcProgram {
  std::string text, name;
  std::vector<std::pair<std::string, std::string>> headers;  // name, text
  std::string log, cubin;
};

namespace langevin::simulator {

namespace {

// The folder `native`: whoever compiles this file says where it is.
std::string sources() { return LANGEVIN_SIMULATOR_SOURCES; }

std::string hash_of(const std::string& text) {
  uint64_t a = 1469598103934665603u, b = 0x9E3779B97F4A7C15u;
  for (const unsigned char c : text) {
    a = (a ^ c) * 1099511628211u;
    b = (b ^ c) * 0xD6E8FEB86659FD93u;
    b ^= b >> 29;
  }
  char name[40];
  std::snprintf(name, sizeof name, "%016llx%016llx", static_cast<unsigned long long>(a), static_cast<unsigned long long>(b));
  return name;
}

bool read_file(const std::string& path, std::string* text) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return false;
  std::ostringstream all;
  all << in.rdbuf();
  *text = all.str();
  return true;
}

// Makes the folders of the path's parents.
void make_folders(const std::string& path) {
  for (size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1)) mkdir(path.substr(0, at).c_str(), 0700);
}

void write_file(const std::string& path, const std::string& text) {
  make_folders(path);
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

void remove_tree(const std::string& path) {
  if (DIR* folder = opendir(path.c_str())) {
    while (const dirent* found = readdir(folder)) {
      const std::string name = found->d_name;
      if (name != "." && name != "..") remove_tree(path + "/" + name);
    }
    closedir(folder);
    rmdir(path.c_str());
  } else {
    unlink(path.c_str());
  }
}

std::string cache_folder() {
  return setting("LANGEVIN_SIMULATOR_CACHE", (setting("TMPDIR", "/tmp") + "/langevin-simulator-" + std::to_string(getuid())).c_str());
}

// Runs the compiler without a shell; its words go to `log`. The exit status, 127 where it could not be started.
int run_compiler(const std::vector<std::string>& words, const std::string& log) {
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 1, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&files, 1, 2);
  pid_t child = 0;
  const int failed = posix_spawnp(&child, arguments[0], &files, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  if (failed != 0) return 127;
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return 127;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

// "sm_90" gives 90; compute_.. (PTX) is not what the plugin asks for. 0 where it is neither.
int architecture(const std::string& option) {
  const size_t at = option.find("sm_");
  return at == std::string::npos ? 0 : std::atoi(option.c_str() + at + 3);
}

struct Options {
  int capability = 0;
  std::string wrong;
};

Options read_options(int count, const char* const* given) {
  Options options;
  const std::string known[] = {"--std=", "-std=", "--fmad=", "-fmad=", "--prec-div=", "--prec-sqrt=", "--ftz=", "--use_fast_math", "-default-device",
                               "--device-as-default-execution-space", "--extra-device-vectorization", "-diag-suppress", "--diag-suppress", "--split-compile",
                               "-split-compile", "--minimal", "-minimal", "--no-cache", "-no-cache", "-w", "--disable-warnings", "-lineinfo",
                               "--generate-line-info", "-D", "--define-macro"};
  for (int i = 0; i < count; ++i) {
    const std::string option = given[i];
    if (option.rfind("--gpu-architecture=", 0) == 0 || option.rfind("-arch=", 0) == 0) {
      options.capability = architecture(option);
      if (options.capability == 0) options.wrong = option + " (the simulator makes code for sm_.. alone)";
      continue;
    }
    bool found = false;
    for (const std::string& name : known) found = found || option.rfind(name, 0) == 0;
    if (!found) options.wrong = option;
  }
  return options;
}

std::vector<std::string> command(const std::string& folder) {
  // A GPU refuses what is misaligned: traps stand for that, and for indices outside of fixed arrays.
  return {setting("CXX", "c++"), "-std=c++17", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off",
          "-fsanitize=alignment,bounds", "-fsanitize-undefined-trap-on-error", "-Wall", "-Wno-unused-function", "-nostdinc", "-nostdinc++",
          "-I" + sources() + "/cuda/simulator/rtc", "-I" + folder + "/headers", "-o", folder + "/out.so", folder + "/text.cc"};
}

// Compiles in a new folder and puts the cubin at `kept`. The compiler's words in program->log.
bool compile(_nvrtcProgram* program, int capability, const std::string& shim, const std::string& kept) {
  std::string folder = cache_folder() + "/work-XXXXXX";
  make_folders(folder);
  if (mkdtemp(folder.data()) == nullptr) {
    program->log = "cannot make a folder in " + cache_folder();
    return false;
  }
  for (const auto& [name, text] : program->headers) write_file(folder + "/headers/" + name, text);
  write_file(folder + "/headers/cuda/simulator/shim.h", shim);
  write_file(folder + "/text.cc", "#line 1 \"" + program->name + "\"\n" + program->text);
  ++counts().compilations;
  const int status = run_compiler(command(folder), folder + "/log");
  if (!read_file(folder + "/log", &program->log)) program->log.clear();
  if (status == 127) program->log += "the compiler " + setting("CXX", "c++") + " could not be started";
  std::string library;
  const bool good = status == 0 && read_file(folder + "/out.so", &library);
  if (good) {
    CubinHead head{};
    std::memcpy(head.magic, kCubinMagic, sizeof kCubinMagic);
    head.capability = static_cast<uint64_t>(capability);
    head.bytes = library.size();
    program->cubin.assign(reinterpret_cast<const char*>(&head), sizeof head);
    program->cubin += library;
    write_file(folder + "/cubin", program->cubin);
    std::rename((folder + "/cubin").c_str(), kept.c_str());
  }
  remove_tree(folder);
  return good;
}

}  // namespace

}  // namespace langevin::simulator

using namespace langevin::simulator;

extern "C" {

nvrtcResult nvrtcVersion(int* major, int* minor) {
  if (major == nullptr || minor == nullptr) return NVRTC_ERROR_INVALID_INPUT;
  *major = 13;
  *minor = 0;
  return NVRTC_SUCCESS;
}

const char* nvrtcGetErrorString(nvrtcResult result) {
  switch (result) {
    case NVRTC_SUCCESS: return "NVRTC_SUCCESS";
    case NVRTC_ERROR_INVALID_INPUT: return "NVRTC_ERROR_INVALID_INPUT";
    case NVRTC_ERROR_INVALID_PROGRAM: return "NVRTC_ERROR_INVALID_PROGRAM";
    case NVRTC_ERROR_INVALID_OPTION: return "NVRTC_ERROR_INVALID_OPTION";
    case NVRTC_ERROR_COMPILATION: return "NVRTC_ERROR_COMPILATION";
    default: return "NVRTC_ERROR unknown";
  }
}

nvrtcResult nvrtcCreateProgram(nvrtcProgram* program, const char* text, const char* name, int headers, const char* const* texts, const char* const* names) {
  if (program == nullptr || text == nullptr || headers < 0 || (headers > 0 && (texts == nullptr || names == nullptr))) return NVRTC_ERROR_INVALID_INPUT;
  const std::lock_guard<std::recursive_mutex> held(lock());
  auto* fresh = new _nvrtcProgram;
  fresh->text = text;
  fresh->name = name == nullptr ? "default_program" : name;
  for (int i = 0; i < headers; ++i) fresh->headers.emplace_back(names[i], texts[i]);
  *program = made(fresh);
  return NVRTC_SUCCESS;
}

nvrtcResult nvrtcDestroyProgram(nvrtcProgram* program) {
  const std::lock_guard<std::recursive_mutex> held(lock());
  if (program == nullptr || !alive(*program)) return NVRTC_ERROR_INVALID_PROGRAM;
  destroy(*program);
  *program = nullptr;
  return NVRTC_SUCCESS;
}

nvrtcResult nvrtcCompileProgram(nvrtcProgram program, int count, const char* const* given) {
  const std::lock_guard<std::recursive_mutex> held(lock());
  if (!alive(program)) return NVRTC_ERROR_INVALID_PROGRAM;
  const Options options = read_options(count, given);
  if (!options.wrong.empty()) {
    program->log = "nvrtc: error: unknown option " + options.wrong;
    return NVRTC_ERROR_INVALID_OPTION;
  }
  if (options.capability == 0) {
    program->log = "nvrtc: error: --gpu-architecture=sm_.. is needed: without it the cubin is empty";
    return NVRTC_ERROR_INVALID_OPTION;
  }
  std::string all = program->text, shim;
  for (const auto& [name, text] : program->headers) all += '\0' + name + '\0' + text;
  read_file(sources() + "/cuda/simulator/shim.h", &shim);
  all += shim;
  for (const std::string& word : command("")) all += '\0' + word;
  all += std::to_string(options.capability);
  const std::string kept = cache_folder() + "/" + hash_of(all) + ".cubin";
  program->log.clear();
  if (read_file(kept, &program->cubin) && program->cubin.size() > sizeof(CubinHead)) return NVRTC_SUCCESS;
  return compile(program, options.capability, shim, kept) ? NVRTC_SUCCESS : NVRTC_ERROR_COMPILATION;
}

nvrtcResult nvrtcGetCUBINSize(nvrtcProgram program, size_t* bytes) {
  const std::lock_guard<std::recursive_mutex> held(lock());
  if (!alive(program)) return NVRTC_ERROR_INVALID_PROGRAM;
  if (bytes == nullptr) return NVRTC_ERROR_INVALID_INPUT;
  *bytes = program->cubin.size();
  return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetCUBIN(nvrtcProgram program, char* to) {
  const std::lock_guard<std::recursive_mutex> held(lock());
  if (!alive(program) || program->cubin.empty()) return NVRTC_ERROR_INVALID_PROGRAM;
  if (to == nullptr) return NVRTC_ERROR_INVALID_INPUT;
  std::memcpy(to, program->cubin.data(), program->cubin.size());
  return NVRTC_SUCCESS;
}

// With its zero, as NVRTC counts.
nvrtcResult nvrtcGetProgramLogSize(nvrtcProgram program, size_t* bytes) {
  const std::lock_guard<std::recursive_mutex> held(lock());
  if (!alive(program)) return NVRTC_ERROR_INVALID_PROGRAM;
  if (bytes == nullptr) return NVRTC_ERROR_INVALID_INPUT;
  *bytes = program->log.size() + 1;
  return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetProgramLog(nvrtcProgram program, char* to) {
  const std::lock_guard<std::recursive_mutex> held(lock());
  if (!alive(program)) return NVRTC_ERROR_INVALID_PROGRAM;
  if (to == nullptr) return NVRTC_ERROR_INVALID_INPUT;
  std::memcpy(to, program->log.c_str(), program->log.size() + 1);
  return NVRTC_SUCCESS;
}

}  // extern "C"
