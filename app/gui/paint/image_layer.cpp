#include "app/gui/paint/image_layer.h"

#include <epoxy/gl.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <memory>

#include "core/base/error.h"

namespace headscope::gui {
namespace {

constexpr int ramp_steps = 1024;  // as CellColours; one more texel holds the colour of NaN
constexpr Ramp ramps[] = {Ramp::attention, Ramp::difference};
constexpr Theme themes[] = {Theme::dark, Theme::light};
constexpr int32_t logarithmic = 256;

constexpr const char* vertex_source = R"(#version 330 core
layout(location = 0) in vec4 pixels;
layout(location = 1) in vec4 cells_in;
layout(location = 2) in ivec4 grid_in;
layout(location = 3) in vec3 range_in;
uniform vec4 view;  // left and top of the screen, 2 / its size
flat out vec4 cells;
flat out ivec4 grid;
flat out vec3 range;
void main() {
  vec2 at = vec2((gl_VertexID & 1) == 0 ? pixels.x : pixels.z, gl_VertexID < 2 ? pixels.y : pixels.w);
  gl_Position = vec4((at - view.xy) * view.zw * vec2(1, -1) + vec2(-1, 1), 0, 1);
  cells = cells_in;
  grid = grid_in;
  range = range_in;
}
)";

// Both logarithms are of base 2. The 1/512 px makes pixels whose centre lies on the edge of two cells take the second,
// whatever the rounding. NaN is told by its bits, because compilers of shaders may assume there is none.
constexpr const char* fragment_source = R"(#version 330 core
uniform sampler2D values;
uniform sampler2D colours;
uniform vec4 frame;  // left and top of the screen, pixels of the frame buffer a unit, its height
uniform int shift;
flat in vec4 cells;
flat in ivec4 grid;
flat in vec3 range;
out vec4 colour;
void main() {
  vec2 at = vec2(gl_FragCoord.x, frame.w - gl_FragCoord.y) / frame.z + frame.xy;
  ivec2 cell = clamp(ivec2(floor((at - cells.xy + 1.0 / 512.0) * cells.zw)), ivec2(0), grid.zy - 1);
  int index = grid.x + cell.y * grid.z + cell.x;
  float value = texelFetch(values, ivec2(index & ((1 << shift) - 1), index >> shift), 0).r;
  int position;
  if ((floatBitsToUint(value) & 0x7fffffffu) > 0x7f800000u) {
    position = 1024;
  } else if (value <= range.x) {
    position = 0;
  } else if (value >= range.y) {
    position = 1023;
  } else {
    bool logarithmic = (grid.w & 256) != 0;
    float along = (logarithmic ? log2(value / range.x) : value - range.x) * range.z;
    position = int(clamp(along, 0.0, 1.0) * 1023.0 + 0.5);
  }
  colour = texelFetch(colours, ivec2(position, grid.w & 255), 0);
}
)";

GLuint compiled(GLenum kind, const char* source) {
  const GLuint shader = glCreateShader(kind);
  glShaderSource(shader, 1, &source, nullptr);
  glCompileShader(shader);
  GLint ok = 0;
  glGetShaderiv(shader, GL_COMPILE_STATUS, &ok);
  if (ok == 0) {
    std::array<char, 1024> log{};
    glGetShaderInfoLog(shader, static_cast<GLsizei>(log.size()), nullptr, log.data());
    glDeleteShader(shader);
    fail("the graphics driver does not compile HeadScope's shader ({}); update it or set LIBGL_ALWAYS_SOFTWARE=1.",
         quoted(log.data(), 300));
  }
  return shader;
}

GLuint linked(GLuint vertex, GLuint fragment) {
  const GLuint program = glCreateProgram();
  glAttachShader(program, vertex);
  glAttachShader(program, fragment);
  glLinkProgram(program);
  glDeleteShader(vertex);
  glDeleteShader(fragment);
  GLint ok = 0;
  glGetProgramiv(program, GL_LINK_STATUS, &ok);
  if (ok == 0) {
    glDeleteProgram(program);
    fail("the graphics driver does not link HeadScope's shader; update it or set LIBGL_ALWAYS_SOFTWARE=1.");
  }
  return program;
}

void set_nearest() {
  glTexParameteri(GL_TEXTURE_2D, GL_TEXTURE_MIN_FILTER, GL_NEAREST);
  glTexParameteri(GL_TEXTURE_2D, GL_TEXTURE_MAG_FILTER, GL_NEAREST);
  glTexParameteri(GL_TEXTURE_2D, GL_TEXTURE_WRAP_S, GL_CLAMP_TO_EDGE);
  glTexParameteri(GL_TEXTURE_2D, GL_TEXTURE_WRAP_T, GL_CLAMP_TO_EDGE);
}

