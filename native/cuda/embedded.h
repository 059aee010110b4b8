// Files that the build has put into the plugin as bytes: the kernels that nvcc compiled and the headers that NVRTC is given.
// The tables are written by native/cuda/CMakeLists.txt.
#pragma once

#include <cstddef>

namespace langevin {

struct EmbeddedFile {
  const char* name;
  const char* data;  // a zero byte follows the last
  const char* end;
};

extern const EmbeddedFile kEmbeddedKernels[];  // a fatbin each, by the name of its kernels/*.cu
extern const int kEmbeddedKernelsCount;
extern const EmbeddedFile kEmbeddedHeaders[];  // text, by the name in #include
extern const int kEmbeddedHeadersCount;

}  // namespace langevin
