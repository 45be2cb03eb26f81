#include "core/views/plot/ticks.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/base/text.h"

namespace headscope {
namespace {

std::string with_decimals(double value, double step) {
  const int decimals = std::max(0, static_cast<int>(-std::floor(std::log10(step) + 1e-9)));
  std::string text = fmt::format("{:.{}f}", value, decimals);
  return text == "-0" ? "0" : text;
}

}  // namespace

double nice_step(double least) {
  const double power = std::pow(10, std::floor(std::log10(least)));
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= least * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

std::vector<Tick> nice_ticks(double lo, double hi, int most, double smallest_step) {
  std::vector<Tick> ticks;
  if (!(lo < hi) || !std::isfinite(lo) || !std::isfinite(hi) || most <= 0) return ticks;
  double step = nice_step(std::max((hi - lo) / most, smallest_step));
  // `most` intervals may still hold most + 1 multiples.
  const auto count = [&] { return std::floor(hi / step + 1e-9) - std::ceil(lo / step - 1e-9) + 1; };
  while (count() > most) step = nice_step(step * 1.5);
  const double first = std::ceil(lo / step - 1e-9);
  for (int i = 0; i < static_cast<int>(count()); ++i) {
    const double value = (first + i) * step;
    ticks.push_back({value, with_decimals(value, step)});
  }
  return ticks;
}

std::vector<Tick> byte_ticks(double hi, int most) {
  static constexpr std::array units{"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double unit = 1;
  size_t index = 0;
  for (; hi / unit >= 1024 && index + 1 < units.size(); ++index) unit *= 1024;
  std::vector<Tick> ticks = nice_ticks(0, hi / unit, most, index == 0 ? 1 : 0);
  for (Tick& tick : ticks) {
    if (tick.value == 0) {
      tick.label = "0";
    } else {
      tick.label += fmt::format(" {}", units[index]);
    }
    tick.value *= unit;
  }
  return ticks;
}

std::vector<Tick> log_byte_ticks(double lo, double hi, int most) {
  std::vector<Tick> ticks;
  if (!(lo > 0) || !(lo < hi) || !std::isfinite(hi) || most <= 0) return ticks;
  const int first = static_cast<int>(std::ceil(std::log2(lo) - 1e-9));
  const int last = static_cast<int>(std::floor(std::log2(hi) + 1e-9));
  int step = 1;
  while ((last / step) - (first + step - 1) / step + 1 > most) step += step < 5 ? 1 : 5;
  for (int power = (first + step - 1) / step * step; power <= last; power += step) {
    if (power < 0) continue;
    constexpr std::array units{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    const auto unit = std::min<size_t>(static_cast<size_t>(power) / 10, units.size() - 1);
    ticks.push_back(
        {std::exp2(power), fmt::format("{} {}", std::exp2(power - 10 * static_cast<int>(unit)), units[unit])});
  }
  return ticks;
}

std::vector<Tick> log_ticks(double lo, double hi) {
  std::vector<Tick> ticks{{lo, short_number(lo)}};
  for (double power = std::ceil(std::log10(lo) + 1e-9); power < std::log10(hi) - 1e-9; ++power) {
    ticks.push_back({std::pow(10, power), short_number(std::pow(10, power))});
  }
  ticks.push_back({hi, short_number(hi)});
  return ticks;
}

std::string short_number(double value) {
  if (std::isnan(value)) return "NaN";
  const double size = std::abs(value);
  if (size != 0 && (size < 1e-4 || size >= 99999.5)) {
    std::string text = fmt::format("{:.2e}", value);  // 3.05e-05
    const size_t exponent = text.find('e') + 2;
    text.erase(exponent, text.find_first_not_of('0', exponent) - exponent);
    return text;
  }
  const int whole_digits = size >= 1 ? static_cast<int>(std::floor(std::log10(size))) + 1 : 0;
  const int leading_zeros = size < 1 && size > 0 ? static_cast<int>(-std::floor(std::log10(size))) - 1 : 0;
  std::string text = fmt::format("{:.{}f}", value, std::max(0, 3 - whole_digits + leading_zeros));
  if (text.find('.') != std::string::npos) {
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
  }
  return text;
}

std::string grouped_number(double value) {
  return value < 999.5 ? short_number(value) : format_count(static_cast<uint64_t>(std::llround(value)));
}

std::vector<size_t> thinned(std::span<const double> centres, std::span<const double> extents, double gap) {
  const size_t count = centres.size();
  std::vector<size_t> kept;
  for (size_t power = 1; count > 0; power *= 10) {
    for (const size_t factor : {1, 2, 5}) {
      const size_t every = factor * power;
      kept.clear();
      bool clear = true;
      for (size_t i = 0; i < count && clear; i += every) {
        if (!kept.empty()) {
          const size_t before = kept.back();
          clear = centres[i] - extents[i] / 2 - centres[before] - extents[before] / 2 >= gap;
        }
        kept.push_back(i);
      }
      if (clear) return kept;
    }
  }
  return kept;
}

}  // namespace headscope
