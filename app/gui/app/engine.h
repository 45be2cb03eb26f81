#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/data/lane.h"
#include "core/model/model.h"
#include "core/run/generate.h"
#include "core/views/atlas.h"
#include "core/views/head.h"
#include "core/views/kv.h"
#include "core/views/plot/heading.h"
#include "core/views/selection.h"

namespace headscope::gui {

/// One run at one moment, and what views draw of it; made on the run lane, never changed.
struct RunView {
  uint64_t id = 0;  ///< differs between runs
  std::shared_ptr<const RunSnapshot> snapshot;
  std::shared_ptr<const AtlasData> atlas;
  std::shared_ptr<const KvData> kv;
  std::vector<NextToken> next;  ///< likeliest tokens after the newest one
  std::string prompt;           ///< the text that was run
  int64_t cut = 0;              ///< its first tokens that were run; 0: all
  std::vector<HeadId> switched_off;
  bool sampled = false;  ///< some token was drawn with a temperature, so the prompt alone does not make the run again
  int64_t expected_tokens = 0;  ///< that there will be when the prompt has been run
  /// What the same tokens gave with the heads that were off before, or null.
  std::shared_ptr<const std::vector<float>> logits_before;
};

struct RunRequest {
  std::string prompt;
  int64_t cut = 0;                   ///< run the first `cut` tokens; 0: all
  std::vector<HeadId> switched_off;  ///< heads whose output is zeroed
};

struct GenerateRequest {
  int64_t count = 1;
  SamplingOptions sampling;
  bool ignore_eos = false;
};

/// What the lanes report; taken by the UI thread.
struct ModelOpened {
  std::shared_ptr<const Model> model;
  std::string path;
};
struct RunGrew {
  std::shared_ptr<const RunView> run;
};
struct JobEnded {
  std::string note;  ///< what the user should know, or empty
};
struct JobCancelled {
  std::string what;  ///< "opening", "running", "generating"
};
struct JobFailed {
  std::string what;            ///< "The model could not be opened"
  std::string sentence = {};   ///< why, and what to do
  std::string path = {};       ///< of the model that was to be opened, or empty
  int64_t fitting_tokens = 0;  ///< of a prompt that is too long: how many fit
};
struct PromptEncoded {
  std::string text;
  std::vector<int32_t> ids;
  std::vector<std::string> pieces;
  uint64_t number = 0;  ///< differs between encodings
};
/// Of the device; the event's slot means nothing.
struct MemoryMeasured {
  MemoryReport report;
};
struct EngineEvent {
  ModelSlot slot = ModelSlot::a;
  uint64_t request = 0;  ///< what Engine::run returned, of events about that run and of how it ended
  std::variant<ModelOpened, RunGrew, JobEnded, JobCancelled, JobFailed, PromptEncoded, MemoryMeasured> what;
};

/// Everything that takes time and needs LibTorch, on one thread of its own with lowered priority (the run lane), and
/// tokenizing on another. The UI thread calls the functions, none of which waits, and takes the events. Models and runs
/// live here; what leaves is immutable.
class Engine {
 public:
  /// `wake` is called on a lane when there is news. `threads` of LibTorch; 0: as many as the machine has.
  /// Models are opened on the device. `query_bytes` is that of RunOptions.
  Engine(int threads, std::shared_ptr<const Device>, std::optional<int64_t> query_bytes, std::function<void()> wake);
  ~Engine();

  /// What this slot was doing with the model before stops; that model stays until the new one is there.
  void open(ModelSlot, std::string path);
  /// Frees the slot's run and model.
  void close(ModelSlot);
  /// Runs a prompt; what else this slot was doing with a run stops. Returns the request's number.
  uint64_t run(ModelSlot, RunRequest);
  /// Appends to the slot's run.
  void generate(ModelSlot, GenerateRequest);
  /// Text to token ids, for the display.
  void encode(ModelSlot, std::shared_ptr<const Model>, std::string text);
  /// Reads the device's memory, behind all that is to be let go of.
  void measure_memory();
  void cancel();
  /// Lets go of something on a lane: freeing a model or a run takes longer than a frame.
  void discard(std::shared_ptr<const void>);

  std::vector<EngineEvent> take_events();
  bool idle() const { return lane_.idle() && text_lane_.idle() && !has_events(); }

  struct Status {
    bool busy = false;
    std::string stage;  ///< "running", "generating", "loading"
    double fraction = 0;
    ModelSlot slot = ModelSlot::a;
  };
  Status status() const;

 private:
  struct Slot {
    std::shared_ptr<const Model> model;
    std::unique_ptr<Run> run;
    RunView facts;  ///< what does not change while the run grows
    std::unique_ptr<class ViewMaker> views;
    std::unique_ptr<Sampler> sampler;  ///< goes on where the last token was drawn, so that Next is not always the same
    SamplingOptions sampling;          ///< what it was made with
  };

  bool has_events() const;
  void post(ModelSlot, decltype(EngineEvent::what) what, uint64_t request = 0);
  void submit(ModelSlot, const std::string& verb, JobFailed failure, std::function<void(const Progress&)>,
              uint64_t request = 0);
  void set_status(ModelSlot, std::string_view stage, double fraction);
  void publish(ModelSlot, uint64_t request = 0);
  void do_run(ModelSlot, const RunRequest&, uint64_t request, const Progress&);
  void do_generate(ModelSlot, const GenerateRequest&, const Progress&);

  std::shared_ptr<const Device> device_;
  std::optional<int64_t> query_bytes_;
  std::function<void()> wake_;
  mutable std::mutex mutex_;  ///< guards what is up to status_
  std::vector<EngineEvent> events_;
  /// How often each slot was closed, and which of these the run lane has done. While they differ, what the lane still
  /// says about the slot is dropped.
  std::array<uint64_t, 2> closes_{}, closed_{};
  Status status_;
  std::array<Slot, 2> slots_;  ///< touched by the run lane only
  uint64_t runs_made_ = 0;     ///< likewise
  std::atomic<uint64_t> encodings_{0};
  uint64_t requests_ = 0, discards_ = 0;                 ///< UI thread only
  std::array<std::atomic<int64_t>, 2> wanted_tokens_{};  ///< asked for by generate() and not yet begun
  Lane text_lane_;
  Lane lane_;
};

}  // namespace headscope::gui
