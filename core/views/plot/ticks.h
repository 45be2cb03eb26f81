#pragma once

#include <span>
#include <string>
#include <vector>

namespace headscope {

/// A place on an axis and what is written there.
struct Tick {
  double value = 0;
  std::string label;
};

/// The smallest of 1, 2, 5 x 10^k that is at least `least` (> 0).
double nice_step(double least);

/// Multiples of a nice step within [lo, hi], at most `most` of them, ascending; the step is at least
/// `smallest_step`. Labels have just the decimals the step needs. Empty unless lo < hi are finite and most > 0.
std::vector<Tick> nice_ticks(double lo, double hi, int most, double smallest_step = 0);

/// Nice multiples of the binary unit that suits `hi` bytes, from 0: "0", "20 KiB", "40 KiB".
std::vector<Tick> byte_ticks(double hi, int most);

/// Powers of two bytes within [lo, hi], evenly spaced on a logarithmic axis, at most `most` of them: "64 KiB", "1 MiB",
/// "16 MiB". A single one, or none, where the range is narrow. Empty unless 0 < lo < hi are finite and most > 0.
std::vector<Tick> log_byte_ticks(double lo, double hi, int most);

/// Both ends of a logarithmic range and the powers of ten between them.
std::vector<Tick> log_ticks(double lo, double hi);

/// Three significant digits at most, without an exponent from 0.0001 to 99,999: "0.00104", "21.4", "1", "3.05e-5".
std::string short_number(double value);

/// Like short_number, but whole from 1,000 on, with commas: "21.4", "8,549". `value` is 0 or more and below 2^63.
std::string grouped_number(double value);

/// Which of the labels to keep so that kept ones are at least `gap` apart: every k-th from the first, with the
/// smallest k in 1, 2, 5, 10, 20 ... Centres ascend.
std::vector<size_t> thinned(std::span<const double> centres, std::span<const double> extents, double gap);

}  // namespace headscope
