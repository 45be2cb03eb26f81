#pragma once

#include <algorithm>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "app/cli/bench/compare.h"
#include "core/base/progress.h"
#include "kernels/kernels.h"

namespace headscope::cli::bench {

struct Gpu;  // gpu.h

/// What the command line asks for.
struct Setting {
  bool quick = false;
  bool tiny = false;    ///< shapes as small as they go: every comparison, times that say nothing
  int64_t repeats = 0;  ///< rounds; 0: as many as there is time for
  int threads = 1;
  uint64_t seed = 0;
  std::vector<AttentionKernel> kernels;  ///< attention kernels to time, one or more, which take f32
  bool kernels_named = false;            ///< by the user; else the fastest
  std::shared_ptr<const Gpu> gpu;        ///< null: the processor is measured
  Progress progress;

  /// `usual`, but no more than a tiny sequence where that is asked for.
  int64_t length(int64_t usual) const { return tiny ? std::min<int64_t>(usual, 128) : usual; }
};

/// What this machine gives at most, measured by a loop of kernels/bench/limits.h.
struct Limit {
  std::string name;  ///< "fma", "exp", "log", "read"
  std::string unit;  ///< what is counted, a second: "FLOP/s", "values/s", "B/s"
  std::string loop;  ///< what was run, in words
  double one = 0;    ///< by one thread
  double all = 0;    ///< by all threads together
};

/// The least time that all threads need for some work.
struct Floor {
  std::string limits;  ///< "fma", "exp + log"
  double seconds = 0;
};

/// Memory that a pass of a model needs at least, by formula.
struct MemoryFormula {
  int64_t loaded = 0;  ///< bytes that are there before: weights
  int64_t pass = 0;    ///< bytes of the pass itself
};

struct Need {
  std::string_view limit;
  double count = 0;  ///< in the limit's unit times seconds
};

/// One way to compute something. `run` computes it once, leaves the results in place until it is called again, and
/// returns the seconds that it took.
struct Side {
  std::string name;  ///< of our kernel, or of what the library is asked for
  std::function<double()> run;
  std::string must_run;  ///< an operation of LibTorch ("aten::mm") without which this is not the side it says
  std::vector<std::string> operations = {};  ///< of LibTorch, where another process runs them
  std::function<int64_t()> peak_bytes = {};  ///< memory that the first run needed at its peak; empty: not measured
};

/// What a pairing is to reach.
struct Target {
  enum class Of {
    ratio,    ///< at most: our time by the library's
    seconds,  ///< at most: our time
    share,    ///< at least: the floor by our time
    memory,   ///< at most: our peak by its formula
  };
  Of of = Of::ratio;
  double wanted = 0;
};

/// Two sides of a contest that give the same answer: one row of the table.
struct Pairing {
  std::string what;
  size_t ours = 0;                                   ///< index of a side
  std::optional<size_t> theirs;                      ///< nothing: ours stands beside its floor alone
  std::optional<Floor> floor;                        ///< of ours
  std::function<std::vector<Difference>()> compare;  ///< after both have run; throws Error when they differ
  std::string note = {};                             ///< what the library's side leaves out, or has for free
  std::optional<MemoryFormula> memory = {};          ///< of ours, where its peak is measured
  std::optional<Target> target = {};
};

/// Sides that are timed in turn, so that a slow moment of the machine meets all of them.
struct Contest {
  std::string shape;
  std::vector<Side> sides;
  std::vector<Pairing> pairings;
  bool once = false;  ///< too long to be repeated: the first run's time is the only one
};

/// What was found. Times are in seconds, one for each round.
struct Row {
  std::string family, what, shape, ours, theirs;  ///< theirs is empty where ours stands beside its floor alone
  std::vector<double> our_seconds = {}, their_seconds = {};
  std::vector<Difference> compared = {};
  std::optional<Floor> floor = {};
  std::optional<int64_t> our_peak_bytes = {}, their_peak_bytes = {};
  std::optional<MemoryFormula> memory = {};  ///< of ours
  std::vector<std::string> operations = {};  ///< of LibTorch that ran on their side
  std::string note = {};
  std::optional<Target> target = {};
  std::string skipped = {};  ///< why nothing was timed; empty when it was

  /// Fastest of ours by fastest of theirs.
  double ratio() const;
  /// What ours had at its peak with all that was loaded, by what the formula says; nothing where one of them is
  /// unknown.
  std::optional<double> memory_share() const;
  /// What its target is about, as it was found; nothing without a target.
  std::optional<double> reached() const;
  bool meets_target() const;  ///< of a row that has one
};

/// Collects rows. One thread uses it.
class Bench {
 public:
  Bench(Setting, std::vector<Limit>);

  const Setting& setting() const { return setting_; }
  std::span<const Limit> limits() const { return limits_; }
  /// The least time for all of these, one after the other: on a CPU they share the same ports.
  Floor floor(std::initializer_list<Need>) const;

  /// Runs each side once, lets the pairings compare the results, then times the sides in turn. Throws Error when
  /// results differ or LibTorch ran something else, Cancelled between runs.
  void hold(const Contest&);
  void skip(std::string what, std::string shape, std::string ours, std::string theirs, std::string why);
  /// Rows from now on are of this family; `done` families are behind it.
  void begin(std::string_view family, double done);

  const std::vector<Row>& rows() const { return rows_; }

 private:
  bool enough(size_t rounds, double spent) const;
  std::vector<std::vector<double>> rounds(const Contest&, const std::string& stage) const;

  Setting setting_;
  std::vector<Limit> limits_;
  std::vector<Row> rows_;
  std::string family_;
  double done_ = 0;  ///< part of the work
};

/// A group of operations that are measured together: one file.
struct Family {
  std::string_view name;
  std::string_view about;
  void (*run)(Bench&);
};

/// All of them, in the order of the table: those of the processor, or of a GPU (gpu.h).
std::span<const Family> families(bool of_gpu);

/// One limit a loop, measured with this many threads of LibTorch's team.
std::vector<Limit> measure_limits(const Setting&);

void bench_attention(Bench&);
void bench_decode(Bench&);
void bench_tiles(Bench&);
void bench_map_statistics(Bench&);
void bench_divergence(Bench&);
void bench_linear(Bench&);
void bench_model(Bench&);

/// Seconds that `work` takes.
double seconds_of(const std::function<void()>& work);

}  // namespace headscope::cli::bench
