#include "app/gui/script.h"

#include <algorithm>
#include <cstdio>

#include "app/gui/script_condition.h"
#include "core/base/atomic_file.h"
#include "core/base/error.h"
#include "core/base/file.h"

namespace headscope::gui {
namespace {

using Clock = std::chrono::steady_clock;
constexpr double longest_wait_s = 60;  ///< while nothing runs that could make it true
constexpr int settled_frames = 4;      ///< idle in a row before a script believes it: what arrives may ask for more

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

ImVec2 place_of(const Window& window, const std::string& id) {
  float x = 0, y = 0;
  if (std::sscanf(id.c_str(), "at/%f/%f", &x, &y) == 2) return ImVec2(x, y);
  const auto at = window.find(id);
  if (!at) fail("nothing with the id {} is shown", quoted(id));
  return *at;
}

}  // namespace

// --- line after line -----------------------------------------------------------------------------------------------

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
  if (input_.feed_next()) return;
  if (next_ >= lines_.size() || !shot_.empty()) return;
  if (deadline_ && Clock::now() > *deadline_) skip_to_end_of_budget();
  if (!play(lines_[next_], {app, window, platform, times})) {
    waiting_ = true;
    return;
  }
  since_.reset();
  ++next_;
  input_.feed_next();  // a command shows its effect in the next frame
}

/// Returns whether the line is done. Throws Error that names it.
bool Script::play(const Line& line, const Stage& stage) {
  try {
    if (!since_) since_ = Clock::now();
    if (perform(line.text, stage)) return true;
    if (!stage.app.idle()) since_ = Clock::now();
    if (seconds_since(*since_) > longest_wait_s) fail("waited {} s in vain", longest_wait_s);
    return false;
  } catch (const Error& error) {
    fail("{}:{}: {}: {}", name_, line.number, line.text, error.what());
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

/// A line that is not in the table is an input or a command.
bool Script::perform(const std::string& text, const Stage& stage) {
  struct Kind {
    std::string_view id;
    bool (Script::*perform)(const CommandCall&, const Stage&);
  };
  static constexpr Kind kinds[] = {
      {"wait", &Script::wait},          {"expect", &Script::check},      {"until", &Script::check},
      {"shot", &Script::shoot},         {"state", &Script::write_state}, {"resize", &Script::resize},
      {"drop", &Script::drop},          {"pixel", &Script::check_pixel}, {"try", &Script::try_line},
      {"measure", &Script::measure},    {"time", &Script::time_line},    {"budget", &Script::begin_budget},
      {"finally", &Script::end_budget},
  };
  const CommandCall call = parse_call(text);
  for (const Kind& kind : kinds) {
    if (kind.id == call.id) return (this->*kind.perform)(call, stage);
  }
  if (!perform_input(call, stage.window)) run_command(stage.app, stage.window, text);
  return true;
}

bool Script::perform_input(const CommandCall& call, const Window& window) {
  return input_.perform(call, [&](const std::string& id) { return place_of(window, id); });
}

// --- kinds of lines ------------------------------------------------------------------------------------------------

bool Script::wait(const CommandCall& call, const Stage& stage) {
  if (call.needed_word(0, "idle or a number of frames") != "idle") {
    if (wait_frames_ == 0) wait_frames_ = std::max<int64_t>(0, static_cast<int64_t>(call.needed_number(0))) + 1;
    since_ = Clock::now();  // however long it takes, it is not in vain
    return --wait_frames_ == 0;
  }
  settled_ = stage.app.idle() ? settled_ + 1 : 0;
  if (settled_ < settled_frames) return false;
  settled_ = 0;
  return true;
}

/// `expect` and `until`; the latter ends what `time` began.
bool Script::check(const CommandCall& call, const Stage& stage) {
  const auto begin = Clock::now();
  const Condition wanted = condition_of(call);
  const Json state = stage.window.summary();
  const Json& value = value_at(state, wanted.key);
  const bool good = holds(value, wanted.op, wanted.value);
  if (!good && call.id == "expect") fail("it is {}", value.dump());
  if (good && call.id == "until" && timed_) {
    stage.times.note(timed_->name, {std::chrono::duration<double, std::milli>(timed_->shown - timed_->since).count(),
                                    1000 * seconds_since(timed_->since), timed_->frames});
    timed_.reset();
  }
  stage.times.leave_out(1000 * seconds_since(begin));
  return good;
}

bool Script::shoot(const CommandCall& call, const Stage&) {
  shot_ = call.needed_word(0, "a file");
  return true;
}

bool Script::write_state(const CommandCall& call, const Stage& stage) {
  write_file_atomically(call.needed_word(0, "a file"), stage.window.summary().dump(1) + "\n");
  return true;
}

bool Script::resize(const CommandCall& call, const Stage& stage) {
  int width = 0, height = 0;
  if (std::sscanf(call.rest.c_str(), "%dx%d", &width, &height) != 2 || width < 64 || height < 64) {
    fail("resize needs WIDTHxHEIGHT, as in 1280x800");
  }
  stage.platform.resize(width, height);
  return true;
}

bool Script::drop(const CommandCall& call, const Stage& stage) {
  if (stage.platform.on_drop) stage.platform.on_drop(call.words);
  return true;
}

bool Script::check_pixel(const CommandCall& call, const Stage& stage) {
  const ImVec2 at = place_of(stage.window, call.needed_word(0, "an id"));
  const Rgb colour = stage.platform.screenshot().at(static_cast<int64_t>(at.x + call.needed_number(1)),
                                                    static_cast<int64_t>(at.y + call.needed_number(2)));
  const std::string found = fmt::format("#{:02X}{:02X}{:02X}", colour.r, colour.g, colour.b);
  if (found != call.needed_word(3, "a colour")) fail("the pixel is {}", found);
  return true;
}

/// What a user does may fail, too: the window says so and goes on.
bool Script::try_line(const CommandCall& call, const Stage& stage) {
  try {
    if (perform_input(parse_call(call.rest), stage.window)) return true;
  } catch (const Error& error) {
    stage.app.log.error(call.rest.substr(0, 200) + ": " + error.what());
    return true;
  }
  stage.window.run(call.rest);
  return true;
}

bool Script::measure(const CommandCall& call, const Stage& stage) {
  stage.times.section(call.needed_word(0, "a name"));
  return true;
}

bool Script::time_line(const CommandCall& call, const Stage& stage) {
  const std::string& name = call.needed_word(0, "a name");
  if (call.rest.size() <= name.size()) fail("time needs a command behind the name.");
  timed_ = {name, Clock::now(), Clock::now(), 0};
  const std::string line = call.rest.substr(name.size() + 1);
  if (!perform_input(parse_call(line), stage.window)) stage.window.run(line);
  return true;
}

bool Script::begin_budget(const CommandCall& call, const Stage&) {
  const std::chrono::duration<double> seconds(call.needed_number(0));
  deadline_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(seconds);
  return true;
}

bool Script::end_budget(const CommandCall&, const Stage&) {
  deadline_.reset();
  return true;
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

}  // namespace headscope::gui
