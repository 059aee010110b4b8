#!/bin/sh
# Regenerates lib/onnx/gen/onnx_pb.ts from lib/onnx/onnx.proto. Needs protoc (Debian: protobuf-compiler) and `npm ci`.
# The generated file is committed, so nobody needs this to build the package.
set -eu
cd "$(dirname "$0")/.."
command -v protoc >/dev/null || { echo 'protoc is missing; install protobuf-compiler (Debian) or protobuf (Homebrew)' >&2; exit 1; }
protoc --plugin=protoc-gen-es=node_modules/.bin/protoc-gen-es --es_out=lib/onnx/gen --es_opt=target=ts,import_extension=ts \
  --proto_path=lib/onnx onnx.proto
