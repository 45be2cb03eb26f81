#pragma once

#include "core/arch/families/common.h"

/// DeepSeek's form: Llama's frame around multi-head latent attention, with mixtures of experts from some layer on.
namespace headscope {

/// What the two generations spell differently.
struct DeepseekForm {
  std::string_view family;
  bool rope_interleave_key = false;  ///< V3 may rotate halves; V2 always rotates neighbours
  std::string_view scoring;          ///< the only scoring_func there is
  int64_t shared_experts = 1;        ///< where the config is silent
  /// Reads topk_method and what goes with it.
  Router (*read_router)(const ConfigReader&, int64_t experts);
};

/// Validated. Notes as Family says.
Architecture read_deepseek_form(const ConfigReader&, const DeepseekForm&, std::vector<std::string>& notes);

TensorSchema deepseek_schema(const Architecture&);

/// n_group, topk_group and routed_scaling_factor, which both have.
Router read_router_groups(const ConfigReader&, int64_t experts);

}  // namespace headscope
