// A whole model beside Hugging Face's, which computes the same statistics from its maps (eager) or none at all (SDPA).
// Every side is a process of its own with the same checkpoint, so that each one's memory is its own; they take turns.
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>

#include "app/cli/bench/attention_data.h"
#include "app/cli/bench/bench.h"
#include "app/cli/bench/checkpoint.h"
#include "app/cli/bench/library_attention.h"
#include "app/cli/bench/machine.h"
#include "app/cli/bench/temporary_folder.h"
#include "app/cli/child_process.h"
#include "app/cli/find_python.h"
#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/text.h"
#include "core/data/run_snapshot.h"

extern "C" {
extern const char headscope_bench_eager[], headscope_bench_eager_end[];
}

namespace headscope::cli::bench {
namespace {

namespace fs = std::filesystem;

constexpr int64_t cells = KernelForward::cells;
constexpr int64_t steps = 128;  ///< room for decoded tokens behind the longest prompt
constexpr int32_t next_id = 7;  ///< the token that is decoded
// Differences grow from layer to layer; bf16 has 8 bits.
constexpr double f32_tolerance = 1e-3, bf16_tolerance = 0.1;

/// A process that runs passes, and what it has said.
struct Party {
  Party(std::string label, std::vector<std::string> command, std::string_view program, const fs::path& results_file,
        const Setting& setting)
      : process({"the process of " + label, std::move(command), python_environment(), program}),
        greeting(process.answer(setting.progress)),
        name(fmt::format("{}, {}", greeting.at("name").get<std::string>(), label)),
        results(results_file) {}

  /// One pass. The first one leaves its results in the file.
  double pass(const std::vector<int32_t>& ids, const Progress& progress) {
    const Json found = process.ask({{"ids", ids}, {"results", passes == 0 ? results.native() : ""}}, progress);
    if (passes++ == 0) peak = found.at("peak_bytes").get<int64_t>() - greeting.at("loaded_bytes").get<int64_t>();
    return found.at("seconds").get<double>();
  }
  /// One token. The first one leaves its logits in the file.
  double step(int32_t id, const Progress& progress) {
    if (decoded >= steps) fail("caches have room for {} tokens behind the prompt: give fewer --repeats", steps);
    const Json found = process.ask({{"step", id}, {"results", decoded++ == 0 ? results.native() : ""}}, progress);
    cache_bytes = found.value("read_bytes", int64_t{0});
    return found.at("seconds").get<double>();
  }
  Side side(std::function<double()> run, std::string must_run) {
    return {name, std::move(run), std::move(must_run), greeting.value("operations", std::vector<std::string>()),
            [this] { return peak; }};
  }

  ChildProcess process;
  Json greeting;
  std::string name;  ///< kernel or version, and what it computes with
  fs::path results;
  int64_t peak = 0;  ///< bytes that the first pass took at its peak beside what was loaded
  int passes = 0, decoded = 0;
  int64_t cache_bytes = 0;  ///< that the last step of ours had to read
};

std::vector<float> read_floats(const fs::path& path) {
  std::vector<float> out(fs::file_size(path) / sizeof(float));
  std::ifstream file(path, std::ios::binary);
  if (!file.read(reinterpret_cast<char*>(out.data()), static_cast<std::streamsize>(out.size() * sizeof(float)))) {
    fail("{} could not be read", quoted_path(path));
  }
  return out;
}

class ModelBench {
 public:
  explicit ModelBench(Bench& bench) : bench_(bench), setting_(bench.setting()) {
    if (setting_.tiny) shape_ = {2, 64, 4, 256, 0};
    lengths_ = setting_.tiny    ? std::vector<int64_t>{96}
               : setting_.quick ? std::vector<int64_t>{1024}
                                : std::vector<int64_t>{2048, 4096};
    longest_ = setting_.tiny ? 192 : setting_.quick ? 0 : 32'768;
    cached_ = setting_.tiny ? 96 : 4096;
    shape_.positions = std::max(lengths_.back(), cached_) + steps;
    setting_.progress.step("model: weights", 0);
    write_random_gpt2(folder_.path(), shape_, setting_.seed, setting_.progress);
  }

  void run() {
    for (const int64_t tokens : lengths_) passes(tokens);
    if (longest_ > 0) long_pass();
    decode();
  }

