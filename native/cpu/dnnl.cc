// See dnnl.h.
#include "cpu/dnnl.h"

#include <new>
#include <stdexcept>

namespace langevin {

namespace {

using Memory = dnnl::memory;
using Dims = dnnl::memory::dims;

// One engine for the process, and a stream for each thread that runs primitives: the worker thread, and its team where a kernel gives
// each its own primitive.
dnnl::engine& engine() {
  static dnnl::engine e(dnnl::engine::kind::cpu, 0);
  return e;
}
dnnl::stream& stream() {
  static thread_local dnnl::stream s(engine());
  return s;
}

// The scratchpad comes from the plan's arena, so that a run allocates nothing of that size.
dnnl::primitive_attr user_scratchpad() {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

Memory::data_type type_of(bool half) { return half ? Memory::data_type::bf16 : Memory::data_type::f32; }

DnnlDesc weights(const ConvGeometry& g, DnnlFormat format, bool half) {
  using Tag = Memory::format_tag;
  const bool any = format == DnnlFormat::Any;
  if (g.groups == 1) return DnnlDesc({g.o, g.c, g.kh, g.kw}, type_of(half), any ? Tag::any : Tag::oihw);
  return DnnlDesc({g.groups, g.o / g.groups, g.c / g.groups, g.kh, g.kw}, type_of(half), any ? Tag::any : Tag::goihw);
}

// A convolution request in oneDNN's terms. Dilation counts from 0 there.
struct ConvRequest {
  dnnl::algorithm algorithm;
  DnnlDesc x, w, b, y;
  Dims stride, dilation, low, high;
};

ConvRequest request(const ConvGeometry& g, DnnlFormat x, DnnlFormat y, bool winograd, DnnlHalf half) {
  ConvRequest r;
  r.algorithm = winograd ? dnnl::algorithm::convolution_winograd : dnnl::algorithm::convolution_direct;
  r.x = dnnl_activation(g.n, g.c, g.h, g.w, x, half.x);
  r.y = dnnl_activation(g.n, g.o, g.oh, g.ow, y, half.y);
  r.w = weights(g, DnnlFormat::Any, half.w);
  if (g.bias) r.b = DnnlDesc({g.o}, Memory::data_type::f32, Memory::format_tag::x);
  r.stride = {g.stride[0], g.stride[1]};
  r.dilation = {g.dilation[0] - 1, g.dilation[1] - 1};
  r.low = {g.pad[0], g.pad[1]};
  r.high = {g.pad[2], g.pad[3]};
  return r;
}

constexpr auto kProp = dnnl::prop_kind::forward_training;

#if DNNL_VERSION_MAJOR >= 3
dnnl::convolution_forward::primitive_desc forward_desc(const ConvRequest& r) {
  return {engine(), kProp, r.algorithm, r.x, r.w, r.b, r.y, r.stride, r.dilation, r.low, r.high, user_scratchpad(), true};
}
dnnl::convolution_backward_data::primitive_desc input_desc(const ConvRequest& r, const dnnl::convolution_forward::primitive_desc& hint) {
  return {engine(), r.algorithm, r.x, r.w, r.y, r.stride, r.dilation, r.low, r.high, hint, user_scratchpad(), true};
}
dnnl::convolution_backward_weights::primitive_desc weight_desc(const ConvRequest& r, const dnnl::convolution_forward::primitive_desc& hint) {
  return {engine(), r.algorithm, r.x, r.w, r.y, r.stride, r.dilation, r.low, r.high, hint, user_scratchpad(), true};
}
dnnl::matmul::primitive_desc matmul_desc(const DnnlDesc& a, const DnnlDesc& b, const DnnlDesc& c) {
  return {engine(), a, b, c, user_scratchpad(), true};
}
void set_handle(Memory& memory, void* handle) { memory.set_data_handle(handle); }
#else
dnnl::convolution_forward::primitive_desc forward_desc(const ConvRequest& r) {
  return {{kProp, r.algorithm, r.x, r.w, r.b, r.y, r.stride, r.dilation, r.low, r.high}, user_scratchpad(), engine(), true};
}
dnnl::convolution_backward_data::primitive_desc input_desc(const ConvRequest& r, const dnnl::convolution_forward::primitive_desc& hint) {
  return {{r.algorithm, r.x, r.w, r.y, r.stride, r.dilation, r.low, r.high}, user_scratchpad(), engine(), hint, true};
}
dnnl::convolution_backward_weights::primitive_desc weight_desc(const ConvRequest& r, const dnnl::convolution_forward::primitive_desc& hint) {
  return {{r.algorithm, r.x, r.w, r.y, r.stride, r.dilation, r.low, r.high}, user_scratchpad(), engine(), hint, true};
}
dnnl::matmul::primitive_desc matmul_desc(const DnnlDesc& a, const DnnlDesc& b, const DnnlDesc& c) {
  return {{a, b, c}, user_scratchpad(), engine(), true};
}
void set_handle(Memory& memory, void* handle) { memory.set_data_handle(handle, stream()); }
#endif

}  // namespace

int machine_block() {
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::sse41:
    case dnnl::cpu_isa::avx:
    case dnnl::cpu_isa::avx2:
    case dnnl::cpu_isa::avx2_vnni: return 8;
    default: return 16;
  }
}

Layout machine_layout() { return machine_block() == 16 ? Layout::Blocked16 : Layout::Blocked8; }

bool dnnl_has_bf16() {
  const auto isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa()), needed = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  return (isa & needed) == needed;
}

