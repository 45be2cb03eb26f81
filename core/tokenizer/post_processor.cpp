#include "core/tokenizer/post_processor.h"

#include <limits>

namespace headscope {

PostProcessor::PostProcessor(const Component& component) { add(component); }

void PostProcessor::add(const Component& component) {
  const std::string type = component.type();
  if (type == "Sequence") {
    for (size_t i = 0; i < component.array("processors").size(); ++i) add(component.element("processors", i));
  } else if (type == "TemplateProcessing") {
    if (template_) component.refuse("is a second template, which is not supported");
    const Component tokens = component.child("special_tokens");
    template_.emplace();
    for (size_t i = 0; i < component.array("single").size(); ++i) {
      template_->push_back(piece_of(component.element("single", i), tokens));
    }
  } else if (type != "ByteLevel") {
    component.refuse_type("ByteLevel, Sequence, TemplateProcessing");
  }
}

PostProcessor::Piece PostProcessor::piece_of(const Component& piece, const Component& tokens) {
  if (piece.find("Sequence")) {
    const std::string name = piece.child("Sequence").text("id");
    if (name != "A") piece.refuse(fmt::format("uses the text {}; only \"A\" is supported", quoted(name)));
    return {true, {}};
  }
  if (!piece.find("SpecialToken")) piece.refuse("is neither \"Sequence\" nor \"SpecialToken\"");
  const std::string name = piece.child("SpecialToken").text("id");
  if (!tokens.find(name)) fail("{} does not list {}, which the template uses", tokens.where(), quoted(name));
  const Component token = tokens.child(name);
  Piece result;
  for (const Json& id : token.array("ids")) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > std::numeric_limits<int32_t>::max()) {
      fail("{}: \"ids\" must hold whole numbers below 2^31, found {}", token.where(), quoted(id.dump()));
    }
    result.ids.push_back(id.get<int32_t>());
  }
  return result;
}

std::vector<int32_t> PostProcessor::apply(std::vector<int32_t> ids, bool add_special) const {
  if (!template_) return ids;
  std::vector<int32_t> out;
  for (const Piece& piece : *template_) {
    if (!piece.is_text && !add_special) continue;
    const std::vector<int32_t>& added = piece.is_text ? ids : piece.ids;
    out.insert(out.end(), added.begin(), added.end());
  }
  return out;
}

std::vector<int32_t> PostProcessor::special_ids() const {
  std::vector<int32_t> out;
  if (!template_) return out;
  for (const Piece& piece : *template_) out.insert(out.end(), piece.ids.begin(), piece.ids.end());
  return out;
}

}  // namespace headscope
