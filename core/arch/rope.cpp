#include "core/arch/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>

#include "core/base/error.h"

namespace headscope {
namespace {

double llama3(double theta, const RopeScaling& scaling) {
  const auto context = static_cast<double>(scaling.original_context);
  const double wavelength = 2 * std::numbers::pi / theta;
  if (wavelength > context / scaling.low_freq_factor) return theta / scaling.factor;
  if (wavelength < context / scaling.high_freq_factor) return theta;
  const double t =
      (context / wavelength - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1 - t) * theta / scaling.factor + t * theta;
}

/// The dimension (of pairs) whose angle turns so often in the original context.
double dimension_of(double rotations, const Rope& rope) {
  const auto context = static_cast<double>(rope.scaling.original_context);
  return static_cast<double>(rope.dims) * std::log(context / (rotations * 2 * std::numbers::pi)) /
         (2 * std::log(rope.base));
}

double yarn(double theta, int64_t pair, const Rope& rope) {
  const double low = std::max(0.0, std::floor(dimension_of(rope.scaling.beta_fast, rope)));
  double high = std::min(static_cast<double>(rope.dims - 1), std::ceil(dimension_of(rope.scaling.beta_slow, rope)));
  if (high == low) high += 0.001;
  const double stretched = std::clamp((static_cast<double>(pair) - low) / (high - low), 0.0, 1.0);
  return theta / rope.scaling.factor * stretched + theta * (1 - stretched);
}

double dynamic_base(const Rope& rope, int64_t tokens) {
  const RopeScaling& scaling = rope.scaling;
  if (tokens <= scaling.original_context) return rope.base;
  const double length = static_cast<double>(tokens) / static_cast<double>(scaling.original_context);
  const auto dims = static_cast<double>(rope.dims);
  return rope.base * std::pow(scaling.factor * length - (scaling.factor - 1), dims / (dims - 2));
}

double scaled(double theta, int64_t pair, const Rope& rope) {
  const RopeScaling& scaling = rope.scaling;
  switch (scaling.kind) {
    case RopeScaling::Kind::none:
    case RopeScaling::Kind::dynamic:  // in the base
      return theta;
    case RopeScaling::Kind::linear:
      return theta / scaling.factor;
    case RopeScaling::Kind::llama3:
      return llama3(theta, scaling);
    case RopeScaling::Kind::yarn:
      return yarn(theta, pair, rope);
  }
  throw std::logic_error("rope: unknown scaling");
}

}  // namespace

std::string_view rope_scaling_name(RopeScaling::Kind kind) {
  switch (kind) {
    case RopeScaling::Kind::none:
      return "none";
    case RopeScaling::Kind::linear:
      return "linear";
    case RopeScaling::Kind::llama3:
      return "llama3";
    case RopeScaling::Kind::yarn:
      return "yarn";
    case RopeScaling::Kind::dynamic:
      return "dynamic";
  }
  return "unknown";
}

std::vector<double> rope_inverse_frequencies(const Rope& rope, int64_t tokens) {
  if (rope.dims <= 0 || rope.dims % 2 != 0) fail("rope.dims must be even and above 0, but is {}", rope.dims);
  const bool dynamic = rope.scaling.kind == RopeScaling::Kind::dynamic;
  if (dynamic && rope.dims == 2) fail("rope.dims must be above 2 with dynamic scaling");
  const double base = dynamic ? dynamic_base(rope, tokens) : rope.base;
  if (!std::isfinite(base)) {
    fail("dynamic rope scaling: the base for {} tokens is {}; its factor {} is too large", tokens, base,
         rope.scaling.factor);
  }
  std::vector<double> out;
  out.reserve(static_cast<size_t>(rope.dims / 2));
  for (int64_t j = 0; j < rope.dims / 2; ++j) {
    const double exponent = -2.0 * static_cast<double>(j) / static_cast<double>(rope.dims);
    const double theta = scaled(std::pow(base, exponent), j, rope);
    if (!std::isfinite(theta) || theta < 0) fail("rope's frequency {} is {}: check its base and scaling", j, theta);
    out.push_back(theta);
  }
  return out;
}

}  // namespace headscope
