#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "app/gui/app/device_readout.h"
#include "app/gui/app/engine.h"
#include "app/gui/app/log.h"
#include "app/gui/app/state.h"
#include "core/data/score.h"
#include "core/data/tile_store.h"

namespace headscope::gui {

/// A sentence at the top of the panel it concerns; stays until dismissed.
struct Plate {
  std::string title;     ///< "The prompt could not be run"
  std::string sentence;  ///< why, and what to do
  bool error = true;     ///< false: a note
  std::string action;    ///< command line of the next step, or empty
  std::string action_title;
  bool stays = false;  ///< about neither a model nor a run, so that another one does not end it
};

/// What is there for one slot: the data that views are made from. Immutable parts, replaced as they arrive.
struct SlotData {
  std::shared_ptr<const Model> model;    ///< null: none is open
  uint64_t model_number = 0;             ///< differs between models that were opened
  std::shared_ptr<const RunView> run;    ///< null: nothing has been run
  std::optional<PromptEncoded> preview;  ///< tokens of the prompt as it is typed, while it differs from what was run
  std::vector<Plate> plates;
  std::string opening;       ///< path of the model being opened, or empty
  uint64_t run_request = 0;  ///< of the engine, while a run that was asked for has not ended; 0: none

  int64_t tokens() const { return run ? run->snapshot->tokens() : 0; }
};

/// The program behind the window: state, data, lanes. Knows neither ImGui nor OpenGL, so that tests and scripts can
/// drive it without a picture. UI thread only.
class App {
 public:
  struct Options {
    int threads = 0;  ///< of LibTorch; 0: as many as the machine has
    bool run_on_open = true;
    std::shared_ptr<const Device> device = counting_host();  ///< where models run
    std::string device_reason;  ///< why that is the CPU, where a GPU was not refused by the user; or empty
    std::optional<int64_t> query_bytes = {};  ///< of each run, as RunOptions has it
    std::function<void()> wake;               ///< called on any thread when `update` has something to do
  };
  explicit App(Options);
  ~App();

  AppState state;
  Log log;

  /// Takes what the lanes have done; returns whether anything changed.
  bool update();
  /// No job is running, queued or unseen.
  bool idle() const;
  Engine::Status status() const { return engine_.status(); }

  const SlotData& data(ModelSlot slot) const { return data_[index_of(slot)]; }
  const SlotData& data() const { return data(state.active); }
  TileStore& tiles() { return tiles_; }
  const Device& device() const { return *options_.device; }
  const std::string& device_reason() const { return options_.device_reason; }
  /// Of the device, as it was after the newest event; nothing before the first was read.
  const std::optional<MemoryReport>& memory() const { return memory_; }

  // What commands do. Those that cannot be done throw Error with the reason.
  void open(ModelSlot, const std::string& path);
  void close(ModelSlot);
  void run(ModelSlot);
  void generate(ModelSlot, int64_t count);
  void cancel();
  void set_prompt(ModelSlot, std::string text);
  void select(ModelSlot, const Selection&);
  void switch_head(ModelSlot, HeadId);
  void dismiss(ModelSlot, size_t plate);
  /// Takes notes away; errors stay until they are dismissed.
  void clear_notes();
  /// A message; one with the same title goes, and the oldest of too many.
  void show(ModelSlot slot, Plate plate);

  /// Paths that were dropped on the window.
  void drop(const std::vector<std::string>& paths);

  bool quit_requested = false;

 private:
  SlotData& mutable_data(ModelSlot slot) { return data_[index_of(slot)]; }
  void take(ModelSlot, ModelOpened&&);
  void take(ModelSlot, RunGrew&&);
  void take(ModelSlot, MemoryMeasured&&);
  void end_request(ModelSlot, uint64_t request);
  void take(ModelSlot, JobEnded&&);
  void take(ModelSlot, JobCancelled&&);
  void take(ModelSlot, JobFailed&&);
  void take(ModelSlot, PromptEncoded&&);
  void take(const TileFailure&);
  void remember(const std::string& path);
  void encode_prompt(ModelSlot);
  void clamp_selection(ModelSlot);
  void keep_heads_of_run(ModelSlot, uint64_t request);
  void clamp_tokens(ModelSlot, int64_t tokens);

  Options options_;
  uint64_t models_opened_ = 0;
  std::optional<MemoryReport> memory_;
  std::array<SlotData, 2> data_;
  TileStore tiles_;
  Engine engine_;
};

/// The state and the data in short, as scripts see them: the keys of `expect`.
Json summary(const App&);

/// The one spelling of a model's path that is kept and compared: absolute, without dots and a slash at the end.
std::string whole_path(const std::string&);

/// What figures without a run say of the active slot.
RunFacts facts_of(const App&);

/// What the window says of the device and of what the active slot shows; `map_kernel`: of the map that is shown.
DeviceReadout readout_of(const App&, std::string_view map_kernel);

/// Whether the selection names a head of the architecture.
bool has_head(const Architecture&, const Selection&);

}  // namespace headscope::gui
