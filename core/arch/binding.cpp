#include "core/arch/binding.h"

#include <algorithm>
#include <unordered_map>

#include "core/base/error.h"

namespace headscope {
namespace {

using Index = std::unordered_map<std::string_view, size_t>;

// core/io's shape_text is not used: this library does not link io, which needs HDF5.
std::string shape_of(std::span<const int64_t> shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

std::string full_name(const TensorWish& wish, const std::string& prefix) {
  return wish.outside_prefix ? wish.name : prefix + wish.name;
}

/// The tensor under the first of the wish's names that the file has, or the end.
Index::const_iterator find_tensor(const TensorWish& wish, const std::string& prefix, const Index& index) {
  auto found = index.find(full_name(wish, prefix));
  for (const std::string& other : wish.other_names) {
    if (found == index.end()) found = index.find(wish.outside_prefix ? other : prefix + other);
  }
  return found;
}

bool has_weight(const TensorWish& wish, Weight weight) { return wish.parts.front().weight == weight; }

std::string find_prefix(const TensorSchema& schema, const Index& index) {
  for (const std::string& prefix : schema.prefixes) {
    for (const TensorWish& wish : schema.wishes) {
      if (!wish.optional && !wish.outside_prefix && index.contains(prefix + wish.name)) return prefix;
    }
  }
  return schema.prefixes.empty() ? std::string() : schema.prefixes.front();
}

/// The tied lm_head of a file that holds no embedding, or the end.
Index::const_iterator tied_head(const TensorSchema& schema, const Index& index, TensorBinding& binding) {
  for (const TensorWish& wish : schema.wishes) {
    if (!has_weight(wish, Weight::lm_head) || !wish.optional) continue;
    const auto found = find_tensor(wish, binding.prefix, index);
    if (found != index.end()) {
      binding.notes.push_back(fmt::format("the token embedding is stored as {}", headscope::quoted(found->first)));
    }
    return found;
  }
  return index.end();
}

std::string missing(const TensorWish& wish, const std::string& name) {
  std::string out = fmt::format("{} is missing (expected shape {})", headscope::quoted(name), shape_of(wish.shape));
  if (has_weight(wish, Weight::lm_head)) out += ": lm_head missing although tie_word_embeddings is false";
  return out;
}

std::string twice(std::string_view name, const std::string& other) {
  return fmt::format("{} must not stand beside {}: both hold the same weights", headscope::quoted(name),
                     headscope::quoted(other));
}

/// What is wrong with the tensor, or nothing.
std::string problem(const TensorWish& wish, const TensorInfo& tensor) {
  if (tensor.dtype != DType::f32 && tensor.dtype != DType::f16 && tensor.dtype != DType::bf16) {
    return fmt::format("{}: dtype not supported: found {}, expected F32, F16 or BF16 (save the model in one of them)",
                       headscope::quoted(tensor.name), headscope::quoted(tensor.dtype_text));
  }
  if (tensor.shape == wish.shape) return {};
  const bool same_rank = tensor.shape.size() == wish.shape.size();
  if (wish.more_rows_allowed && same_rank && tensor.shape.front() > wish.shape.front() &&
      std::equal(wish.shape.begin() + 1, wish.shape.end(), tensor.shape.begin() + 1)) {
    return {};
  }
  std::string out = fmt::format("{}: expected shape {}, found {}", headscope::quoted(tensor.name), shape_of(wish.shape),
                                shape_of(tensor.shape));
  const std::vector<int64_t> reversed(tensor.shape.rbegin(), tensor.shape.rend());
  if (reversed == wish.shape) out += " (transposed)";
  return out;
}

void add_notes(const TensorWish& wish, const TensorInfo& tensor, std::vector<std::string>& notes) {
  if (has_weight(wish, Weight::lm_head) && wish.optional) {
    notes.push_back(
        fmt::format("the config ties the output head to the embedding, but the file holds {}: that one is used",
                    headscope::quoted(tensor.name)));
  }
  if (tensor.shape.front() > wish.shape.front()) {
    notes.push_back(fmt::format("{} is padded: it has {} rows for a vocabulary of {}; the last {} are not used",
                                headscope::quoted(tensor.name), tensor.shape.front(), wish.shape.front(),
                                tensor.shape.front() - wish.shape.front()));
  }
}

void note_unused(const TensorSchema& schema, std::span<const TensorInfo> file, const std::vector<bool>& used,
                 std::vector<std::string>& notes) {
  std::vector<std::string> names;
  for (size_t i = 0; i < file.size(); ++i) {
    const bool ignored = std::any_of(schema.ignored_suffixes.begin(), schema.ignored_suffixes.end(),
                                     [&](const std::string& suffix) { return file[i].name.ends_with(suffix); });
    if (!used[i] && !ignored) names.push_back(headscope::quoted(file[i].name));
  }
  if (names.empty()) return;
  notes.push_back(fmt::format("{} of the file {} not used: {}",
                              names.size() == 1 ? "1 tensor" : fmt::format("{} tensors", names.size()),
                              names.size() == 1 ? "is" : "are", listed(names, 5)));
}

[[noreturn]] void refuse(const std::vector<std::string>& problems, std::string_view family, std::string_view source) {
  const bool one = problems.size() == 1;
  const size_t shown = std::min<size_t>(problems.size(), 10);
  fail("{}: {} of this {} model {} missing or {} not fit: {}{}", source,
       one ? "1 tensor" : fmt::format("{} tensors", problems.size()), family, one ? "is" : "are", one ? "does" : "do",
       fmt::join(problems.begin(), problems.begin() + static_cast<std::ptrdiff_t>(shown), "; "),
       problems.size() > shown ? fmt::format("; and {} more", problems.size() - shown) : "");
}

}  // namespace

TensorBinding bind_tensors(const TensorSchema& schema, std::span<const TensorInfo> file, std::string_view source) {
  Index index;
  for (size_t i = 0; i < file.size(); ++i) index.emplace(file[i].name, i);

  TensorBinding out;
  out.prefix = find_prefix(schema, index);
  out.parameters = parameter_count(schema);
  std::vector<std::string> problems;
  std::vector<bool> used(file.size(), false);
  for (size_t w = 0; w < schema.wishes.size(); ++w) {
    const TensorWish& wish = schema.wishes[w];
    const std::string name = full_name(wish, out.prefix);
    Index::const_iterator found = find_tensor(wish, out.prefix, index);
    if (!wish.held_by.empty() && index.contains(out.prefix + wish.held_by)) {
      if (found != index.end()) problems.push_back(twice(found->first, out.prefix + wish.held_by));
      continue;
    }
    if (found == index.end() && has_weight(wish, Weight::token_embedding)) found = tied_head(schema, index, out);
    if (found == index.end()) {
      if (!wish.optional) problems.push_back(missing(wish, name));
      continue;
    }
    if (used[found->second]) continue;  // the lm_head that stands for the embedding
    const TensorInfo& tensor = file[found->second];
    used[found->second] = true;
    if (std::string what = problem(wish, tensor); !what.empty()) {
      problems.push_back(std::move(what));
      continue;
    }
    add_notes(wish, tensor, out.notes);
    out.tensors.push_back({found->second, w});
  }
  if (!problems.empty()) refuse(problems, schema.family, source);
  note_unused(schema, file, used, out.notes);
  return out;
}

}  // namespace headscope
