#include "app/gui/loop.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>
#include <thread>

#include "app/gui/app/workspace.h"
#include "app/gui/frame_times.h"
#include "core/base/atomic_file.h"
#include "core/base/error.h"

namespace headscope::gui {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double autosave_s = 30;
constexpr double shortest_frame_s = 1.0 / 60;
constexpr double progress_frame_s = 0.1;      ///< between frames that only show how far a job is
constexpr double headless_step_s = 1.0 / 60;  ///< of ImGui's clock
constexpr int frames_after_event = 3;         ///< ImGui settles hover, layout and focus within three

double seconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

class Loop {
 public:
  Loop(App& app, Window& window, Platform& platform, const LoopOptions& options)
      : app_(app), window_(window), platform_(platform), options_(options) {
    if (!options.script.empty()) {
      script_.emplace(std::filesystem::path(options.script));
    } else if (!options.shot.empty()) {
      script_.emplace(std::string_view("wait idle"), "shot");
    }
  }

  void run(const std::atomic<bool>& stop) {
    try {
      while (!stop && !finished()) step();
    } catch (...) {
      if (!options_.workspace.empty()) save_workspace(options_.workspace, app_.state);  // nothing is lost
      throw;
    }
    if (!options_.workspace.empty()) save_workspace(options_.workspace, app_.state);
    if (!options_.shot.empty()) write_file_atomically(options_.shot, png_bytes(platform_.screenshot()));
    if (!options_.frame_times.empty()) save_frame_times();
  }

 private:
  /// Times in the file count from `start_monotonic_s` of the system's monotonic clock.
  void save_frame_times() const {
    Json json = times_.json(seconds(start_, Clock::now()));
    json["start_monotonic_s"] = std::chrono::duration<double>(start_.time_since_epoch()).count();
    json["renderer"] = platform_.renderer();
    write_file_atomically(options_.frame_times, json.dump(2) + "\n");
  }

  void step() {
    if (script_ && !script_->done()) due_ = std::max(due_, 1);
    wait();
    if (app_.update()) ask_for_frames(false);
    autosave();
    if (due_ > 0 || Clock::now() >= wake_at_) draw();
  }

  /// A window stays open behind its script; off-screen nothing can happen any more.
  bool finished() const {
    if (app_.quit_requested || platform_.close_requested()) return true;
    const bool played = !script_ || script_->done();
    return played && due_ <= 0 && (options_.headless || !options_.shot.empty());
  }

  void wait() {
    if (due_ <= 0) {
      const double now_to_wake = wake_at_ == Clock::time_point::max() ? autosave_s : seconds(Clock::now(), wake_at_);
      if (platform_.wait(std::clamp(now_to_wake, 0.0, autosave_s))) ask_for_frames(platform_.had_input());
      if (due_ <= 0) return;
    }
    hold_back();
    if (platform_.wait(0)) ask_for_frames(platform_.had_input());
  }

  void ask_for_frames(bool input) {
    input_ |= input;
    due_ = std::max(due_, input || !app_.status().busy ? frames_after_event : 1);
  }

  /// Seconds from one frame to the next: no faster than a screen, and where a processor draws, no more than half of its
  /// time, so that a job gets on. Nobody needs to see its progress more than some times a second. A script off-screen
  /// need not wait for nothing.
  double pace() const {
    if (options_.headless && app_.idle()) return 0;
    if (!app_.status().busy) return shortest_frame_s;
    const bool acts = input_ || (script_ && !script_->done() && !script_->waiting());
    return acts ? std::clamp(2 * frame_cost_s_, shortest_frame_s, progress_frame_s / 2) : progress_frame_s;
  }

  void hold_back() {
    for (double left = 0; (left = pace() - seconds(last_frame_, Clock::now())) > 0;) {
      // Input ends a longer pause, but not the one between frames of a screen.
      if (pace() < progress_frame_s) {
        std::this_thread::sleep_for(std::chrono::duration<double>(left));
      } else if (platform_.wait(left)) {
        ask_for_frames(platform_.had_input());
      }
    }
  }

  void draw() {
    const auto begin = Clock::now();
    try {
      if (script_ && !script_->done()) script_->step(app_, window_, platform_, times_);
    } catch (...) {
      if (!options_.shot.empty()) write_file_atomically(options_.shot, png_bytes(platform_.screenshot()));
      throw;
    }
    platform_.begin_frame(headless_step_s);
    const auto building = Clock::now();
    window_.frame();
    const auto built = Clock::now();
    platform_.end_frame(window_.background());
    const auto end = Clock::now();
    if (!options_.frame_times.empty())
      times_.add(1000 * seconds(building, built), 1000 * seconds(begin, end), seconds(start_, end));
    if (script_) script_->after_frame(platform_);
    platform_.set_title(title());
    app_.state.width = std::lround(platform_.width() / platform_.content_scale());
    app_.state.height = std::lround(platform_.height() / platform_.content_scale());
    last_frame_ = begin;
    frame_cost_s_ = seconds(begin, end);
    if (--due_ <= 0) input_ = false;
    const double next = window_.next_wake();
    wake_at_ = std::isinf(next)
                   ? Clock::time_point::max()
                   : end + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(next));
  }

  std::string title() const {
    const auto& model = app_.data().model;
    return model ? model->name() + " - HeadScope" : "HeadScope";
  }

  void autosave() {
    if (options_.workspace.empty() || seconds(saved_, Clock::now()) < autosave_s) return;
    saved_ = Clock::now();
    std::string now = workspace_text(app_.state);
    if (now == saved_state_) return;
    try {
      save_workspace(options_.workspace, app_.state);
      saved_state_ = std::move(now);
    } catch (const Error& error) {
      app_.log.error(error.what());
    }
  }

  App& app_;
  Window& window_;
  Platform& platform_;
  const LoopOptions& options_;
  std::optional<Script> script_;
  FrameTimes times_;
  int due_ = frames_after_event;
  bool input_ = false;       ///< what is due answers somebody
  double frame_cost_s_ = 0;  ///< of the newest frame
  Clock::time_point start_ = Clock::now(), last_frame_ = start_, saved_ = start_;
  Clock::time_point wake_at_ = Clock::time_point::max();
  std::string saved_state_;
};

}  // namespace

void run_loop(App& app, Window& window, Platform& platform, const LoopOptions& options, const std::atomic<bool>& stop) {
  Loop(app, window, platform, options).run(stop);
}

}  // namespace headscope::gui
