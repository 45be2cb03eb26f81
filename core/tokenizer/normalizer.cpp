#include "core/tokenizer/normalizer.h"

#include "core/tokenizer/unicode.h"

namespace headscope {

Normalizer::Normalizer(const Component& component) { add(component); }

void Normalizer::add(const Component& component) {
  const std::string type = component.type();
  if (type == "Sequence") {
    for (size_t i = 0; i < component.array("normalizers").size(); ++i) add(component.element("normalizers", i));
  } else if (type == "NFC") {
    steps_.push_back({Kind::nfc, {}, {}});
  } else if (type == "Prepend") {
    steps_.push_back({Kind::prepend, component.text("prepend"), {}});
  } else if (type == "Replace") {
    steps_.push_back({Kind::replace, component.text("content"), Pattern::from(component)});
  } else {
    component.refuse_type("NFC, Prepend, Replace, Sequence");
  }
}

std::string Normalizer::normalize(std::string_view text, const Budget& budget) const {
  std::string out(text);
  for (const Step& step : steps_) {
    switch (step.kind) {
      case Kind::nfc:
        out = nfc(out);
        break;
      case Kind::prepend:
        if (!out.empty()) out.insert(0, step.content);
        break;
      case Kind::replace:
        out = step.pattern->replaced(out, step.content, budget);
        break;
    }
    budget.check_size(out.size());
  }
  return out;
}

}  // namespace headscope
