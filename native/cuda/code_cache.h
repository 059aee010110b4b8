// Compiled fused loops kept on disk from one process to the next, a file each, by a hash of all that their making depends on. Written whole or
// not at all; what is damaged is taken for missing. Where no folder can be written nothing is kept.
// The folder: LANGEVIN_CACHE ("off": none), else langevin in XDG_CACHE_HOME or ~/.cache; in it `cuda`.
#pragma once

#include <string>

namespace langevin {

// 32 hexadecimal digits.
std::string content_hash(const std::string& text);

// The code kept for that key; empty where there is none.
std::string read_cached_code(const std::string& key);
void write_cached_code(const std::string& key, const std::string& code);

}  // namespace langevin
