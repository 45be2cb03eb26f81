#include <algorithm>
#include <cctype>
#include <cmath>

#include "core/base/atomic_file.h"
#include "core/base/error.h"
#include "core/views/write.h"

namespace headscope {
namespace {

std::string lower_extension(const std::filesystem::path& path) {
  std::string extension = path.extension().string();
  std::ranges::transform(extension, extension.begin(), [](unsigned char c) { return std::tolower(c); });
  return extension;
}

}  // namespace

void check_picture_size(double width, double height, double scale) {
  if (!(scale >= 1 && scale <= 4)) fail("a picture's scale must be between 1 and 4, found {}.", scale);
  const auto fits = [&](double side) { return side * scale >= smallest_side && side * scale <= largest_side; };
  if (!fits(width) || !fits(height)) {
    fail("a picture of {} x {} px at scale {} was asked for; each side must have {} to {} pixels after scaling.", width,
         height, scale, smallest_side, largest_side);
  }
  if (width * height * scale * scale > static_cast<double>(largest_area)) {
    fail(
        "a picture of {} x {} px at scale {} would have {:.0f} million pixels; at most {} million are drawn: choose "
        "a smaller size or scale.",
        width, height, scale, width * height * scale * scale / 1e6, largest_area / 1'000'000);
  }
}

void check_figure_path(const std::filesystem::path& path) {
  const std::string extension = lower_extension(path);
  if (extension != ".svg" && extension != ".png" && extension != ".csv") {
    fail("{} does not end in .svg, .png or .csv, so the kind of file is not known; give one of these endings.",
         quoted(path.string()));
  }
}

void write_figure(const Figure& figure, const std::filesystem::path& path, Theme theme, double scale) {
  check_figure_path(path);
  const std::string extension = lower_extension(path);
  if (extension == ".csv") {
    write_file_atomically(path, csv_text(figure.table));
  } else if (extension == ".svg") {
    write_file_atomically(path, svg_text(figure, theme, scale));
  } else {
    write_file_atomically(path, png_bytes(rasterise(figure, theme, scale)));
  }
}

}  // namespace headscope