DnnlDesc dnnl_activation(int64_t n, int64_t c, int64_t h, int64_t w, DnnlFormat format, bool half) {
  using Tag = Memory::format_tag;
  const Tag tag = format == DnnlFormat::Any         ? Tag::any
                  : format == DnnlFormat::Blocked16 ? Tag::nChw16c
                  : format == DnnlFormat::Blocked8  ? Tag::nChw8c
                                                    : Tag::nchw;
  return DnnlDesc({n, c, h, w}, type_of(half), tag);
}

DnnlDesc dnnl_weights(const ConvGeometry& g, DnnlFormat format) { return weights(g, format, false); }

DnnlDesc dnnl_strided(const Shape& shape, const Shape& strides) { return DnnlDesc(shape, Memory::data_type::f32, strides); }

void DnnlOp::add(DnnlRole role, int index, const DnnlDesc& desc) {
  if (desc.get_size() == 0) return;
  Memory memory(desc, engine(), DNNL_MEMORY_NONE);
  execution_.push_back({index, memory.get()});
  arguments_.push_back({role, desc, memory, nullptr});
}

template <class PrimitiveDesc>
void DnnlOp::describe(const PrimitiveDesc& pd) {
  implementation_ = pd.impl_info_str();
  add(DnnlRole::Scratchpad, DNNL_ARG_SCRATCHPAD, pd.scratchpad_desc());
}

DnnlOp DnnlOp::convolution(ConvDirection direction, const ConvGeometry& g, DnnlFormat x, DnnlFormat y, bool winograd, DnnlHalf half) {
  DnnlOp op;
  try {
    const ConvRequest r = request(g, x, y, winograd, half);
    if (direction == ConvDirection::Forward) {
      const auto pd = forward_desc(r);
      if (!pd) return DnnlOp();
      op.describe(pd);
      op.add(DnnlRole::Source, DNNL_ARG_SRC, pd.src_desc());
      op.add(DnnlRole::Weights, DNNL_ARG_WEIGHTS, pd.weights_desc());
      if (g.bias) op.add(DnnlRole::Bias, DNNL_ARG_BIAS, pd.bias_desc());
      op.add(DnnlRole::Destination, DNNL_ARG_DST, pd.dst_desc());
      op.primitive_ = dnnl::convolution_forward(pd);
      return op;
    }
    // The forward descriptor is only a hint there; a free choice of formats makes it exist wherever any does.
    const DnnlHalf hint_half{half.x || half.y, half.x || half.y, half.x || half.y};
    const auto hint = forward_desc(request(g, DnnlFormat::Any, DnnlFormat::Any, false, hint_half));
    if (!hint) return DnnlOp();
    if (direction == ConvDirection::InputGrad) {
      const auto pd = input_desc(r, hint);
      if (!pd) return DnnlOp();
      op.describe(pd);
      op.add(DnnlRole::Source, DNNL_ARG_DIFF_SRC, pd.diff_src_desc());
      op.add(DnnlRole::Weights, DNNL_ARG_WEIGHTS, pd.weights_desc());
      op.add(DnnlRole::Destination, DNNL_ARG_DIFF_DST, pd.diff_dst_desc());
      op.primitive_ = dnnl::convolution_backward_data(pd);
    } else {
      const auto pd = weight_desc(r, hint);
      if (!pd) return DnnlOp();
      op.describe(pd);
      op.add(DnnlRole::Source, DNNL_ARG_SRC, pd.src_desc());
      op.add(DnnlRole::Weights, DNNL_ARG_DIFF_WEIGHTS, pd.diff_weights_desc());
      op.add(DnnlRole::Destination, DNNL_ARG_DIFF_DST, pd.diff_dst_desc());
      op.primitive_ = dnnl::convolution_backward_weights(pd);
    }
  } catch (const dnnl::error&) {  // a request outside of what oneDNN describes at all
    return DnnlOp();
  }
  return op;
}

