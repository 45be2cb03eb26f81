#include <sys/stat.h>

#include <cerrno>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/io/checkpoint.h"
#include "core/io/content_kind.h"
#include "core/io/h5_checkpoint.h"
#include "core/io/hf_folder.h"

namespace headscope {
namespace {

[[noreturn]] void refuse_file(const std::filesystem::path& path, ContentKind kind) {
  if (kind == ContentKind::safetensors || path.extension() == ".safetensors") {
    const auto folder = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
    fail("{} is one file of a model; give the folder that holds it and config.json: {}", quoted_path(path),
         quoted_path(folder));
  }
  const std::string_view really = describe(kind);
  fail("{} is not a model: expected a Hugging Face folder or a HeadScope .h5 file{}{}", quoted_path(path),
       kind == ContentKind::empty ? "; the file is empty"
       : really.empty()           ? ""
                                  : "; it is ",
       really);
}

}  // namespace

std::unique_ptr<Checkpoint> open_checkpoint(const std::filesystem::path& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) {
    if (errno == ENAMETOOLONG) fail("the path {} is too long ({} bytes)", quoted_path(path), path.native().size());
    fail("cannot open {}: {}; expected a Hugging Face folder or a HeadScope .h5 file", quoted_path(path),
         errno_text(errno));
  }
  if (S_ISDIR(status.st_mode)) return open_hf_folder(path);
  const ContentKind kind = content_kind_of(path);
  if (kind != ContentKind::hdf5) refuse_file(path, kind);
  return open_h5_checkpoint(path);
}

}  // namespace headscope