 private:
  std::unique_ptr<Party> start(std::string name, std::vector<std::string> command, std::string_view program = {}) {
    setting_.progress.step("model: loading " + name, 0);
    const fs::path results = folder_.path() / fmt::format("results-{}", started_++);
    return std::make_unique<Party>(std::move(name), std::move(command), program, results, setting_);
  }
  std::unique_ptr<Party> ours(const std::string& dtype) { return ours(dtype, folder_.path()); }
  std::unique_ptr<Party> ours(const std::string& dtype, const fs::path& checkpoint) {
    return start(dtype, {fs::read_symlink("/proc/self/exe").native(), "bench", "--serve", checkpoint.native(),
                         "--quiet", "--dtype", dtype, "--threads", std::to_string(setting_.threads)});
  }
  /// Or nothing, and `why_not`.
  std::unique_ptr<Party> hugging_face(const std::string& implementation, std::string& why_not, bool bf16 = false) {
    try {
      return start(implementation + (bf16 ? " in bf16" : ""),
                   {find_python("bench").native(), "-I", "-B", "/dev/fd/3", folder_.path().native(), implementation,
                    bf16 ? "bfloat16" : "float32", std::to_string(setting_.threads), std::to_string(cells),
                    std::to_string(sink_tokens), std::to_string(window_tokens)},
                   {headscope_bench_eager, headscope_bench_eager_end});
    } catch (const Error& error) {
      why_not = error.what();
      return nullptr;
    }
  }

  std::vector<int32_t> prompt(int64_t tokens) const {
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < tokens; ++i) ids.push_back(static_cast<int32_t>((i * 7919 + 13) % shape_.vocab));
    return ids;
  }

  std::string shape_text(int64_t tokens, const char* what) const {
    return fmt::format("GPT-2, {} layers, width {}, {} {}", shape_.layers, shape_.width,
                       format_count(static_cast<uint64_t>(tokens)), what);
  }

  /// Logits of the last position, and where both have them each statistic and the thumbnails.
  std::vector<Difference> compare(const Party& a, const Party& b, int64_t tokens, double tolerance) const {
    const std::vector<float> x = read_floats(a.results), y = read_floats(b.results);
    const size_t logits = static_cast<size_t>(shape_.vocab);
    const std::span<const float> all_x(x), all_y(y);
    std::vector<Difference> out = {require_equal("logits", all_x.first(logits), all_y.first(logits), tolerance)};
    if (y.size() == logits) return out;
    const size_t rows = static_cast<size_t>(shape_.layers * shape_.heads * tokens);
    size_t at = logits;
    for (const std::string_view name : statistic_names) {
      // Where two weights are nearly equal, either key is right.
      if (name != "argmax") {
        out.push_back(require_equal(name, all_x.subspan(at, rows), all_y.subspan(at, rows), tolerance));
      }
      at += rows;
    }
    out.push_back(require_equal("thumbnails", all_x.subspan(at), all_y.subspan(at), tolerance));
    return out;
  }

  /// What eager needs at its peak: scores, weights and a copy of one head's on the way.
  bool eager_fits(int64_t tokens) const {
    const int64_t available = available_memory();
    return available == 0 || tokens * tokens * 4 * (3 * shape_.heads + 4) < available;
  }

  struct Theirs {
    std::string implementation, must_run, note;
    bool fits = true;
  };

  /// Both of ours beside each of theirs; where there is none, its rows are skipped.
  void passes(int64_t tokens) {
    std::vector<std::unique_ptr<Party>> parties;
    parties.push_back(ours("f32"));
    parties.push_back(ours("bf16"));
    const std::vector<int32_t> ids = prompt(tokens);
    Contest contest{shape_text(tokens, "tokens"), {}, {}};
    const auto add_side = [&](Party& party, const std::string& must_run) {
      contest.sides.push_back(
          party.side([&party, &ids, this] { return party.pass(ids, setting_.progress); }, must_run));
    };
    for (const auto& party : parties) add_side(*party, "");
    for (const Theirs& theirs :
         {Theirs{"eager", "aten::softmax", "theirs is f32, with the same statistics", eager_fits(tokens)},
          Theirs{"sdpa", flash_operation, "theirs is f32 and computes no statistics"}}) {
      std::string why_not = "there is not enough memory for its maps";
      std::unique_ptr<Party> party = theirs.fits ? hugging_face(theirs.implementation, why_not) : nullptr;
      for (const size_t i : {0, 1}) {
        if (!party) bench_.skip(operation(i), contest.shape, parties[i]->name, theirs.implementation, why_not);
      }
      if (!party) continue;
      for (const size_t i : {0, 1}) {
        const double tolerance = i == 0 ? f32_tolerance : bf16_tolerance;
        contest.pairings.push_back({operation(i), i, contest.sides.size(), pass_floor(i, tokens),
                                    [this, tokens, tolerance, &mine = *parties[i], &other = *party] {
                                      return compare(mine, other, tokens, tolerance);
                                    },
                                    theirs.note, memory(shape_, i, tokens)});
      }
      add_side(*party, theirs.must_run);
      parties.push_back(std::move(party));
    }
    if (!contest.pairings.empty()) bench_.hold(contest);
  }

