// See loop_places.h.
#include "cuda/loop_places.h"

namespace langevin {

bool LoopPlaces::varies(const CudaLoopWalk& w) const {
  for (size_t d = 0; d < s_.dims.size(); ++d) {
    if (s_.dims[d].reduced && w.stride[d] != 0) return true;
  }
  return false;
}

bool LoopPlaces::aligned(const CudaLoopWalk& w) const {
  for (size_t d = 0; d + 1 < w.stride.size(); ++d) {
    if (w.stride[d] % s_.vector != 0) return false;
  }
  return step(w) == 1;
}

std::vector<size_t> LoopPlaces::dims_of(bool reduced) const {
  std::vector<size_t> list;
  for (size_t d = 0; d < s_.dims.size(); ++d) {
    if (s_.dims[d].reduced == reduced) list.push_back(d);
  }
  return list;
}

// Are these dimensions neighbours? Then their part of i is a multiple of k (or q) itself.
bool LoopPlaces::is_chain(bool reduced) const {
  const std::vector<size_t> list = dims_of(reduced);
  return list.empty() || list.back() - list.front() + 1 == list.size();
}

std::string LoopPlaces::sum(const CudaLoopWalk& w, bool kept, bool reduced) const {
  std::string text;
  for (size_t d = 0; d < s_.dims.size(); ++d) {
    if (w.stride[d] == 0 || !(s_.dims[d].reduced ? reduced : kept)) continue;
    text += (text.empty() ? "c" : " + c") + std::to_string(d) + (w.stride[d] == 1 ? "" : " * " + number(w.stride[d]));
  }
  return text.empty() ? number(0) : text;
}

std::string LoopPlaces::linear_part(bool reduced) const {
  if (is_chain(reduced)) {
    const int64_t each = s_.dims[dims_of(reduced).back()].linear;
    return (reduced ? "q" : "k") + (each == 1 ? std::string() : " * " + number(each));
  }
  CudaLoopWalk own;
  for (const CudaLoopDim& d : s_.dims) own.stride.push_back(d.linear);
  return sum(own, !reduced, reduced);
}

std::string LoopPlaces::linear() const {
  if (!has_dims(true)) return linear_part(false);
  return (has_dims(false) ? linear_part(false) + " + " : "") + linear_part(true);
}

std::vector<std::string> LoopPlaces::coordinates(bool reduced, const std::vector<const CudaLoopWalk*>& walks) const {
  const std::vector<size_t> list = dims_of(reduced);
  std::vector<std::string> lines;
  int64_t inner = 1;
  for (size_t j = list.size(); j-- > 0;) {
    const size_t d = list[j];
    bool needed = !reduced && s_.result.stride[d] != 0;
    for (const CudaLoopWalk* w : walks) needed = needed || (w->linear ? !is_chain(reduced) : w->stride[d] != 0);
    std::string value = reduced ? "q" : "k";
    if (inner > 1) value += " / " + number(inner);
    if (j > 0) value += " % " + number(s_.dims[d].size);
    if (needed) lines.push_back(std::string("const ") + type() + " c" + std::to_string(d) + " = " + value + ";");
    inner *= s_.dims[d].size;
  }
  return lines;
}

}  // namespace langevin
