#include "core/arch/families/rope_config.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace headscope {
namespace {

/// The rope object of a config: transformers 4 writes rope_scaling (and rope_theta beside it), transformers 5
/// rope_parameters; a non-empty rope_scaling wins, as it does there. Empty when there is neither.
std::optional<ConfigReader> rope_section(const ConfigReader& reader, const RopeSpelling& spelling) {
  if (spelling.old_scaling && reader.has("rope_scaling")) {
    ConfigReader section = reader.section("rope_scaling");
    if (!section.empty()) return section;
  }
  if (!reader.has("rope_parameters")) return std::nullopt;
  ConfigReader section = reader.section("rope_parameters");
  if (spelling.part) {
    if (!section.has(*spelling.part)) return std::nullopt;
    section = section.section(*spelling.part);
  }
  return section.empty() ? std::nullopt : std::optional(section);
}

/// Yarn's default of what it multiplies queries and keys by.
double mscale(double factor, double weight) { return factor <= 1 ? 1 : 0.1 * weight * std::log(factor) + 1; }

/// The context before it was lengthened, which stands in the rope object or beside it.
int64_t read_original_context(const ConfigReader& reader, const ConfigReader& rope, int64_t context) {
  const ConfigKey key = "original_max_position_embeddings";
  return (reader.has(key) ? reader : rope).integer_or(key, context, 1, limits::context);
}

/// Present and not 0, which stands for leaving the key out.
bool says(const ConfigReader& rope, const ConfigKey& key) { return rope.has(key) && !rope.is_zero(key); }

void read_yarn(const ConfigReader& rope, RopeScaling& out) {
  rope.require({"factor"});
  out.factor = rope.positive("factor");
  out.beta_fast = rope.positive_or("beta_fast", 32);
  out.beta_slow = rope.positive_or("beta_slow", 1);
  if (!rope.boolean_or("truncate", true)) rope.refuse("truncate", "true or absent");
  out.attention_factor = mscale(out.factor, 1);
  if (says(rope, "mscale") && says(rope, "mscale_all_dim")) {
    out.attention_factor =
        mscale(out.factor, rope.positive("mscale")) / mscale(out.factor, rope.positive("mscale_all_dim"));
  }
  out.attention_factor = rope.positive_or("attention_factor", out.attention_factor);
}

/// The context becomes that many times as long.
void check_dynamic(const ConfigReader& rope, const RopeScaling& scaling, int64_t context) {
  const double most = std::floor(static_cast<double>(limits::context) / static_cast<double>(context));
  if (scaling.factor >= 1 && scaling.factor <= most) return;
  rope.refuse("factor", fmt::format("from 1 to {:.0f} for a context of {} tokens", most, context));
}

RopeScaling read_scaling(const ConfigReader& reader, const ConfigReader& rope, int64_t context) {
  using Kind = RopeScaling::Kind;
  static constexpr std::array<std::pair<std::string_view, Kind>, 5> kinds{{
      {"default", Kind::none},
      {"linear", Kind::linear},
      {"llama3", Kind::llama3},
      {"yarn", Kind::yarn},
      {"dynamic", Kind::dynamic},
  }};
  RopeScaling out;
  out.kind = rope.choice_or({"rope_type", "type"}, Kind::none, kinds);
  if (out.kind == Kind::none) return out;
  if (out.kind == Kind::yarn) {
    out.original_context = read_original_context(reader, rope, context);
    read_yarn(rope, out);
    return out;
  }
  if (out.kind == Kind::llama3) rope.require({"factor", "low_freq_factor", "high_freq_factor"});
  out.factor = rope.positive("factor");
  out.original_context = context;
  if (out.kind == Kind::dynamic) check_dynamic(rope, out, context);
  if (out.kind != Kind::llama3) return out;

  out.low_freq_factor = rope.positive("low_freq_factor");
  out.high_freq_factor = rope.positive("high_freq_factor");
  if (out.high_freq_factor <= out.low_freq_factor) {
    rope.refuse("high_freq_factor", fmt::format("above low_freq_factor ({})", out.low_freq_factor));
  }
  out.original_context = read_original_context(reader, rope, context);
  return out;
}

/// Where a family rotates whole heads, transformers ignores a partial_rotary_factor with default rope and fails with
/// scaled ones; other readers apply it. No reading is safe, so it is refused.
double read_partial(const ConfigReader& reader, const ConfigKey& key, double fallback, bool allowed) {
  const double share = reader.positive_or(key, fallback);
  if (!allowed && share != 1) reader.refuse(key, "1 or absent in a model of this family");
  if (share > 1) reader.refuse(key, "at most 1");
  return share;
}

/// Angles stay finite and fall with the index from 1 up; a smaller base makes no sense as a wavelength's base.
double read_base(const ConfigReader& reader, const ConfigKey& key, double fallback) {
  const double base = reader.positive_or(key, fallback);
  if (base < 1) reader.refuse(key, "at least 1");
  return base;
}

}  // namespace

double read_score_factor(const ConfigReader& reader, const RopeSpelling& spelling) {
  const std::optional<ConfigReader> rope = rope_section(reader, spelling);
  if (!rope || rope->text_or({"rope_type", "type"}, "default") == "default" || !says(*rope, "mscale_all_dim")) return 1;
  const double factor = mscale(rope->positive("factor"), rope->positive("mscale_all_dim"));
  return factor * factor;
}

Rope read_rope(const ConfigReader& reader, const RopeSpelling& spelling, int64_t head_dim, int64_t context) {
  constexpr ConfigKey partial_key = "partial_rotary_factor";
  const bool allowed = spelling.partial_allowed;
  Rope rope;
  rope.style = RotationStyle::rotate_half;
  rope.base = read_base(reader, spelling.base_key, spelling.base);
  double partial = read_partial(reader, spelling.partial_key.value_or(partial_key), spelling.partial, allowed);
  partial = read_partial(reader, partial_key, partial, allowed);
  if (const std::optional<ConfigReader> section = rope_section(reader, spelling)) {
    rope.base = read_base(*section, "rope_theta", rope.base);
    partial = read_partial(*section, partial_key, partial, allowed);
    rope.scaling = read_scaling(reader, *section, context);
  }
  rope.dims = static_cast<int64_t>(static_cast<double>(head_dim) * partial);
  if (rope.dims < 2 || rope.dims % 2 != 0) {
    fail("{}: rope rotates {} of the {} dimensions of a head, which must be an even number", reader.source(), rope.dims,
         head_dim);
  }
  if (rope.dims == 2 && rope.scaling.kind == RopeScaling::Kind::dynamic) {
    fail("{}: rope rotates 2 dimensions of a head; dynamic scaling needs more", reader.source());
  }
  return rope;
}

void lengthen_context(Architecture& a, std::vector<std::string>& notes) {
  const RopeScaling& scaling = a.position.rope.scaling;
  if (a.position.scheme != PositionScheme::rope || scaling.kind != RopeScaling::Kind::dynamic) return;
  a.context = static_cast<int64_t>(static_cast<double>(a.context) * scaling.factor);
  notes.push_back(fmt::format(
      "dynamic rope scaling: a pass that ends beyond {} tokens turns its queries and keys by angles for its "
      "end, and keys of earlier passes keep theirs, as in transformers; there, tokens that come one by one "
      "and all at once differ. The context is taken as {} tokens, {:g} times that",
      scaling.original_context, a.context, scaling.factor));
}

}  // namespace headscope