DnnlOp DnnlOp::reorder(const DnnlDesc& from, const DnnlDesc& to) {
  DnnlOp op;
  try {
    const dnnl::reorder::primitive_desc pd(engine(), from, engine(), to, user_scratchpad(), true);
    if (!pd) return DnnlOp();
    op.describe(pd);
    op.add(DnnlRole::Source, DNNL_ARG_FROM, from);
    op.add(DnnlRole::Destination, DNNL_ARG_TO, to);
    op.primitive_ = dnnl::reorder(pd);
  } catch (const dnnl::error&) {
    return DnnlOp();
  }
  return op;
}

DnnlOp DnnlOp::matmul(const DnnlDesc& a, const DnnlDesc& b, const DnnlDesc& c) {
  DnnlOp op;
  try {
    const auto pd = matmul_desc(a, b, c);
    if (!pd) return DnnlOp();
    op.describe(pd);
    op.add(DnnlRole::Source, DNNL_ARG_SRC, pd.src_desc());
    op.add(DnnlRole::Weights, DNNL_ARG_WEIGHTS, pd.weights_desc());
    op.add(DnnlRole::Destination, DNNL_ARG_DST, pd.dst_desc());
    op.primitive_ = dnnl::matmul(pd);
  } catch (const dnnl::error&) {
    return DnnlOp();
  }
  return op;
}

bool DnnlOp::fast() const { return implementation_.rfind("jit", 0) == 0 || implementation_.rfind("brg", 0) == 0; }
bool DnnlOp::reference() const { return implementation_.find("ref") != std::string::npos; }

DnnlOp::Argument* DnnlOp::find(DnnlRole role) {
  for (Argument& a : arguments_) {
    if (a.role == role) return &a;
  }
  return nullptr;
}

const DnnlDesc& DnnlOp::desc(DnnlRole role) const { return const_cast<DnnlOp*>(this)->find(role)->desc; }

size_t DnnlOp::scratchpad() const {
  for (const Argument& a : arguments_) {
    if (a.role == DnnlRole::Scratchpad) return a.desc.get_size();
  }
  return 0;
}

// Setting a handle has a price in version 2 (it clears padded channels), so only a changed one is set. Whoever fills padded memory writes
// the zeros of the padding too, since reorders do.
void DnnlOp::bind(DnnlRole role, const void* memory) {
  Argument* a = find(role);
  if (a == nullptr || a->bound == memory) return;
  set_handle(a->memory, const_cast<void*>(memory));
  a->bound = memory;
}

void DnnlOp::run() {
  const auto status = dnnl_primitive_execute(primitive_.get(), stream().get(), static_cast<int>(execution_.size()), execution_.data());
  if (status == dnnl_out_of_memory) throw std::bad_alloc();
  if (status != dnnl_success) throw std::runtime_error("oneDNN " + implementation_ + " failed with status " + std::to_string(status));
}

void dnnl_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
               int64_t ldc) {
  const auto status = dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, 1.0f, a, lda, b, ldb, 0.0f, c, ldc);
  if (status != dnnl_success) throw std::runtime_error("oneDNN sgemm failed with status " + std::to_string(status));
}

}  // namespace langevin
