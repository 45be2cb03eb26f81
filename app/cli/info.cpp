#include <algorithm>
#include <memory>
#include <set>

#include "app/cli/command.h"
#include "app/cli/model_access.h"
#include "app/cli/terminal.h"
#include "core/arch/names.h"
#include "core/arch/rope.h"
#include "core/base/text.h"
#include "core/model/description.h"
#include "core/model/key_condition.h"

namespace headscope::cli {
namespace {

struct Options {
  std::string model;
  bool tensors = false;
  bool families = false;
};

/// "F32", or "BF16, F32" for a mixed file.
std::string stored_types(const Checkpoint& checkpoint) {
  std::set<std::string> types;
  for (const TensorInfo& tensor : checkpoint.tensors()) types.insert(tensor.dtype_text);
  return listed(types);
}

/// One value for each layer, taken from the cache it reads.
template <class Take>
Json per_layer(const Architecture& architecture, Take take) {
  Json list = Json::array();
  for (int64_t layer = 0; layer < architecture.layer_count(); ++layer) list.push_back(take(layer));
  return list;
}

/// One number where all layers agree, else one for each layer.
Json common_or_list(const Json& list) {
  const bool same = std::all_of(list.begin(), list.end(), [&](const Json& value) { return value == list.front(); });
  return same ? list.front() : list;
}

/// null for a layer without latents.
Json mla_json(const Layer& layer) {
  if (!layer.mla) return nullptr;
  return {{"query_rank", layer.mla->query_rank},
          {"content_dim", layer.mla->content_dim},
          {"value_dim", layer.mla->value_dim}};
}

/// What of slim models is read beyond headers: nothing for others, or where it would take long.
using Conditions = std::optional<std::vector<KeyCondition>>;

/// "cond(W_K)" of slim models, empty for others.
std::string condition_text(const Architecture& a, const Conditions& found) {
  const auto slim = [](const KvStore& store) { return store.stored == Stored::keys_only; };
  if (std::none_of(a.kv_stores.begin(), a.kv_stores.end(), slim)) return "";
  if (!found) return "would take long to compute here; headscope verify tells it";
  const auto worst = std::max_element(found->begin(), found->end(),
                                      [](const auto& x, const auto& y) { return x.condition < y.condition; });
  return fmt::format("at most {:.4g}, in layer {}: by so much may the rounding of a key grow in its value",
                     worst->condition, worst->layer);
}

/// Of each owning layer; null for other models and where it would take long.
Json condition_json(const Conditions& found) {
  if (!found || found->empty()) return nullptr;
  Json list = Json::array();
  for (const KeyCondition& one : *found) list.push_back({{"layer", one.layer}, {"condition", one.condition}});
  return list;
}

Json as_json(const Checkpoint& checkpoint, const ModelDescription& description, const Conditions& conditions) {
  const Architecture& a = description.architecture;
  const auto store = [&](int64_t layer) -> const KvStore& { return a.store_of(layer); };
  Json json;
  json["model"] = description.name;
  json["family"] = a.family;
  json["variant"] = variant_name(a);
  json["layers"] = a.layer_count();
  json["d_model"] = a.d_model;
  json["q_heads"] = per_layer(a, [&](int64_t layer) { return a.layers[static_cast<size_t>(layer)].q_heads; });
  json["kv_heads"] = per_layer(a, [&](int64_t layer) { return store(layer).kv_heads; });
  json["kv_owner"] = per_layer(a, [&](int64_t layer) { return a.layers[static_cast<size_t>(layer)].kv_owner; });
  json["key_dim"] = common_or_list(per_layer(a, [&](int64_t layer) { return store(layer).key_dim; }));
  json["value_dim"] = common_or_list(per_layer(a, [&](int64_t layer) { return store(layer).value_dim; }));
  json["kv_store"] = common_or_list(per_layer(a, [&](int64_t layer) { return stored_name(store(layer).stored); }));
  json["parameters"] = description.binding.parameters;
  json["vocab_size"] = a.vocab_size;
  json["context"] = a.context;
  json["position"] = position_name(a.position.scheme);
  json["kv_bytes_per_token"] = {{"f32", kv_bytes_per_token(a, 4)}, {"bf16", kv_bytes_per_token(a, 2)}};
  const auto layer = [&](int64_t index) -> const Layer& { return a.layers[static_cast<size_t>(index)]; };
  json["mla"] = common_or_list(per_layer(a, [&](int64_t index) { return mla_json(layer(index)); }));
  json["experts"] = common_or_list(per_layer(a, [&](int64_t index) { return layer(index).mlp.experts; }));
  json["experts_active"] = common_or_list(per_layer(a, [&](int64_t index) { return layer(index).mlp.experts_active; }));
  json["window"] = common_or_list(per_layer(a, [&](int64_t index) { return layer(index).window; }));
  json["rope_scaling"] = rope_scaling_name(a.position.rope.scaling.kind);
  json["tied_embeddings"] = a.tied_embeddings;
  json["format"] = checkpoint.format();
  json["stored_dtype"] = stored_types(checkpoint);
  json["key_condition"] = condition_json(conditions);
  json["notes"] = description.notes;
  return json;
}

std::string heads_text(const Json& list) {
  const Json value = common_or_list(list);
  return value.is_array() ? value.dump() : fmt::format("{} in each layer", value.get<int64_t>());
}

/// "latent 512, rope key 64; heads of 128 + 64 and values of 128", of the first layer that has one.
std::string latent_text(const Architecture& a) {
  for (int64_t i = 0; i < a.layer_count(); ++i) {
    const auto& mla = a.layers[static_cast<size_t>(i)].mla;
    if (!mla) continue;
    const KvStore& store = a.store_of(i);
    const int64_t rope_key = store.rope_key();
    return fmt::format("latent {}, rope key {}; heads score {} + {} and have values of {}", store.value_dim, rope_key,
                       mla->content_dim, rope_key, mla->value_dim);
  }
  return "";
}

std::string as_text(const Checkpoint& checkpoint, const ModelDescription& description, const Conditions& conditions) {
  const Architecture& a = description.architecture;
  const Json json = as_json(checkpoint, description, conditions);
  std::vector<std::pair<std::string, std::string>> facts = {
      {"model", fmt::format("{} ({}, {})", description.name, checkpoint.format(), stored_types(checkpoint))},
      {"family", a.family},
      {"variant", variant_name(a)},
      {"parameters", format_count(description.binding.parameters)},
      {"layers", format_count(a.layer_count())},
      {"query heads", heads_text(json["q_heads"])},
      {"KV heads", heads_text(json["kv_heads"])},
      {"key, value width", fmt::format("{}, {}", json["key_dim"].dump(), json["value_dim"].dump())},
      {"model width", format_count(a.d_model)},
      {"vocabulary", format_count(a.vocab_size)},
      {"context", fmt::format("{} tokens", format_count(a.context))},
      {"positions", std::string(position_name(a.position.scheme))},
      {"KV cache, f32", kv_equation(a, 4)},
      {"KV cache, bf16", kv_equation(a, 2)},
  };
  if (const std::string condition = condition_text(a, conditions); !condition.empty())
    facts.emplace_back("cond(W_K)", condition);
  if (const std::string latent = latent_text(a); !latent.empty()) facts.emplace_back("latent attention", latent);
  if (const std::string experts = experts_text(a); !experts.empty()) facts.emplace_back("experts", experts);
  return facts_table(facts);
}

std::string tensor_list(const Checkpoint& checkpoint, bool json) {
  if (json) {
    Json list = Json::array();
    for (const TensorInfo& tensor : checkpoint.tensors()) {
      list.push_back(
          {{"name", tensor.name}, {"dtype", tensor.dtype_text}, {"shape", tensor.shape}, {"bytes", tensor.bytes}});
    }
    return json_text(list);
  }
  std::vector<std::vector<std::string>> rows = {{"tensor", "type", "shape", "bytes"}};
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    rows.push_back({quoted(tensor.name, 120), tensor.dtype_text, shape_text(tensor.shape),
                    format_count(static_cast<int64_t>(tensor.bytes))});
  }
  return text_table(rows);
}

std::string family_list(bool json) {
  if (json) {
    Json list = Json::array();
    for (const Family& family : families())
      list.push_back({{"family", family.name},
                      {"description", family.description},
                      {"variants", family.variants},
                      {"positions", family.positions},
                      {"tokenizer", family.tokenizer},
                      {"refused", family.refused}});
    return json_text(list);
  }
  std::vector<std::pair<std::string, std::string>> lines;
  for (const Family& family : families()) lines.emplace_back(family.name, family.description);
  return facts_table(lines);
}

void describe_model(const Options& options, Context& context) {
  check_dtype(context.global);
  if (options.families) {
    context.output = family_list(context.global.json);
    return;
  }
  if (options.model.empty()) throw UsageError("info needs a MODEL: a Hugging Face folder or a .h5 file");
  const auto checkpoint = open_checkpoint(options.model);
  if (options.tensors) {
    context.output = tensor_list(*checkpoint, context.global.json);
    return;
  }
  const ModelDescription description = describe(*checkpoint);
  const Conditions conditions = key_conditions(*checkpoint, description, context.progress());
  context.output = context.global.json ? json_text(as_json(*checkpoint, description, conditions))
                                       : as_text(*checkpoint, description, conditions);
  print_notes(context, description.notes);
}

}  // namespace

void add_info(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "info",
      "Architecture, variant, parameters and KV bytes; reads headers only (of slim models W_K, too, if it is small)");
  command->add_option("MODEL", options->model, "Hugging Face folder or .h5 file");
  command->add_flag("--tensors", options->tensors, "List the tensors instead");
  command->add_flag("--families", options->families, "List the model families that can be opened");
  command->footer("Example: headscope info models/gpt2 --json");
  command->callback(
      [options, &action] { action = [options](Context& context) { describe_model(*options, context); }; });
}

}  // namespace headscope::cli