/// One row a ramp and theme: its steps, then the colour of NaN.
GLuint colour_table() {
  std::vector<uint8_t> texels;
  for (const Ramp ramp : ramps) {
    for (const Theme theme : themes) {
      for (int i = 0; i <= ramp_steps; ++i) {
        const Rgb c =
            i < ramp_steps ? ramp_colour(ramp, theme, i / (ramp_steps - 1.0)) : colour(ColourRole::invalid, theme);
        texels.insert(texels.end(), {c.r, c.g, c.b, 255});
      }
    }
  }
  GLuint id = 0;
  glGenTextures(1, &id);
  glBindTexture(GL_TEXTURE_2D, id);
  set_nearest();
  glTexImage2D(GL_TEXTURE_2D, 0, GL_RGBA8, ramp_steps + 1, std::size(ramps) * std::size(themes), 0, GL_RGBA,
               GL_UNSIGNED_BYTE, texels.data());
  glBindTexture(GL_TEXTURE_2D, 0);
  return id;
}

/// Attributes of one instance, from the `first`-th quad of the bound buffer.
void point_at(size_t first) {
  const auto at = [&](size_t member) { return reinterpret_cast<const void*>(first * sizeof(ImageQuad) + member); };
  glVertexAttribPointer(0, 4, GL_FLOAT, GL_FALSE, sizeof(ImageQuad), at(offsetof(ImageQuad, left)));
  glVertexAttribPointer(1, 4, GL_FLOAT, GL_FALSE, sizeof(ImageQuad), at(offsetof(ImageQuad, begin_x)));
  glVertexAttribIPointer(2, 4, GL_INT, sizeof(ImageQuad), at(offsetof(ImageQuad, offset)));
  glVertexAttribPointer(3, 3, GL_FLOAT, GL_FALSE, sizeof(ImageQuad), at(offsetof(ImageQuad, lo)));
  for (GLuint place = 0; place < 4; ++place) {
    glEnableVertexAttribArray(place);
    glVertexAttribDivisor(place, 1);
  }
}

}  // namespace

GridTexture::~GridTexture() {
  if (id_ != 0) glDeleteTextures(1, &id_);
}

void GridTexture::fill(std::span<const Grid> grids) {
  int64_t cells = 0;
  offsets_.clear();
  GLint largest = 0;
  glGetIntegerv(GL_MAX_TEXTURE_SIZE, &largest);
  for (const Grid& grid : grids) {
    offsets_.push_back(static_cast<int32_t>(cells));
    cells += grid.empty() ? 0 : grid.rows * grid.cols;
    if (cells > int64_t{1} << 30)
      fail("the images of a view have more than 2^30 cells; zoom in or choose fewer heads.");
  }
  int shift = 6;
  while (int64_t{1} << (2 * shift) < cells && int64_t{2} << shift <= largest) ++shift;
  const int64_t width = int64_t{1} << shift, rows = std::max<int64_t>(1, (cells + width - 1) / width);
  if (rows > largest) {
    fail(
        "the images of a view have {} cells, more than the graphics driver's largest texture of {} x {}; zoom in or "
        "choose fewer heads.",
        cells, largest, largest);
  }
  const auto values = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(rows * width));
  float* to = values.get();
  for (const Grid& grid : grids) {
    if (grid.empty()) continue;
    for (int64_t row = 0; row < grid.rows; ++row) {
      to = std::copy_n(grid.values->data() + grid.offset + row * grid.row_stride, grid.cols, to);
    }
  }
  std::fill(to, values.get() + rows * width, 0.0f);

  if (id_ == 0) glGenTextures(1, &id_);
  glBindTexture(GL_TEXTURE_2D, id_);
  glPixelStorei(GL_UNPACK_ROW_LENGTH, 0);
  glPixelStorei(GL_UNPACK_ALIGNMENT, 4);
  if (shift != shift_ || rows > rows_ || rows < rows_ / 4) {
    set_nearest();
    glTexImage2D(GL_TEXTURE_2D, 0, GL_R32F, static_cast<GLsizei>(width), static_cast<GLsizei>(rows), 0, GL_RED,
                 GL_FLOAT, values.get());
    shift_ = shift;
    rows_ = rows;
  } else {
    glTexSubImage2D(GL_TEXTURE_2D, 0, 0, 0, static_cast<GLsizei>(width), static_cast<GLsizei>(rows), GL_RED, GL_FLOAT,
                    values.get());
  }
  glBindTexture(GL_TEXTURE_2D, 0);
}

