// Capturing a stream into a graph, and launching it.
#include "cuda/simulator/entry.h"

using namespace langevin::simulator;

extern "C" {

CUresult CUDAAPI cuStreamBeginCapture(CUstream stream, CUstreamCaptureMode mode) {
  const Entry entry("cuStreamBeginCapture");
  if (const CUresult no = entry.ready(&stream); no != CUDA_SUCCESS) return no;
  if (stream == stream->context->streams[0]) return entry.wrong(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "the default stream cannot be captured");
  if (stream->capture != nullptr) return entry.wrong(CUDA_ERROR_ILLEGAL_STATE, "the stream is captured already");
  if (mode != CU_STREAM_CAPTURE_MODE_GLOBAL && mode != CU_STREAM_CAPTURE_MODE_THREAD_LOCAL && mode != CU_STREAM_CAPTURE_MODE_RELAXED) {
    return entry.wrong(CUDA_ERROR_INVALID_VALUE, "mode");
  }
  stream->capture = new CUgraph_st;
  stream->capture->context = stream->context;
  stream->mode = mode;
  stream->capturing_thread = thread_id();
  stream->invalidated = false;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamEndCapture(CUstream stream, CUgraph* graph) {
  const Entry entry("cuStreamEndCapture");
  if (const CUresult no = entry.ready(&stream); no != CUDA_SUCCESS) return no;
  if (graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (stream->capture == nullptr) return entry.wrong(CUDA_ERROR_ILLEGAL_STATE, "the stream is not captured");
  if (stream->mode != CU_STREAM_CAPTURE_MODE_RELAXED && stream->capturing_thread != thread_id()) {
    return entry.wrong(CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD, "another thread began the capture");
  }
  std::unique_ptr<CUgraph_st> captured(stream->capture);
  stream->capture = nullptr;
  *graph = nullptr;
  if (stream->invalidated) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  ++counts().graphs;
  *graph = made(captured.release());
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuGraphInstantiate(CUgraphExec* exec, CUgraph graph, unsigned long long flags) {
  const Entry entry("cuGraphInstantiate");
  if (const CUresult no = entry.ready(true); no != CUDA_SUCCESS) return no;
  if (exec == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (!alive(graph)) return entry.wrong(CUDA_ERROR_INVALID_HANDLE, "not a graph, or destroyed before");
  if ((flags & ~static_cast<unsigned long long>(CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH | CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY)) != 0) {
    return entry.wrong(CUDA_ERROR_INVALID_VALUE, "flags");
  }
  *exec = made(new CUgraphExec_st);
  (*exec)->context = graph->context;
  (*exec)->nodes = std::make_shared<const std::vector<Work>>(graph->nodes);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuGraphLaunch(CUgraphExec exec, CUstream stream) {
  const Entry entry("cuGraphLaunch");
  if (const CUresult no = entry.ready(&stream); no != CUDA_SUCCESS) return no;
  if (!alive(exec)) return entry.wrong(CUDA_ERROR_INVALID_HANDLE, "not a graph to be launched, or destroyed before");
  if (exec->context != stream->context) return entry.wrong(CUDA_ERROR_INVALID_HANDLE, "the graph is of another device");
  ++counts().graph_launches;
  return enqueue(stream, {"a graph", [nodes = exec->nodes] {
                            for (const Work& node : *nodes) node.run();
                          }});
}

CUresult CUDAAPI cuGraphDestroy(CUgraph graph) {
  const Entry entry("cuGraphDestroy");
  if (const CUresult no = entry.ready(false); no != CUDA_SUCCESS) return no;
  if (!alive(graph)) return entry.wrong(CUDA_ERROR_INVALID_HANDLE, "not a graph, or destroyed before");
  destroy(graph);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuGraphExecDestroy(CUgraphExec exec) {
  const Entry entry("cuGraphExecDestroy");
  if (const CUresult no = entry.ready(false); no != CUDA_SUCCESS) return no;
  if (!alive(exec)) return entry.wrong(CUDA_ERROR_INVALID_HANDLE, "not a graph to be launched, or destroyed before");
  destroy(exec);
  return CUDA_SUCCESS;
}

}  // extern "C"