  /// A prompt so long that no map of it fits in any memory: ours alone, once.
  void long_pass() {
    const TemporaryFolder folder;  // more positions are more weights, which the other rows are to be without
    Gpt2Shape shape = shape_;
    shape.positions = longest_;
    setting_.progress.step("model: weights", 0);
    write_random_gpt2(folder.path(), shape, setting_.seed, setting_.progress);
    const std::unique_ptr<Party> party = ours("f32", folder.path());
    const std::vector<int32_t> ids = prompt(longest_);
    Contest contest{shape_text(longest_, "tokens"), {}, {}, true};
    contest.sides.push_back(party->side([&] { return party->pass(ids, setting_.progress); }, ""));
    contest.pairings.push_back({operation(0), 0, {}, pass_floor(0, longest_), {}, "", memory(shape, 0, longest_)});
    bench_.hold(contest);
  }

  /// Of f32; linear layers in bf16 have instructions of their own, which have no limit here.
  std::optional<Floor> pass_floor(size_t ours, int64_t tokens) const {
    if (ours != 0) return std::nullopt;
    return bench_.floor({{"fma", shape_.operations(tokens)}});
  }
  static MemoryFormula memory(const Gpt2Shape& shape, size_t ours, int64_t tokens) {
    const int64_t bytes = ours == 0 ? 4 : 2;  // of weights, queries, keys and values alike
    return {shape.weight_bytes(bytes), shape.pass_bytes(tokens, bytes)};
  }

  static std::string operation(size_t ours) { return ours == 0 ? "all statistics" : "all statistics, bf16"; }

  /// One token at a time: the floor is reading the weights and the cache once.
  void decode() {
    const std::vector<int32_t> ids = prompt(cached_);
    for (const bool bf16 : {false, true}) {
      std::vector<std::unique_ptr<Party>> parties;
      parties.push_back(ours(bf16 ? "bf16" : "f32"));
      std::string why_not;
      if (auto party = hugging_face("sdpa", why_not, bf16)) parties.push_back(std::move(party));
      decode(parties, ids, bf16, why_not);
    }
  }

  void decode(const std::vector<std::unique_ptr<Party>>& parties, const std::vector<int32_t>& ids, bool bf16,
              const std::string& why_not) {
    Contest contest{shape_text(cached_, "cached tokens"), {}, {}};
    for (const auto& party : parties) {
      setting_.progress.step("model: filling caches", 0);
      party->process.ask({{"prefill", ids}, {"steps", steps}}, setting_.progress);
      party->step(next_id, setting_.progress);  // which tells how much of the cache a step reads
      Side side = party->side([&party = *party, this] { return party.step(next_id, setting_.progress); },
                              contest.sides.empty() ? "" : flash_operation);
      side.peak_bytes = nullptr;  // caches are filled already
      contest.sides.push_back(std::move(side));
    }
    const std::string what = bf16 ? "one token, bf16" : "one token";
    const int64_t weights = shape_.read_parameters() * (bf16 ? 2 : 4);
    const Floor floor = bench_.floor({{"read", static_cast<double>(weights + parties.front()->cache_bytes)}});
    if (parties.size() == 2) {
      contest.pairings.push_back({what, 0, 1, floor, [&] { return compare_logits(*parties[0], *parties[1], bf16); }});
    } else {
      contest.pairings.push_back({what, 0, std::nullopt, floor, {}});
      bench_.skip(what, contest.shape, parties.front()->name, bf16 ? "sdpa in bf16" : "sdpa", why_not);
    }
    bench_.hold(contest);
  }

  /// Of the first token behind the prompt.
  static std::vector<Difference> compare_logits(const Party& a, const Party& b, bool bf16) {
    return {
        require_equal("logits", read_floats(a.results), read_floats(b.results), bf16 ? bf16_tolerance : f32_tolerance)};
  }

  Bench& bench_;
  const Setting& setting_;
  Gpt2Shape shape_;
  std::vector<int64_t> lengths_;
  int64_t longest_ = 0;  ///< tokens of a prompt of ours alone; 0: none
  int64_t cached_ = 0;
  TemporaryFolder folder_;
  int started_ = 0;
};

}  // namespace

void bench_model(Bench& bench) { ModelBench(bench).run(); }

}  // namespace headscope::cli::bench
