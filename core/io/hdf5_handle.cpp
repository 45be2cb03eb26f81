#include "core/io/hdf5_handle.h"

#include <type_traits>
#include <utility>

#include "core/base/error.h"

namespace headscope {
namespace {

static_assert(std::is_same_v<hid_t, int64_t>, "Hdf5Id holds ids as int64_t, so that its header needs no hdf5.h");

/// Keeps the innermost description: walking upward begins there.
herr_t keep_first(unsigned number, const H5E_error2_t* error, void* text) noexcept {
  if (number == 0 && error->desc) *static_cast<std::string*>(text) = error->desc;
  return 0;
}

bool contains(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

std::string plain_words(const std::string& reason) {
  if (contains(reason, "unable to lock file") && contains(reason, "errno = 11")) {
    return "another program has it open; close it there first";
  }
  if (contains(reason, "already open for write") || contains(reason, "already open for read")) {
    return "it is open for writing, or the program that wrote it stopped before closing it; wait or write it again";
  }
  constexpr std::string_view system_text = "error message = '";
  if (const size_t begin = reason.find(system_text); begin != reason.npos) {
    const std::string text = reason.substr(begin + system_text.size());
    return text.substr(0, text.find('\''));
  }
  if (contains(reason, "truncated file")) return "it is truncated; copy or write it again (" + reason + ")";
  return reason.empty() ? "HDF5 gives no reason" : reason;
}

}  // namespace

Hdf5Id::~Hdf5Id() { close(); }

bool Hdf5Id::close() { return id_ < 0 || close_(std::exchange(id_, -1)) >= 0; }

Hdf5Id::Hdf5Id(Hdf5Id&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}

Hdf5Id& Hdf5Id::operator=(Hdf5Id&& other) noexcept {
  std::swap(id_, other.id_);
  std::swap(close_, other.close_);
  return *this;
}

void prepare_hdf5() {
  H5dont_atexit();  // after a failed write, libhdf5's own clean-up at exit crashes; every id is closed by its owner
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  H5PLset_loading_state(0);
}

std::string take_hdf5_reason() {
  std::string reason;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, &reason);
  H5Eclear2(H5E_DEFAULT);
  return reason;
}

void hdf5_fail(const std::filesystem::path& file, std::string_view action) {
  fail("cannot {} {}: {}", action, quoted_path(file), plain_words(take_hdf5_reason()));
}

Hdf5Id open_hdf5(const std::filesystem::path& file) {
  const hid_t id = H5Fopen(file.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  if (id >= 0) return Hdf5Id(id, H5Fclose);
  const std::string reason = take_hdf5_reason();
  // Errno 11 is somebody else's lock; any other says that the file system has no locks, and then it goes without.
  if (!contains(reason, "unable to lock file") || contains(reason, "errno = 11,")) {
    fail("cannot open {}: {}", quoted_path(file), plain_words(reason));
  }
  const Hdf5Id access = take_id(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, file, "open");
  if (H5Pset_file_locking(access.get(), false, true) < 0) hdf5_fail(file, "open");
  return take_id(H5Fopen(file.c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose, file, "open");
}

Hdf5Id take_id(int64_t id, herr_t (*close)(hid_t), const std::filesystem::path& file, std::string_view action) {
  if (id < 0) hdf5_fail(file, action);
  return Hdf5Id(id, close);
}

namespace {

hid_t standard_type(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return H5T_IEEE_F64LE;
    case DType::f32:
      return H5T_IEEE_F32LE;
    case DType::i64:
      return H5T_STD_I64LE;
    case DType::i32:
      return H5T_STD_I32LE;
    case DType::i16:
      return H5T_STD_I16LE;
    case DType::i8:
      return H5T_STD_I8LE;
    case DType::u64:
      return H5T_STD_U64LE;
    case DType::u32:
      return H5T_STD_U32LE;
    case DType::u16:
      return H5T_STD_U16LE;
    case DType::u8:
      return H5T_STD_U8LE;
    default:
      fail("dtype {} has no HDF5 type of its own", dtype_name(dtype));
  }
}

}  // namespace

Hdf5Id element_type(DType dtype, const std::filesystem::path& file) {
  constexpr std::string_view action = "make an HDF5 type for";
  if (dtype != DType::f16) return take_id(H5Tcopy(standard_type(dtype)), H5Tclose, file, action);
  Hdf5Id type = take_id(H5Tcopy(H5T_IEEE_F32LE), H5Tclose, file, action);
  const bool made = H5Tset_fields(type.get(), 15, 10, 5, 0, 10) >= 0 && H5Tset_size(type.get(), 2) >= 0 &&
                    H5Tset_ebias(type.get(), 15) >= 0;
  if (!made) hdf5_fail(file, action);
  return type;
}

Hdf5Id text_type(const std::filesystem::path& file) {
  Hdf5Id type = take_id(H5Tcopy(H5T_C_S1), H5Tclose, file, "make an HDF5 text type for");
  if (H5Tset_size(type.get(), H5T_VARIABLE) < 0 || H5Tset_cset(type.get(), H5T_CSET_UTF8) < 0) {
    hdf5_fail(file, "make an HDF5 text type for");
  }
  return type;
}

}  // namespace headscope
