#include "core/arch/families/gemma_form.h"

#include <cmath>

namespace headscope {
namespace {

/// null takes a cap away.
double read_cap(const ConfigReader& reader, const ConfigKey& key, double fallback) {
  if (reader.has(key)) return reader.positive(key);
  return reader.says_null(key) ? 0 : fallback;
}

}  // namespace

Architecture read_gemma_form(const ConfigReader& reader, std::string_view family, const ConfigKey& activation_key,
                             const RopeSpelling& rope, std::vector<std::string>& notes) {
  if (reader.boolean_or("use_bidirectional_attention", false)) {
    reader.refuse("use_bidirectional_attention", "false (only causal attention is supported)");
  }
  Architecture a = read_llama_form(reader, family,
                                   {.head_dim = 256,
                                    .tied_embeddings = true,
                                    .activation_key = activation_key,
                                    .activation = Activation::gelu_tanh,
                                    .rope = rope},
                                   notes);
  a.embedding_scale = std::sqrt(static_cast<double>(a.d_model));
  return a;
}

void set_gemma_scores(const ConfigReader& reader, double score_cap, double logits_cap, Architecture& a) {
  a.logits_soft_cap = read_cap(reader, "final_logit_softcapping", logits_cap);
  const double scalar = reader.positive_or("query_pre_attn_scalar", 256);
  const double cap = read_cap(reader, "attn_logit_softcapping", score_cap);
  for (Layer& layer : a.layers) {
    layer.norm_after = true;
    layer.scale = 1 / std::sqrt(scalar);
    layer.soft_cap = cap;
  }
}

}  // namespace headscope
