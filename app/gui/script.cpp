#include "app/gui/script.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "app/gui/panels/shortcuts.h"
#include "core/base/atomic_file.h"
#include "core/base/file.h"
#include "core/base/text.h"

namespace headscope::gui {
namespace {

using Clock = std::chrono::steady_clock;
constexpr double longest_wait_s = 120;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

std::optional<double> number_in(const std::string& text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return {};
  return value;
}

double needed_number(const CommandCall& call, size_t place) {
  const auto number = place < call.words.size() ? number_in(call.words[place]) : std::nullopt;
  if (!number) fail("{} needs a number as word {}.", call.id, place + 1);
  return *number;
}

const std::string& needed_word(const CommandCall& call, size_t place, const char* what) {
  if (place >= call.words.size()) fail("{} needs {}.", call.id, what);
  return call.words[place];
}

double percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1) + 0.5)];
}

/// "KEY OP VALUE": the value may hold spaces.
struct Condition {
  std::string key, op, value;
};
Condition condition_of(const CommandCall& call) {
  const size_t first = call.rest.find(' '), second = call.rest.find(' ', first + 1);
  if (first == std::string::npos || second == std::string::npos) {
    fail("{} needs KEY OP VALUE, as in: {} slots.A.tokens == 60", call.id, call.id);
  }
  std::string value = call.rest.substr(second + 1);
  if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
  return {call.rest.substr(0, first), call.rest.substr(first + 1, second - first - 1), value};
}

}  // namespace

void FrameTimes::add(double build_ms, double frame_ms, double at) {
  Times& times = sections_[section_];
  times.build.push_back(build_ms);
  times.frame.push_back(frame_ms);
  times.at.push_back(at);
}

Json FrameTimes::json() const {
  Json json;
  for (const auto& [name, times] : sections_) {
    json["sections"][name] = {{"frames", times.build.size()},
                              {"build_ms_median", percentile(times.build, 0.5)},
                              {"build_ms_p99", percentile(times.build, 0.99)},
                              {"frame_ms_median", percentile(times.frame, 0.5)},
                              {"frame_ms_p99", percentile(times.frame, 0.99)},
                              {"begin_s", times.at.front()},
                              {"end_s", times.at.back()}};
  }
  for (const auto& [name, value] : notes_) json["notes"][name] = value;
  return json;
}

const Json& value_at(const Json& json, std::string_view key) {
  const Json* here = &json;
  while (!key.empty()) {
    const size_t dot = key.find('.');
    const std::string part(key.substr(0, dot));
    if (!here->is_object() || !here->contains(part)) fail("The state has no key {}.", quoted(part));
    here = &(*here)[part];
    key = dot == std::string_view::npos ? std::string_view() : key.substr(dot + 1);
  }
  return *here;
}

bool holds(const Json& value, std::string_view op, const std::string& wanted) {
  const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  if (op == "~") return text.find(wanted) != std::string::npos;
  const auto number = number_in(wanted);
  if (value.is_number() && number) {
    const auto here = value.get<double>();
    if (op == "==") return here == *number;
    if (op == "!=") return here != *number;
    if (op == "<") return here < *number;
    if (op == "<=") return here <= *number;
    if (op == ">") return here > *number;
    if (op == ">=") return here >= *number;
  }
  if (op == "==") return text == wanted;
  if (op == "!=") return text != wanted;
  fail("{} cannot compare {} with {}.", quoted(op), quoted(text), quoted(wanted));
}

Script::Script(const std::filesystem::path& path) : name_(path.filename().string()) {
  parse(read_small_file(path, 4 << 20));
}

Script::Script(std::string_view text, std::string name) : name_(std::move(name)) { parse(text); }

void Script::parse(std::string_view text) {
  int number = 0;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    ++number;
    while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
    while (!line.empty() && (line.back() == ' ' || line.back() == '\r')) line.remove_suffix(1);
    if (!line.empty() && line.front() != '#') lines_.push_back({number, std::string(line)});
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
}

