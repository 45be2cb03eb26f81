#include <algorithm>
#include <chrono>

#include <fmt/ranges.h>

#include "app/cli/bench/bench.h"
#include "app/cli/bench/torch_operations.h"
#include "core/base/error.h"
#include "core/run/kv_measurement.h"

namespace headscope::cli::bench {
namespace {

struct FirstRun {
  std::vector<std::string> operations;  ///< that LibTorch ran
  double seconds = 0;                   ///< of a side that LibTorch's bookkeeping does not slow down
};

FirstRun first_run(const Side& side) {
  double seconds = 0;
  std::vector<std::string> ran = torch_operations([&] { seconds = side.run(); });
  ran.insert(ran.end(), side.operations.begin(), side.operations.end());
  if (!side.must_run.empty() && std::find(ran.begin(), ran.end(), side.must_run) == ran.end()) {
    fail("{} should run {}, but LibTorch ran {}", side.name, side.must_run, fmt::join(ran, ", "));
  }
  return {std::move(ran), seconds};
}

/// What the pairing's comparison finds; its Error with the place in front.
std::vector<Difference> compared(const Pairing& pairing, const std::string& stage) {
  try {
    return pairing.theirs ? pairing.compare() : std::vector<Difference>();
  } catch (const Error& error) {
    throw Error(fmt::format("{}, {}: {}", stage, pairing.what, error.what()));
  }
}

}  // namespace

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double Row::ratio() const {
  return *std::min_element(our_seconds.begin(), our_seconds.end()) /
         *std::min_element(their_seconds.begin(), their_seconds.end());
}

std::optional<double> Row::memory_share() const {
  if (!memory || !our_peak_bytes) return std::nullopt;
  return static_cast<double>(memory->loaded + *our_peak_bytes) / static_cast<double>(memory->loaded + memory->pass);
}

std::optional<double> Row::reached() const {
  if (!target || our_seconds.empty()) return std::nullopt;
  const double seconds = *std::min_element(our_seconds.begin(), our_seconds.end());
  switch (target->of) {
    case Target::Of::ratio:
      return ratio();
    case Target::Of::seconds:
      return seconds;
    case Target::Of::share:
      return floor->seconds / seconds;
    case Target::Of::memory:
      return memory_share();
  }
  return std::nullopt;
}

bool Row::meets_target() const {
  const std::optional<double> found = reached();
  if (!found) return false;
  return target->of == Target::Of::share ? *found >= target->wanted : *found <= target->wanted;
}

Bench::Bench(Setting setting, std::vector<Limit> limits) : setting_(std::move(setting)), limits_(std::move(limits)) {}

void Bench::begin(std::string_view family, double done) {
  family_ = family;
  done_ = done;
}

Floor Bench::floor(std::initializer_list<Need> needs) const {
  Floor out;
  for (const Need& need : needs) {
    const auto same = [&](const Limit& limit) { return limit.name == need.limit; };
    const auto found = std::find_if(limits_.begin(), limits_.end(), same);
    if (found == limits_.end()) throw std::logic_error(fmt::format("no limit {}", need.limit));
    out.limits += (out.limits.empty() ? "" : " + ") + found->name;
    out.seconds += need.count / found->all;
  }
  return out;
}

/// Three rounds show whether they agree; very long ones are run twice.
bool Bench::enough(size_t rounds, double spent) const {
  if (setting_.repeats > 0) return rounds >= static_cast<size_t>(setting_.repeats);
  constexpr size_t most = 100;
  constexpr double long_round = 5;
  const double budget = setting_.tiny ? 0 : setting_.quick ? 0.8 : 4;
  const size_t least = spent / static_cast<double>(rounds) > long_round ? 2 : 3;
  return rounds >= most || (rounds >= least && spent >= budget);
}

/// All sides in turn, until it is enough: the seconds of each side.
std::vector<std::vector<double>> Bench::rounds(const Contest& contest, const std::string& stage) const {
  std::vector<std::vector<double>> seconds(contest.sides.size());
  size_t count = 0;
  for (double spent = 0; count == 0 || !enough(count, spent); ++count) {
    for (size_t i = 0; i < contest.sides.size(); ++i) {
      setting_.progress.step(stage, done_);
      seconds[i].push_back(contest.sides[i].run());
      spent += seconds[i].back();
    }
  }
  return seconds;
}

void Bench::hold(const Contest& contest) {
  const std::string stage = fmt::format("{}: {}", family_, contest.shape);
  std::vector<FirstRun> first;
  std::vector<std::optional<int64_t>> peaks;
  for (const Side& side : contest.sides) {
    setting_.progress.step(stage, done_);
    first.push_back(first_run(side));
    peaks.push_back(side.peak_bytes ? std::optional(side.peak_bytes()) : std::nullopt);
  }
  std::vector<std::vector<Difference>> differences;
  for (const Pairing& pairing : contest.pairings) differences.push_back(compared(pairing, stage));
  std::vector<std::vector<double>> seconds;
  if (contest.once) {
    for (const FirstRun& run : first) seconds.push_back({run.seconds});
  } else {
    seconds = rounds(contest, stage);
  }
  for (size_t i = 0; i < contest.pairings.size(); ++i) {
    const Pairing& one = contest.pairings[i];
    Row row{family_, one.what, contest.shape, contest.sides[one.ours].name, ""};
    row.our_seconds = seconds[one.ours];
    row.our_peak_bytes = peaks[one.ours];
    row.compared = differences[i];
    row.floor = one.floor;
    row.note = one.note;
    row.memory = one.memory;
    row.target = one.target;
    if (one.theirs) {
      row.theirs = contest.sides[*one.theirs].name;
      row.their_seconds = seconds[*one.theirs];
      row.their_peak_bytes = peaks[*one.theirs];
      row.operations = first[*one.theirs].operations;
    }
    rows_.push_back(std::move(row));
  }
}

void Bench::skip(std::string what, std::string shape, std::string ours, std::string theirs, std::string why) {
  Row row{family_, std::move(what), std::move(shape), std::move(ours), std::move(theirs)};
  row.skipped = std::move(why);
  rows_.push_back(std::move(row));
}

}  // namespace headscope::cli::bench
