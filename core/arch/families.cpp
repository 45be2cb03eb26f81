#include <array>

#include "core/arch/config_reader.h"
#include "core/arch/families/list.h"

namespace headscope {
namespace {

void refuse_quantised(const ConfigReader& reader) {
  if (!reader.has("quantization_config")) return;
  const ConfigReader section = reader.section("quantization_config");
  fail(
      "{}: the weights are quantised (quantization_config, quant_method {}), which is not supported; use the F32, F16 "
      "or BF16 checkpoint it was made from; its tensors can be listed with \"headscope info --tensors\"",
      reader.source(), headscope::quoted(section.text_or("quant_method", "unknown")));
}

/// What the config calls itself, for the message.
std::string own_name(const Json& config) {
  const auto type = config.find("model_type");
  if (type != config.end() && type->is_string()) return headscope::quoted(type->get_ref<const std::string&>());
  const auto names = config.find("architectures");
  if (names != config.end() && names->is_array() && !names->empty() && names->front().is_string()) {
    return headscope::quoted(names->front().get_ref<const std::string&>());
  }
  return {};
}

}  // namespace

std::span<const Family> families() {
  static const std::array all{
#define FAMILY(name) name##_family,
#include "core/arch/families/list.inc"
#undef FAMILY
  };
  return all;
}

const Family& recognise_family(const Json& config, std::string_view source) {
  const ConfigReader reader(config, source);
  (void)reader.text_or("model_type", "");  // a text, or an error
  std::vector<std::string_view> names;
  for (const Family& family : families()) {
    names.push_back(family.name);
    if (!family.recognises(config)) continue;
    refuse_quantised(reader);
    return family;
  }
  const std::string supported = listed(names, names.size());
  const auto nested = config.find("text_config");
  const char* parts = nested != config.end() && nested->is_object()
                          ? ": its text model stands in text_config, and models of several parts cannot be opened"
                          : "";
  const std::string own = own_name(config);
  if (own.empty()) {
    fail(
        "{}: neither model_type nor architectures says what model this is; supported: {}; its tensors can be listed "
        "with \"headscope info --tensors\"",
        source, supported);
  }
  fail(
      "{}: architecture {} is not supported{}; supported: {}; its tensors can be listed with \"headscope info "
      "--tensors\"",
      source, own, parts, supported);
}

}  // namespace headscope