void Script::step(App& app, Window& window, Platform& platform, FrameTimes& times) {
  if (!inputs_.empty()) {
    feed(inputs_.front());
    inputs_.pop_front();
    return;
  }
  while (next_ < lines_.size() && inputs_.empty() && shot_.empty()) {
    const Line& line = lines_[next_];
    try {
      if (!since_) since_ = Clock::now();
      if (!perform(line.text, app, window, platform, times)) {
        if (seconds_since(*since_) > longest_wait_s) fail("waited {} s in vain", longest_wait_s);
        return;
      }
    } catch (const Error& error) {
      fail("{}:{}: {}: {}", name_, line.number, line.text, error.what());
    }
    since_.reset();
    ++next_;
    // A command shows its effect in the next frame.
    if (!inputs_.empty()) feed(inputs_.front()), inputs_.pop_front();
    return;
  }
}

bool Script::perform(const std::string& text, App& app, Window& window, Platform& platform, FrameTimes& times) {
  const CommandCall call = parse_call(text);
  if (call.id == "wait") {
    const std::string& what = needed_word(call, 0, "idle or a number of frames");
    if (what != "idle") {
      if (wait_frames_ == 0) wait_frames_ = static_cast<int64_t>(needed_number(call, 0)) + 1;
      return --wait_frames_ == 0;
    }
    // Some frames in a row, because what arrives may ask for more.
    settled_ = app.idle() ? settled_ + 1 : 0;
    if (settled_ < 4) return false;
    settled_ = 0;
    return true;
  }
  if (call.id == "expect" || call.id == "until") {
    const Condition wanted = condition_of(call);
    const Json state = window.summary();
    const Json& value = value_at(state, wanted.key);
    const bool good = holds(value, wanted.op, wanted.value);
    if (!good && call.id == "expect") fail("it is {}", value.dump());
    if (good && call.id == "until" && timed_) {
      times.note(timed_->first, 1000 * seconds_since(timed_->second));
      timed_.reset();
    }
    return good;
  }
  if (call.id == "shot") {
    shot_ = needed_word(call, 0, "a file");
    return true;
  }
  if (call.id == "resize") {
    int width = 0, height = 0;
    if (std::sscanf(call.rest.c_str(), "%dx%d", &width, &height) != 2 || width < 64 || height < 64) {
      fail("resize needs WIDTHxHEIGHT, as in 1280x800");
    }
    platform.resize(width, height);
    return true;
  }
  if (call.id == "drop") {
    if (platform.on_drop) platform.on_drop(call.words);
    return true;
  }
  if (call.id == "measure") {
    times.section(needed_word(call, 0, "a name"));
    return true;
  }
  if (call.id == "time") {
    const std::string& name = needed_word(call, 0, "a name");
    timed_ = {name, Clock::now()};
    window.run(call.rest.substr(name.size() + 1));
    return true;
  }
  if (call.id == "pixel") {
    const ImVec2 at = place(window, needed_word(call, 0, "an id"));
    const Rgb colour = platform.screenshot().at(static_cast<int64_t>(at.x + needed_number(call, 1)),
                                                static_cast<int64_t>(at.y + needed_number(call, 2)));
    const std::string found = fmt::format("#{:02X}{:02X}{:02X}", colour.r, colour.g, colour.b);
    if (found != needed_word(call, 3, "a colour")) fail("the pixel is {}", found);
    return true;
  }
  if (perform_input(call, window)) return true;
  run_command(app, window, text);
  return true;
}

ImVec2 Script::place(Window& window, const std::string& id) const {
  const auto at = window.find(id);
  if (!at) fail("nothing with the id {} is shown", quoted(id));
  return *at;
}