struct ImageLayer::Call {
  ImageLayer* layer;
  unsigned int texture;
  int shift;
  size_t first, count;
};

ImageLayer::ImageLayer() {
  const GLuint vertex = compiled(GL_VERTEX_SHADER, vertex_source);
  program_ = linked(vertex, compiled(GL_FRAGMENT_SHADER, fragment_source));
  view_ = glGetUniformLocation(program_, "view");
  frame_ = glGetUniformLocation(program_, "frame");
  shift_ = glGetUniformLocation(program_, "shift");
  glUseProgram(program_);
  glUniform1i(glGetUniformLocation(program_, "values"), 0);
  glUniform1i(glGetUniformLocation(program_, "colours"), 1);
  glUseProgram(0);
  colours_ = colour_table();
  glGenVertexArrays(1, &array_);
  glGenBuffers(1, &buffer_);
}

ImageLayer::~ImageLayer() {
  glDeleteBuffers(1, &buffer_);
  glDeleteVertexArrays(1, &array_);
  glDeleteTextures(1, &colours_);
  glDeleteProgram(program_);
}

void ImageLayer::set_scale(ImageQuad& quad, const ColourScale& scale, Theme theme) {
  const auto ramp = std::ranges::find(ramps, scale.ramp) - std::begin(ramps);
  quad.look = static_cast<int32_t>(ramp) * 2 + (theme == Theme::dark ? 0 : 1) + (scale.logarithmic ? logarithmic : 0);
  quad.lo = static_cast<float>(scale.lo);
  quad.hi = static_cast<float>(scale.hi);
  const double span = scale.logarithmic ? std::log2(scale.hi / scale.lo) : scale.hi - scale.lo;
  quad.factor = span > 0 ? static_cast<float>(1 / span) : 0.0f;
}

void ImageLayer::begin_frame() {
  quads_.clear();
  uploaded_ = 0;
}

void ImageLayer::add(ImDrawList& list, const GridTexture& texture, std::span<const ImageQuad> quads) {
  Call call{this, texture.id(), texture.shift(), quads_.size(), quads.size()};
  quads_.insert(quads_.end(), quads.begin(), quads.end());
  list.AddCallback(render, &call, sizeof call);
  list.AddCallback(ImGui::GetPlatformIO().DrawCallback_ResetRenderState);
}

void ImageLayer::render(const ImDrawList*, const ImDrawCmd* command) {
  const Call& call = *static_cast<const Call*>(command->UserCallbackData);
  call.layer->draw(call, *command);
}

void ImageLayer::draw(const Call& call, const ImDrawCmd& command) {
  const ImDrawData& data = *ImGui::GetDrawData();
  const ImVec2 corner = data.DisplayPos, scale = data.FramebufferScale;
  const float height = std::round(data.DisplaySize.y * scale.y);
  // The same truncation as ImGui's back end.
  const int left = static_cast<int>((command.ClipRect.x - corner.x) * scale.x);
  const int bottom = static_cast<int>(height - (command.ClipRect.w - corner.y) * scale.y);
  const int across = static_cast<int>((command.ClipRect.z - command.ClipRect.x) * scale.x);
  const int down = static_cast<int>((command.ClipRect.w - command.ClipRect.y) * scale.y);
  if (across <= 0 || down <= 0) return;
  glScissor(left, bottom, across, down);

  glBindVertexArray(array_);
  glBindBuffer(GL_ARRAY_BUFFER, buffer_);
  if (uploaded_ != quads_.size()) {
    glBufferData(GL_ARRAY_BUFFER, static_cast<GLsizeiptr>(quads_.size() * sizeof(ImageQuad)), quads_.data(),
                 GL_STREAM_DRAW);
    uploaded_ = quads_.size();
  }
  point_at(call.first);
  glUseProgram(program_);
  glUniform4f(view_, corner.x, corner.y, 2 / data.DisplaySize.x, 2 / data.DisplaySize.y);
  glUniform4f(frame_, corner.x, corner.y, scale.y, height);
  glUniform1i(shift_, call.shift);
  glActiveTexture(GL_TEXTURE1);
  glBindTexture(GL_TEXTURE_2D, colours_);
  glBindSampler(1, 0);
  glActiveTexture(GL_TEXTURE0);
  glBindTexture(GL_TEXTURE_2D, call.texture);
  glBindSampler(0, 0);
  glDrawArraysInstanced(GL_TRIANGLE_STRIP, 0, 4, static_cast<GLsizei>(call.count));
}

size_t ImageLayer::bytes() const { return size_t{4} * (ramp_steps + 1) * std::size(ramps) * std::size(themes); }

}  // namespace headscope::gui
