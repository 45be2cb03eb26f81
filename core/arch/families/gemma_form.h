#pragma once

#include "core/arch/families/llama_form.h"

/// What the Gemma models have in common: Llama's form with embeddings scaled by sqrt(d_model), norms that store the
/// weight minus 1, wide heads, tied embeddings.
namespace headscope {

Architecture read_gemma_form(const ConfigReader&, std::string_view family, const ConfigKey& activation_key,
                             const RopeSpelling&, std::vector<std::string>& notes);

/// From Gemma 2 on: norms before and after, the scores' scale and the soft caps, which have these values when the
/// config is silent (0: none).
void set_gemma_scores(const ConfigReader&, double score_cap, double logits_cap, Architecture&);

}  // namespace headscope
