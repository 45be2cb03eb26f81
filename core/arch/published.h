#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/arch/architecture.h"
#include "core/io/json.h"

namespace headscope {

/// A model that others published, with what is known of it without its weights. One entry is one model or several of
/// one shape (base and deduplicated, base and instructed): `names` lists them, divided by spaces, the usual one first.
struct PublishedModel {
  std::string_view names;
  std::string_view source;       ///< where the first is published
  std::string_view tokenizer;    ///< the one in published_ids() that it uses, or empty
  int64_t parameters;            ///< tied weights once
  int64_t kv_elements;           ///< numbers in the KV cache for one token, all layers together
  std::string_view config;       ///< the keys of its config.json that say its shape, as JSON
  std::string_view others = {};  ///< those of `names` that have another context, which is:
  int64_t others_context = 0;

  std::string_view name() const { return names.substr(0, names.find(' ')); }
  bool is_called(std::string_view name) const;   ///< upper and lower case are the same
  bool is_source(std::string_view place) const;  ///< likewise
};

/// Ids that a published tokenizer gives, with the tokens that its template adds.
struct PublishedIds {
  std::string_view tokenizer;  ///< "gpt2", ...
  std::string text;
  std::vector<int32_t> ids;
};

/// Sources of the numbers: kv-variants.md 1.1, 3 and 4; for other sizes the config.json and the parameters that
/// `source` publishes; of GPT-3 its paper (arXiv 2005.14165, table 2.1, with dense attention in every layer). Each is
/// also what the shape gives, which tests/unit/arch_published_test.cpp checks; no two entries have one shape.
std::span<const PublishedModel> published_models();
std::span<const PublishedIds> published_ids();

/// The config of the entry, and the model it describes: enough for sizes, not for running weights (what does not change
/// a size, as rope's base, has its default).
Json published_config(const PublishedModel&);
Architecture published_architecture(const PublishedModel&);
/// The same under one of its names, whose context may be another.
Architecture published_architecture(const PublishedModel&, std::string_view name);

/// What tells shapes apart, in words: {"layers", "12"}, {"vocabulary", "50,257"}, ... Always the same number of facts.
/// Biases, learned positions, ranks of latents and the like are none: these show in the number of parameters.
using ShapeFacts = std::vector<std::pair<std::string_view, std::string>>;
ShapeFacts shape_facts(const Architecture&);

/// The entry that has a model's shape facts; nullptr when there is none. It is that model only with its number of
/// parameters, counted from what the family wants of a file.
struct ShapeMatch {
  const PublishedModel* model = nullptr;
  bool same_parameters = false;
};
ShapeMatch published_of_shape(const Architecture&);
/// The entry of this name; nullptr when there is none.
const PublishedModel* published_of_name(std::string_view name);

/// Names that `name` may have meant, nearest first: few letters differ, or it is a part of them.
std::vector<std::string_view> published_names_like(std::string_view name, size_t most = 5);

/// How a model differs from a published one: "layers 6 (published 12)", or, where only that does, "parameters 260,992
/// (published 260,032)"; empty when it does not.
std::vector<std::string> shape_differences(const Architecture& found, const PublishedModel&);

}  // namespace headscope
