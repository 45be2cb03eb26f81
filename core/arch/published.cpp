#include "core/arch/published.h"

#include <algorithm>
#include <array>
#include <map>

#include "core/arch/family.h"
#include "core/arch/footprint.h"
#include "core/base/error.h"
#include "core/base/text.h"

namespace headscope {
namespace {

bool same_letters(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [&](char x, char y) { return lower(x) == lower(y); });
}

/// Whether a list with spaces between its names has this one.
bool lists(std::string_view names, std::string_view name) {
  for (std::string_view rest = names; !rest.empty();) {
    const size_t space = std::min(rest.find(' '), rest.size());
    if (same_letters(rest.substr(0, space), name)) return true;
    rest.remove_prefix(std::min(space + 1, rest.size()));
  }
  return false;
}

std::string count(int64_t value) { return format_count(static_cast<uint64_t>(value)); }

/// "none", "4,096 in every layer", "512 in 22 of 26 layers"; other windows are listed.
std::string windows_text(const Architecture& a) {
  std::map<int64_t, int64_t> layers;  // of each window
  for (const Layer& layer : a.layers) ++layers[layer.window];
  std::vector<std::string> parts;
  for (const auto& [window, those] : layers) {
    if (window == 0) continue;
    parts.push_back(those == a.layer_count()
                        ? fmt::format("{} in every layer", count(window))
                        : fmt::format("{} in {} of {} layers", count(window), those, a.layer_count()));
  }
  return parts.empty() ? "none" : fmt::format("{}", fmt::join(parts, ", "));
}

/// The value of all layers, or runs of it: "10,944, then 1,408 in 26 layers".
template <class Take>
std::string each_layer(const Architecture& a, const Take& take) {
  std::vector<std::pair<int64_t, int64_t>> runs;  // value, layers
  for (const Layer& layer : a.layers) {
    if (runs.empty() || runs.back().first != take(layer)) runs.emplace_back(take(layer), 0);
    ++runs.back().second;
  }
  if (runs.size() == 1) return count(runs.front().first);
  std::vector<std::string> parts;
  for (const auto& [value, layers] : runs) {
    parts.push_back(layers == 1 ? count(value) : fmt::format("{} in {} layers", count(value), layers));
  }
  return fmt::format("{}", fmt::join(parts, ", then "));
}

/// "12 x (64 + 64) of every layer", or of the layers that own a cache where not all do.
std::string cache_text(const Architecture& a) {
  std::vector<std::string> owners, kinds;
  for (const KvStore& store : a.kv_stores) {
    owners.push_back(fmt::format("{}", store.layer));
    kinds.push_back(store.stored == Stored::latent
                        ? fmt::format("latent {} + rope key {}", store.value_dim, store.rope_key())
                        : fmt::format("{} x ({} + {})", store.kv_heads, store.key_dim, store.value_dim));
  }
  kinds.erase(std::unique(kinds.begin(), kinds.end()), kinds.end());
  const bool all = owners.size() == a.layers.size();
  return fmt::format("{} of {}", listed(kinds, kinds.size()),
                     all ? "every layer" : "layers " + listed(owners, owners.size()));
}

}  // namespace

bool PublishedModel::is_called(std::string_view name) const { return lists(names, name); }

bool PublishedModel::is_source(std::string_view place) const { return same_letters(source, place); }

std::span<const PublishedModel> published_models() {
  static constexpr std::array all{
#define MODEL(...) PublishedModel{__VA_ARGS__},
#include "core/arch/published_models.inc"
#undef MODEL
  };
  return all;
}

std::span<const PublishedIds> published_ids() {
  static const std::array all{
#define IDS(tokenizer, text, ...) PublishedIds{tokenizer, text, {__VA_ARGS__}},
#include "core/arch/published_ids.inc"
#undef IDS
  };
  return all;
}

Json published_config(const PublishedModel& model) { return Json::parse(model.config); }

Architecture published_architecture(const PublishedModel& model) {
  const Json config = published_config(model);
  std::vector<std::string> notes;
  return recognise_family(config, model.name()).architecture(config, model.name(), notes);
}

Architecture published_architecture(const PublishedModel& model, std::string_view name) {
  Architecture architecture = published_architecture(model);
  if (lists(model.others, name)) architecture.context = model.others_context;
  return architecture;
}

ShapeFacts shape_facts(const Architecture& a) {
  const std::string experts = experts_text(a);
  return {{"family", a.family},
          {"layers", count(a.layer_count())},
          {"model width", count(a.d_model)},
          {"vocabulary", count(a.vocab_size)},
          {"query heads", each_layer(a, [](const Layer& layer) { return layer.q_heads; })},
          {"keys and values", cache_text(a)},
          {"windows", windows_text(a)},
          {"feed-forward width", each_layer(a, [](const Layer& layer) { return layer.mlp.width; })},
          {"mixture", experts.empty() ? "none" : experts},
          {"tied embeddings", a.tied_embeddings ? "yes" : "no"}};
}

ShapeMatch published_of_shape(const Architecture& architecture) {
  const ShapeFacts facts = shape_facts(architecture);
  for (const PublishedModel& model : published_models()) {
    if (shape_facts(published_architecture(model)) != facts) continue;
    return {&model, parameters_of(architecture) == model.parameters};
  }
  return {};
}

const PublishedModel* published_of_name(std::string_view name) {
  for (const PublishedModel& model : published_models()) {
    if (model.is_called(name)) return &model;
  }
  return nullptr;
}

std::vector<std::string> shape_differences(const Architecture& found, const PublishedModel& model) {
  const ShapeFacts ours = shape_facts(found), theirs = shape_facts(published_architecture(model));
  std::vector<std::string> out;
  for (size_t i = 0; i < ours.size(); ++i) {
    if (ours[i] == theirs[i]) continue;
    out.push_back(fmt::format("{} {} (published {})", ours[i].first, ours[i].second, theirs[i].second));
  }
  if (!out.empty()) return out;
  if (const int64_t parameters = parameters_of(found); parameters != model.parameters) {
    out.push_back(fmt::format("parameters {} (published {})", count(parameters), count(model.parameters)));
  }
  return out;
}

}  // namespace headscope
