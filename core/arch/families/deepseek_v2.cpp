#include "core/arch/families/deepseek_form.h"
#include "core/arch/families/list.h"

namespace headscope {
namespace {

bool recognises(const Json& config) {
  return config_names(config, "deepseek_v2", {"DeepseekV2ForCausalLM", "DeepseekV2Model"});
}

/// "greedy" takes the best of all experts, "group_limited_greedy" those of the best groups, which are as good as
/// their best expert.
Router read_router(const ConfigReader& reader, int64_t experts) {
  // The model's own code divides by the sum and then leaves out the scaling; transformers ignores the key.
  if (reader.boolean_or("norm_topk_prob", false)) reader.refuse("norm_topk_prob", "false or absent");
  const std::string method = reader.text_or("topk_method", "greedy");
  if (method != "greedy" && method != "group_limited_greedy") {
    reader.refuse("topk_method", "\"greedy\" or \"group_limited_greedy\"");
  }
  Router router = read_router_groups(reader, experts);
  if (method == "greedy") router.groups = router.groups_active = 1;
  return router;
}

Architecture architecture(const Json& config, std::string_view source, std::vector<std::string>& notes) {
  const ConfigReader reader(config, source);
  return read_deepseek_form(
      reader, {.family = "deepseek_v2", .scoring = "softmax", .shared_experts = 2, .read_router = read_router}, notes);
}

}  // namespace

const Family deepseek_v2_family{
    .name = "deepseek_v2",
    .description = "DeepSeek V2: multi-head latent attention, mixtures of experts with a softmax router",
    .variants = "MLA",
    .positions = "rope on a part of the key that all heads share: plain, linear, llama3, yarn, dynamic",
    .tokenizer = "byte-level BPE",
    .refused = "other scalings, norm_topk_prob",
    .recognises = recognises,
    .architecture = architecture,
    .schema = deepseek_schema,
};

}  // namespace headscope
