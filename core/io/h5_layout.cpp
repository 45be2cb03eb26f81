#include "core/io/h5_layout.h"

#include <span>
#include <utility>

#include "core/base/crc32.h"
#include "core/base/error.h"

namespace headscope {

H5Storage h5_storage(const TensorInfo& tensor) {
  switch (tensor.dtype) {
    case DType::bf16:
      return {DType::u16, tensor.shape};
    case DType::boolean:
    case DType::f8_e4m3:
    case DType::f8_e5m2:
      return {DType::u8, tensor.shape};
    case DType::other:
      return {DType::u8, {static_cast<int64_t>(tensor.bytes)}};
    default:
      return {tensor.dtype, tensor.shape};
  }
}

uint32_t h5_tensor_crc_begin(const TensorInfo& tensor, uint32_t crc) {
  const std::string text = tensor.name + '\n' + tensor.dtype_text + '\n';
  return crc32(std::as_bytes(std::span(text)), crc);
}

uint32_t h5_list_crc(std::span<const TensorInfo> tensors) {
  uint32_t crc = 0;
  for (const TensorInfo& tensor : tensors) crc = h5_tensor_crc_begin(tensor, crc);
  return crc;
}

TensorInfo h5_tensor_info(const Hdf5Reader& file, const std::string& object) {
  const std::string source = quoted_path(file.path());
  const Hdf5DatasetReader dataset = file.dataset(object);
  TensorInfo tensor;
  tensor.name = file.text_attribute(object, "name");
  tensor.dtype_text = file.text_attribute(object, "dtype", 64);
  const auto dtype = find_dtype(tensor.dtype_text);
  if (!dtype) {
    fail("{}: tensor {} has the unknown dtype {}; known are {}", source, quoted(tensor.name), quoted(tensor.dtype_text),
         known_dtypes());
  }
  tensor.dtype = dtype->dtype;
  tensor.shape = dtype->dtype == DType::other ? file.ints_attribute(object, "shape") : dataset.shape();
  tensor.bytes = checked_tensor_bytes(tensor.shape, dtype->bits, tensor.name, source);
  const H5Storage expected = h5_storage(tensor);
  if (dataset.dtype() != expected.dtype || dataset.shape() != expected.shape) {
    fail("{}: tensor {} of dtype {} must be stored as {} {}, but dataset {} is {} {}", source, quoted(tensor.name),
         tensor.dtype_text, dtype_name(expected.dtype), shape_text(expected.shape), quoted(object),
         dtype_name(dataset.dtype()), shape_text(dataset.shape()));
  }
  return tensor;
}

}  // namespace headscope
