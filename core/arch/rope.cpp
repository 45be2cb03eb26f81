#include "core/arch/rope.h"

#include <cmath>
#include <numbers>

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

double scaled(double theta, const RopeScaling& scaling) {
  switch (scaling.kind) {
    case RopeScaling::Kind::none:
      return theta;
    case RopeScaling::Kind::linear:
      return theta / scaling.factor;
    case RopeScaling::Kind::llama3:
      return llama3(theta, scaling);
    case RopeScaling::Kind::yarn:
    case RopeScaling::Kind::dynamic:
      break;
  }
  fail("rope scaling \"{}\" cannot be run yet; none, linear and llama3 can", rope_scaling_name(scaling.kind));
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

std::vector<double> rope_inverse_frequencies(const Rope& rope) {
  if (rope.dims <= 0 || rope.dims % 2 != 0) fail("rope.dims must be even and above 0, but is {}", rope.dims);
  std::vector<double> out;
  out.reserve(static_cast<size_t>(rope.dims / 2));
  for (int64_t j = 0; j < rope.dims / 2; ++j) {
    const double exponent = -2.0 * static_cast<double>(j) / static_cast<double>(rope.dims);
    const double theta = scaled(std::pow(rope.base, exponent), rope.scaling);
    if (!std::isfinite(theta) || theta < 0) fail("rope's frequency {} is {}: check its base and scaling", j, theta);
    out.push_back(theta);
  }
  return out;
}

}  // namespace headscope
