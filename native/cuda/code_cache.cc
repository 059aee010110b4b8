// See code_cache.h. A file is a line "langevin-code 1 <bytes> <hash of the code>" and the code.
#include "cuda/code_cache.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace langevin {

namespace {

constexpr const char* kTitle = "langevin-code 1 ";

std::string header_of(const std::string& code) { return kTitle + std::to_string(code.size()) + " " + content_hash(code) + "\n"; }

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string cache_folder() {
  const std::string given = variable("LANGEVIN_CACHE"), shared = variable("XDG_CACHE_HOME"), home = variable("HOME");
  if (given == "off") return "";
  if (!given.empty()) return given + "/cuda";
  if (!shared.empty()) return shared + "/langevin/cuda";
  return home.empty() ? "" : home + "/.cache/langevin/cuda";
}

// With the folders above it. False where that cannot be.
bool make_folder(const std::string& folder) {
  for (size_t slash = folder.find('/', 1);; slash = folder.find('/', slash + 1)) {
    const std::string part = folder.substr(0, slash);
    if (mkdir(part.c_str(), 0777) != 0 && errno != EEXIST) return false;
    if (slash == std::string::npos) return true;
  }
}

uint64_t mixed(const std::string& text, uint64_t start) {  // FNV-1a, with a last mixing of the bits
  uint64_t h = start;
  for (const char c : text) h = (h ^ static_cast<uint8_t>(c)) * 1099511628211u;
  h ^= h >> 32;
  h *= 0x9E3779B97F4A7C15u;
  return h ^ (h >> 29);
}

}  // namespace

std::string content_hash(const std::string& text) {
  char digits[33];
  std::snprintf(digits, sizeof digits, "%016llx%016llx", static_cast<unsigned long long>(mixed(text, 14695981039346656037u)),
                static_cast<unsigned long long>(mixed(text, 0x27D4EB2F165667C5u)));
  return digits;
}

std::string read_cached_code(const std::string& key) {
  const std::string folder = cache_folder();
  if (folder.empty()) return "";
  std::ifstream file(folder + "/" + key, std::ios::binary);
  if (!file) return "";
  std::ostringstream all;
  all << file.rdbuf();
  const std::string text = all.str();
  const size_t line = text.find('\n');
  if (line == std::string::npos) return "";
  const std::string code = text.substr(line + 1);
  return text.compare(0, line + 1, header_of(code)) == 0 ? code : "";
}

void write_cached_code(const std::string& key, const std::string& code) {
  const std::string folder = cache_folder();
  if (folder.empty() || !make_folder(folder)) return;
  const std::string path = folder + "/" + key, temporary = path + "." + std::to_string(getpid());
  std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
  file << header_of(code) << code;
  file.close();
  if (!file || std::rename(temporary.c_str(), path.c_str()) != 0) std::remove(temporary.c_str());
}

}  // namespace langevin
