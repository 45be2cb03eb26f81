#include "core/arch/names.h"

#include <stdexcept>

namespace headscope {

std::string_view stored_name(Stored stored) {
  switch (stored) {
    case Stored::keys_and_values: return "keys_and_values";
    case Stored::values_only: return "values_only";
    case Stored::keys_only: return "keys_only";
    case Stored::latent: return "latent";
  }
  throw std::logic_error("stored_name: unknown value");
}

std::string_view position_name(PositionScheme scheme) {
  switch (scheme) {
    case PositionScheme::none: return "none";
    case PositionScheme::learned: return "learned";
    case PositionScheme::rope: return "rope";
    case PositionScheme::alibi: return "alibi";
  }
  throw std::logic_error("position_name: unknown value");
}

std::string_view alibi_name(const Position& position) {
  if (position.scheme != PositionScheme::alibi) return "";
  return position.alibi_bf16 ? "bf16" : "exact";
}

}  // namespace headscope
