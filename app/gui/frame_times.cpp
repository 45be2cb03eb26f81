#include "app/gui/frame_times.h"

#include <algorithm>

namespace headscope::gui {
namespace {

double percentile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1) + 0.5)];
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

}  // namespace headscope::gui
