#include "core/arch/families/deepseek_form.h"
#include "core/arch/families/list.h"

namespace headscope {
namespace {

bool recognises(const Json& config) {
  return config_names(config, "deepseek_v3", {"DeepseekV3ForCausalLM", "DeepseekV3Model"});
}

/// Sigmoids with a bias for the choice; a group is as good as the sum of its two best experts.
Router read_router(const ConfigReader& reader, int64_t experts) {
  reader.require({"n_group", "topk_group", "routed_scaling_factor"});
  const std::string method = reader.text_or("topk_method", "noaux_tc");
  if (method != "noaux_tc") reader.refuse("topk_method", "\"noaux_tc\" or absent");
  Router router = read_router_groups(reader, experts);
  router.score = Router::Score::sigmoid;
  router.choice_bias = true;
  router.normalised = reader.boolean_or("norm_topk_prob", true);
  router.group_best = 2;
  if (experts / router.groups < 2) reader.refuse("n_group", "small enough for two experts in each group");
  return router;
}

Architecture architecture(const Json& config, std::string_view source, std::vector<std::string>& notes) {
  const ConfigReader reader(config, source);
  return read_deepseek_form(
      reader, {.family = "deepseek_v3", .rope_interleave_key = true, .scoring = "sigmoid", .read_router = read_router},
      notes);
}

}  // namespace

const Family deepseek_v3_family{
    .name = "deepseek_v3",
    .description = "DeepSeek V3: multi-head latent attention, mixtures of experts with a sigmoid router",
    .variants = "MLA",
    .positions = "rope on a part of the key that all heads share: plain, linear, llama3, yarn, dynamic",
    .tokenizer = "byte-level BPE",
    .refused = "other scalings, 8-bit weights; layers for multi-token prediction are left out",
    .recognises = recognises,
    .architecture = architecture,
    .schema = deepseek_schema,
};

}  // namespace headscope
