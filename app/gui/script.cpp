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
constexpr double longest_wait_s = 60;  ///< while nothing runs that could make it true

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
  if (newest_ != section_ && sections_.contains(newest_)) sections_[newest_].left_at = at;
  newest_ = section_;
  Times& times = sections_[section_];
  times.left_at = 0;
  times.build.push_back(build_ms);
  times.frame.push_back(std::max(0.0, frame_ms - std::exchange(left_out_ms_, 0)));
  times.at.push_back(at);
}

Json FrameTimes::json(double end) const {
  Json json;
  json["end_s"] = end;
  for (const auto& [name, times] : sections_) {
    double pause = (times.left_at > 0 ? times.left_at : end) - times.at.back();
    for (size_t i = 1; i < times.at.size(); ++i) pause = std::max(pause, times.at[i] - times.at[i - 1]);
    json["sections"][name] = {{"frames", times.build.size()},
                              {"build_ms_median", percentile(times.build, 0.5)},
                              {"build_ms_p99", percentile(times.build, 0.99)},
                              {"frame_ms_median", percentile(times.frame, 0.5)},
                              {"frame_ms_p99", percentile(times.frame, 0.99)},
                              {"frame_ms_max", percentile(times.frame, 1)},
                              {"longest_pause_s", pause},
                              {"begin_s", times.at.front()},
                              {"end_s", times.at.back()}};
  }
  for (const auto& [name, notes] : notes_) {
    for (const Note& note : notes) {
      json["notes"][name].push_back(
          {{"shown_ms", note.shown_ms}, {"known_ms", note.known_ms}, {"frames", note.frames}});
    }
  }
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
  waiting_ = false;
  if (!inputs_.empty()) {
    feed(inputs_.front());
    inputs_.pop_front();
    return;
  }
  while (next_ < lines_.size() && inputs_.empty() && shot_.empty()) {
    if (deadline_ && Clock::now() > *deadline_) skip_to_end_of_budget();
    const Line& line = lines_[next_];
    try {
      if (!since_) since_ = Clock::now();
      if (!perform(line.text, app, window, platform, times)) {
        waiting_ = true;
        if (!app.idle()) since_ = Clock::now();
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
      since_ = Clock::now();
      return --wait_frames_ == 0;
    }
    // Some frames in a row, because what arrives may ask for more.
    settled_ = app.idle() ? settled_ + 1 : 0;
    if (settled_ < 4) return false;
    settled_ = 0;
    return true;
  }
  if (call.id == "expect" || call.id == "until") return perform_condition(call, window, times);
  if (call.id == "shot") {
    shot_ = needed_word(call, 0, "a file");
    return true;
  }
  if (call.id == "state") {
    write_file_atomically(needed_word(call, 0, "a file"), window.summary().dump(1) + "\n");
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
  if (call.id == "try") {
    try_line(call.rest, app, window);
    return true;
  }
  if (perform_measuring(call, window, times)) return true;
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

bool Script::perform_condition(const CommandCall& call, const Window& window, FrameTimes& times) {
  const auto begin = Clock::now();
  const Condition wanted = condition_of(call);
  const Json state = window.summary();
  const Json& value = value_at(state, wanted.key);
  const bool good = holds(value, wanted.op, wanted.value);
  if (!good && call.id == "expect") fail("it is {}", value.dump());
  if (good && call.id == "until" && timed_) {
    times.note(timed_->name, {std::chrono::duration<double, std::milli>(timed_->shown - timed_->since).count(),
                              1000 * seconds_since(timed_->since), timed_->frames});
    timed_.reset();
  }
  times.leave_out(1000 * seconds_since(begin));
  return good;
}

bool Script::perform_measuring(const CommandCall& call, Window& window, FrameTimes& times) {
  if (call.id == "measure") {
    times.section(needed_word(call, 0, "a name"));
  } else if (call.id == "time") {
    const std::string& name = needed_word(call, 0, "a name");
    if (call.rest.size() <= name.size()) fail("time needs a command behind the name.");
    timed_ = {name, Clock::now(), Clock::now(), 0};
    const std::string line = call.rest.substr(name.size() + 1);
    if (!perform_input(parse_call(line), window)) window.run(line);
  } else if (call.id == "budget") {
    deadline_ = Clock::now() +
                std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(needed_number(call, 0)));
  } else if (call.id == "finally") {
    deadline_.reset();
  } else {
    return false;
  }
  return true;
}

/// What a user does may fail, too: the window says so and goes on.
void Script::try_line(const std::string& text, App& app, Window& window) {
  try {
    if (perform_input(parse_call(text), window)) return;
  } catch (const Error& error) {
    app.log.error(text.substr(0, 200) + ": " + error.what());
    return;
  }
  window.run(text);
}

void Script::skip_to_end_of_budget() {
  deadline_.reset();
  const auto end = std::find_if(lines_.begin() + static_cast<std::ptrdiff_t>(next_), lines_.end(),
                                [](const Line& line) { return line.text == "finally"; });
  if (end == lines_.end()) fail("{}: budget needs a line `finally` below it.", name_);
  next_ = static_cast<size_t>(end - lines_.begin());
  since_.reset();
  wait_frames_ = settled_ = 0;
}

ImVec2 Script::place(Window& window, const std::string& id) const {
  float x = 0, y = 0;
  if (std::sscanf(id.c_str(), "at/%f/%f", &x, &y) == 2) return ImVec2(x, y);
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
  constexpr std::string_view mouse[] = {"click", "double_click", "hover", "move", "drag", "shift_drag", "wheel"};
  if (std::find(std::begin(mouse), std::end(mouse), call.id) == std::end(mouse)) return false;
  const ImVec2 at = place(window, needed_word(call, 0, "the id of what is shown"));
  push(Kind::move, at);
  if (call.id == "move") return true;
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
  if (timed_) {
    timed_->shown = Clock::now();
    ++timed_->frames;
  }
  if (shot_.empty()) return;
  write_file_atomically(shot_, png_bytes(platform.screenshot()));
  shot_.clear();
}

}  // namespace headscope::gui