void Script::push_key(std::string_view chord) {
  inputs_.push_back({Input::Kind::key_down, {}, 0, parse_chord(chord), {}});
  inputs_.push_back({Input::Kind::key_up, {}, 0, parse_chord(chord), {}});
}

bool Script::perform_input(const CommandCall& call, Window& window) {
  using Kind = Input::Kind;
  const auto push = [&](Kind kind, ImVec2 at, float amount = 0) { inputs_.push_back({kind, at, amount, 0, {}}); };
  if (call.id == "key") {
    push_key(call.rest);
    return true;
  }
  if (call.id == "type" || call.id == "paste") {
    const std::string text = call.words.size() == 1 && call.rest.front() == '"' ? call.words[0] : call.rest;
    if (call.id == "paste") {
      ImGui::SetClipboardText(text.c_str());
      push_key("ctrl+v");
    } else {
      inputs_.push_back({Kind::text, {}, 0, 0, text});
    }
    inputs_.push_back({Kind::move, ImGui::GetMousePos(), 0, 0, {}});
    return true;
  }
  constexpr std::string_view mouse[] = {"click", "double_click", "hover", "drag", "shift_drag", "wheel"};
  if (std::find(std::begin(mouse), std::end(mouse), call.id) == std::end(mouse)) return false;
  const ImVec2 at = place(window, needed_word(call, 0, "the id of what is shown"));
  push(Kind::move, at);
  push(Kind::move, at);
  if (call.id == "wheel") push(Kind::wheel, at, static_cast<float>(needed_number(call, 1)));
  if (call.id == "click" || call.id == "double_click") {
    for (int i = 0; i < (call.id == "click" ? 1 : 2); ++i) push(Kind::press, at), push(Kind::release, at);
  }
  if (call.id == "drag" || call.id == "shift_drag") {
    const bool shift = call.id == "shift_drag";
    const auto dx = static_cast<float>(needed_number(call, 1)), dy = static_cast<float>(needed_number(call, 2));
    if (shift) inputs_.push_back({Kind::key_down, {}, 0, ImGuiMod_Shift, {}});
    push(Kind::press, at);
    for (int i = 1; i <= 8; ++i) {
      const float share = static_cast<float>(i) / 8;
      push(Kind::move, ImVec2(at.x + dx * share, at.y + dy * share));
    }
    push(Kind::release, at);
    if (shift) inputs_.push_back({Kind::key_up, {}, 0, ImGuiMod_Shift, {}});
  }
  push(Kind::move, ImVec2(-1, -1));
  inputs_.pop_back();
  return true;
}

void Script::feed(const Input& input) {
  ImGuiIO& io = ImGui::GetIO();
  const auto key = [&](bool down) {
    for (const ImGuiKey modifier : {ImGuiMod_Ctrl, ImGuiMod_Shift, ImGuiMod_Alt}) {
      if (input.chord & modifier) io.AddKeyEvent(modifier, down);
    }
    const auto plain = static_cast<ImGuiKey>(input.chord & ~ImGuiMod_Mask_);
    if (plain != ImGuiKey_None) io.AddKeyEvent(plain, down);
  };
  switch (input.kind) {
    case Input::Kind::move:
      io.AddMousePosEvent(input.at.x, input.at.y);
      break;
    case Input::Kind::press:
      io.AddMouseButtonEvent(0, true);
      break;
    case Input::Kind::release:
      io.AddMouseButtonEvent(0, false);
      break;
    case Input::Kind::wheel:
      io.AddMouseWheelEvent(0, input.amount);
      break;
    case Input::Kind::key_down:
      key(true);
      break;
    case Input::Kind::key_up:
      key(false);
      break;
    case Input::Kind::text:
      io.AddInputCharactersUTF8(input.text.c_str());
      break;
  }
}

void Script::after_frame(Platform& platform) {
  if (shot_.empty()) return;
  write_file_atomically(shot_, png_bytes(platform.screenshot()));
  shot_.clear();
}

}  // namespace headscope::gui
