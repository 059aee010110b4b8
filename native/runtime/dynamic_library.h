// Shared libraries found while the process runs: NVIDIA's and our own plugin. Nothing here knows what is in them.
#pragma once

#include <string>
#include <vector>

namespace langevin {

struct Library {
  void* handle = nullptr;  // never closed
  std::string path;        // the file that was opened
  std::string problem;     // why a file that exists could not be opened; empty where none was found
};

// The folders of LANGEVIN_CUDA_PATH (separated by colons) and the folders in them where a CUDA installation or pip's wheels keep libraries.
std::vector<std::string> cuda_path_folders();

// Existing folders that match a pattern of the shell.
std::vector<std::string> matching_folders(const std::string& pattern);

// Opens the first of `names` that is in one of `first`, on the system's path, or in one of `last`; earlier names before later ones.
Library open_library(const std::vector<std::string>& names, const std::vector<std::string>& first, const std::vector<std::string>& last = {});
// Opens that file; neither handle nor problem where there is none.
Library open_file(const std::string& path);

bool file_exists(const std::string& path);

// The address of a symbol, or null.
void* symbol_of(const Library& library, const char* name);

// The folder of the library or program that holds this function; empty where the system does not tell.
std::string folder_of(const void* function);

}  // namespace langevin
