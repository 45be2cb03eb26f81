#include "core/tokenizer/metaspace.h"

namespace headscope {

Metaspace Metaspace::from(const Component& component) {
  Metaspace result;
  result.replacement = component.character("replacement");
  result.split = component.boolean("split", true);
  const std::string scheme = component.text("prepend_scheme", "always");
  if (scheme == "never") {
    result.prepend = Prepend::never;
  } else if (scheme == "first") {
    result.prepend = Prepend::first;
  } else if (scheme != "always") {
    component.refuse(fmt::format("has the prepend_scheme {}, which is not supported", quoted(scheme)));
  }
  // Files written before prepend_scheme existed have this field alone; the Python package refuses them, too.
  if (result.prepend != Prepend::never && !component.boolean("add_prefix_space", true)) {
    component.refuse(fmt::format("has add_prefix_space false, which contradicts prepend_scheme {}", quoted(scheme)));
  }
  return result;
}

}  // namespace headscope
