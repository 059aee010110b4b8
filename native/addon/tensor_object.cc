// The Tensor class: device memory that JavaScript writes and reads.
#include <cmath>
#include <cstring>

#include "addon/objects.h"
#include "ops/check.h"
#include "runtime/devices.h"
#include "runtime/errors.h"

namespace langevin {

namespace {

DType parse_dtype(const Napi::Value& value) {
  if (value.IsString()) {
    const std::string name = value.As<Napi::String>();
    for (DType t : {DType::F32, DType::I32, DType::U8, DType::Bool}) {
      if (name == show_dtype(t)) return t;
    }
  }
  throw Napi::TypeError::New(value.Env(), "Tensor: dtype must be 'float32', 'int32', 'uint8' or 'bool'");
}

Shape parse_shape(const Napi::Value& value) {
  const Napi::Env env = value.Env();
  if (!value.IsArray()) throw Napi::TypeError::New(env, "Tensor: shape must be an array of non-negative integers");
  const auto array = value.As<Napi::Array>();
  Shape shape;
  for (uint32_t i = 0; i < std::min(array.Length(), 64u); ++i) {
    const Napi::Value entry = array[i];
    const double d = entry.IsNumber() ? entry.As<Napi::Number>().DoubleValue() : -1;
    if (!(d >= 0 && d <= 9007199254740991.0) || d != std::floor(d)) {
      throw Napi::RangeError::New(env, "Tensor: shape[" + std::to_string(i) + "] must be a non-negative integer");
    }
    shape.push_back(static_cast<int64_t>(d));
  }
  return shape;
}

napi_typedarray_type array_type(DType t) {
  return t == DType::F32 ? napi_float32_array : t == DType::I32 ? napi_int32_array : napi_uint8_array;
}

const char* array_name(DType t) { return t == DType::F32 ? "Float32Array" : t == DType::I32 ? "Int32Array" : "Uint8Array"; }

Napi::Value typed_array(Napi::Env env, DType dtype, size_t n, const Napi::ArrayBuffer& buffer) {
  switch (dtype) {
    case DType::F32: return Napi::Float32Array::New(env, n, buffer, 0);
    case DType::I32: return Napi::Int32Array::New(env, n, buffer, 0);
    default: return Napi::Uint8Array::New(env, n, buffer, 0);
  }
}

}  // namespace

Napi::Function TensorObject::define(Napi::Env env) {
  return DefineClass(env, "Tensor",
                     {InstanceMethod<&TensorObject::write>("write"), InstanceMethod<&TensorObject::read>("read"),
                      InstanceMethod<&TensorObject::dispose>("dispose"), InstanceAccessor<&TensorObject::bytes>("bytes")});
}

TensorObject::TensorObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<TensorObject>(info) {
  const Napi::Env env = info.Env();
  const DType dtype = parse_dtype(info[0]);
  Shape shape = parse_shape(info[1]);
  if (!info[2].IsUndefined() && !info[2].IsString()) throw Napi::TypeError::New(env, "Tensor: the device must be a string");
  const std::string device = info[2].IsString() ? info[2].As<Napi::String>().Utf8Value() : "cpu";
  try {
    check_limits(dtype, shape);
    tensor_ = std::make_shared<DeviceTensor>(backend_for(device), dtype, std::move(shape));
  } catch (const PlanError& error) {
    throw to_error(env, {"E_SHAPE", error.what()});
  } catch (...) {
    throw to_error(env, current_failure());
  }
  Napi::MemoryManagement::AdjustExternalMemory(env, static_cast<int64_t>(tensor_->desc().bytes()));
}

void TensorObject::Finalize(Napi::Env env) { release(env); }

void TensorObject::release(Napi::Env env) {
  if (!tensor_) return;
  Napi::MemoryManagement::AdjustExternalMemory(env, -static_cast<int64_t>(tensor_->desc().bytes()));
  tensor_.reset();  // queued work holds it until it is done
}

const std::shared_ptr<DeviceTensor>& TensorObject::get(Napi::Env env) const {
  if (!tensor_) throw to_error(env, {"E_DEVICE", "the tensor has been disposed of"});
  return tensor_;
}

// The data are copied before this returns: later changes of the array do not matter.
Napi::Value TensorObject::write(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto tensor = get(env);
  const TensorDesc& desc = tensor->desc();
  if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != array_type(desc.dtype)) {
    throw to_error(env, {"E_DTYPE", std::string("write: a ") + show_dtype(desc.dtype) + " tensor takes a " + array_name(desc.dtype)});
  }
  const auto array = info[0].As<Napi::TypedArray>();
  if (array.ElementLength() != static_cast<size_t>(desc.size())) {
    throw to_error(env, {"E_SHAPE", "write: " + to_string(desc) + " holds " + std::to_string(desc.size()) + " elements; got " +
                                        std::to_string(array.ElementLength())});
  }
  const auto* start = static_cast<const uint8_t*>(array.ArrayBuffer().Data()) + array.ByteOffset();
  auto data = std::make_shared<std::vector<uint8_t>>();
  try {
    data->assign(start, start + array.ByteLength());
  } catch (...) {
    throw to_error(env, current_failure());
  }
  if (desc.dtype == DType::Bool) {
    for (uint8_t& byte : *data) byte = byte != 0;
  }
  return Environment::of(env).submit(
      env,
      [tensor, data](const std::atomic<bool>&) {
        tensor->backend().copy_in(tensor->data(), data->data(), data->size());
        tensor->touch();
      },
      [](Napi::Env e) { return e.Undefined(); });
}

Napi::Value TensorObject::read(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto tensor = get(env);
  const size_t bytes = tensor->desc().bytes();
  // The array is made now, and filled on the worker thread while nobody else can see it.
  const Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, bytes);
  auto keep = std::make_shared<Napi::Reference<Napi::ArrayBuffer>>(Napi::Persistent(buffer));
  void* target = const_cast<Napi::ArrayBuffer&>(buffer).Data();
  return Environment::of(env).submit(
      env, [tensor, target, bytes](const std::atomic<bool>&) { tensor->backend().copy_out(target, tensor->data(), bytes); },
      [tensor, keep](Napi::Env e) {
        return typed_array(e, tensor->desc().dtype, static_cast<size_t>(tensor->desc().size()), keep->Value());
      });
}

Napi::Value TensorObject::dispose(const Napi::CallbackInfo& info) {
  release(info.Env());
  return info.Env().Undefined();
}

Napi::Value TensorObject::bytes(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), tensor_ ? static_cast<double>(tensor_->desc().bytes()) : 0);
}

TensorList tensor_list(const Napi::Value& value, const char* what) {
  const Napi::Env env = value.Env();
  if (!value.IsArray()) throw Napi::TypeError::New(env, std::string(what) + " must be an array of tensors");
  const auto array = value.As<Napi::Array>();
  const Napi::Function tensor_class = Environment::of(env).tensor_class.Value();
  TensorList list;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value entry = array[i];
    if (!entry.IsObject() || !entry.As<Napi::Object>().InstanceOf(tensor_class)) {
      throw Napi::TypeError::New(env, std::string(what) + "[" + std::to_string(i) + "] must be a Tensor of this addon");
    }
    list.push_back(TensorObject::Unwrap(entry.As<Napi::Object>())->get(env));
  }
  return list;
}

}  // namespace langevin
