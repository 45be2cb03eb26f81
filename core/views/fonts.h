#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace headscope {

/// The fonts built into the program (assets/fonts/NOTICE.md).
enum class Font { roboto_regular, roboto_medium, jetbrains_mono, dejavu_sans };

/// The font's TrueType file; lives as long as the program.
std::span<const unsigned char> font_data(Font);

/// What a text is for; decides font and size.
enum class TextRole {
  title,         ///< Roboto Medium 19
  text,          ///< Roboto Regular 15
  caption,       ///< Roboto Regular 13
  label,         ///< Roboto Medium 15
  number,        ///< JetBrains Mono 13: numbers, tokens
  number_small,  ///< JetBrains Mono 11: under thumbnails, on axes
};

struct TextStyle {
  Font font;
  double size;  ///< em size in px at scale 1
};

TextStyle text_style(TextRole);

/// Measures text as window, SVG and PNG draw it: the sum of unhinted advances, no kerning. Characters that the
/// role's font lacks come from DejaVu Sans. Holds font faces, so use one instance from one thread at a time.
class TextMeasurer {
 public:
  TextMeasurer();
  ~TextMeasurer();
  TextMeasurer(const TextMeasurer&) = delete;
  TextMeasurer& operator=(const TextMeasurer&) = delete;

  /// Width of `utf8` in px at scale 1.
  double width(std::string_view utf8, TextRole) const;

  /// How far letters reach above and below the baseline, px at scale 1: room for ink, not for line spacing.
  static double rise(TextRole role) { return 0.76 * text_style(role).size; }
  static double drop(TextRole role) { return 0.24 * text_style(role).size; }

  /// Whether one of the built-in fonts can draw the character.
  bool has_glyph(char32_t) const;

  /// `utf8`, or the longest beginning of it that fits `width` px with an ellipsis; empty if not even that fits.
  std::string fitted(std::string_view utf8, TextRole, double width) const;

  /// Breaks at spaces into at most `max_lines` lines of at most `width` px; the last one is shortened to fit.
  std::vector<std::string> wrapped(std::string_view utf8, TextRole, double width, size_t max_lines) const;

 private:
  std::unique_ptr<class FontFaces> faces_;
};

/// Text made fit to draw: control, format and private characters and those that no built-in font has are
/// written U+XXXX; bytes that are not UTF-8 become U+FFFD.
std::string printable(std::string_view utf8, const TextMeasurer&);

/// A token as shown on chips and axes: `printable`, spaces as a middle dot, newline as a return arrow, tab as
/// an arrow to a bar. An empty piece becomes the empty-set sign.
std::string token_label(std::string_view piece, const TextMeasurer&);

}  // namespace headscope
