// See dynamic_library.h.
#include "runtime/dynamic_library.h"

#include <cstdlib>

#if !defined(_WIN32)
#include <dlfcn.h>
#include <glob.h>
#include <sys/stat.h>
#endif
#if defined(__linux__)
#include <link.h>
#endif

namespace langevin {

#if defined(_WIN32)

std::vector<std::string> cuda_path_folders() { return {}; }
std::vector<std::string> matching_folders(const std::string&) { return {}; }
Library open_library(const std::vector<std::string>&, const std::vector<std::string>&, const std::vector<std::string>&) { return {}; }
Library open_file(const std::string&) { return {}; }
bool file_exists(const std::string&) { return false; }
void* symbol_of(const Library&, const char*) { return nullptr; }
std::string folder_of(const void*) { return ""; }

#else

namespace {

std::string last_error() {
  const char* text = dlerror();
  return text == nullptr ? "unknown error" : text;
}

// Where the library lies that was asked for by its name alone.
std::string path_of(void* handle, const std::string& name) {
#if defined(__linux__)
  link_map* map = nullptr;
  if (dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 && map != nullptr && map->l_name != nullptr && map->l_name[0] != 0) return map->l_name;
#else
  (void)handle;
#endif
  return name;
}

}  // namespace

std::vector<std::string> matching_folders(const std::string& pattern) {
  std::vector<std::string> folders;
  glob_t found;
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0) {
    for (size_t i = 0; i < found.gl_pathc; ++i) folders.emplace_back(found.gl_pathv[i]);
  }
  globfree(&found);
  return folders;
}

std::vector<std::string> cuda_path_folders() {
  const char* text = std::getenv("LANGEVIN_CUDA_PATH");
  std::vector<std::string> folders;
  std::string rest = text == nullptr ? "" : text;
  while (!rest.empty()) {
    const size_t colon = rest.find(':');
    const std::string folder = rest.substr(0, colon);
    rest = colon == std::string::npos ? "" : rest.substr(colon + 1);
    if (folder.empty()) continue;
    for (const char* inner : {"", "/lib", "/lib64", "/*/lib", "/nvidia/*/lib"}) {
      for (std::string& f : matching_folders(folder + inner)) folders.push_back(std::move(f));
    }
  }
  return folders;
}

bool file_exists(const std::string& path) {
  struct stat status;
  return stat(path.c_str(), &status) == 0;
}

Library open_file(const std::string& path) {
  Library library;
  if (!file_exists(path)) return library;
  library.handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library.handle == nullptr) library.problem = last_error();
  else library.path = path;
  return library;
}

Library open_library(const std::vector<std::string>& names, const std::vector<std::string>& first, const std::vector<std::string>& last) {
  Library library;
  const auto take = [&](Library found) {
    if (found.handle != nullptr) library = std::move(found);
    else if (library.problem.empty()) library.problem = std::move(found.problem);
    return library.handle != nullptr;
  };
  const auto by_name = [&](const std::string& name) {
    Library found;
    found.handle = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (found.handle != nullptr) {
      found.path = path_of(found.handle, name);
    } else {
      // A missing library is named first in the message; anything else is a fault of a library that was found.
      std::string error = last_error();
      if (error.compare(0, name.size() + 1, name + ":") != 0 || error.find("No such file") == std::string::npos) found.problem = std::move(error);
    }
    return found;
  };
  for (const std::string& name : names) {
    for (const std::string& folder : first) {
      if (take(open_file(folder + "/" + name))) return library;
    }
    if (take(by_name(name))) return library;
    for (const std::string& folder : last) {
      if (take(open_file(folder + "/" + name))) return library;
    }
  }
  return library;
}

void* symbol_of(const Library& library, const char* name) { return library.handle == nullptr ? nullptr : dlsym(library.handle, name); }

std::string folder_of(const void* function) {
  Dl_info info;
  if (dladdr(function, &info) == 0 || info.dli_fname == nullptr) return "";
  const std::string path = info.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

#endif

}  // namespace langevin
