#include "app/gui/app/engine.h"

#include <algorithm>
#include <charconv>
#include <new>

#include "core/base/text.h"
#include "core/io/checkpoint.h"
#include "core/views/run_data.h"

namespace headscope::gui {
namespace {

/// Tokens that go through the layers at once: few enough that a stop is noticed soon also in a long context, and that
/// the views fill while a long prompt runs.
constexpr int64_t chunk_tokens = 512;
constexpr int64_t shown_candidates = 8;
constexpr int nice_steps = 10;  ///< the window's thread comes first on a machine with few cores

std::string key_of(ModelSlot slot, const std::string& verb) { return verb + (slot == ModelSlot::a ? "/A" : "/B"); }

/// "1, 2, 3" or "1 2 3" as ids, for models without a tokenizer.
std::vector<int32_t> listed_ids(const std::string& text) {
  std::vector<int32_t> ids;
  for (size_t at = text.find_first_not_of(" ,\n\t"); at != std::string::npos;
       at = text.find_first_not_of(" ,\n\t", at)) {
    int32_t id = 0;
    const auto [end, error] = std::from_chars(text.data() + at, text.data() + text.size(), id);
    const auto next = static_cast<size_t>(end - text.data());
    if (error != std::errc() || id < 0 || (next < text.size() && std::string_view(" ,\n\t").find(text[next]) > 3)) {
      fail("This model has no tokenizer that can be used, so the prompt must be token ids, as in: 1, 2, 3");
    }
    ids.push_back(id);
    at = next;
  }
  return ids;
}

std::vector<int32_t> prompt_ids(const Model& model, const std::string& prompt) {
  auto ids = model.has_tokenizer() ? model.tokenizer().encode(prompt) : listed_ids(prompt);
  if (ids.empty()) fail("The prompt is empty: type some text first.");
  return ids;
}

std::vector<std::string> pieces_of(const Model& model, std::span<const int32_t> ids) {
  if (model.has_tokenizer()) return model.tokenizer().pieces(ids);
  std::vector<std::string> pieces;
  for (const int32_t id : ids) pieces.push_back(fmt::format("<id {}>", id));
  return pieces;
}

constexpr const char* shortage_of_memory =
    "There is not enough memory for this. What was there before is kept; close other programs, or use a shorter prompt "
    "or a smaller model.";

class PromptTooLong : public Error {
 public:
  PromptTooLong(const std::string& sentence, int64_t fitting) : Error(sentence), fitting_tokens(fitting) {}
  int64_t fitting_tokens;
};

void check_length(const Run& run, const std::vector<int32_t>& ids) {
  const int64_t context = run.model().architecture()->context;
  if (std::ssize(ids) > context) {
    throw PromptTooLong(fmt::format("The prompt has {} tokens, more than the context of {} that {} has. Shorten it, or "
                                    "run its first {} tokens.",
                                    format_count(ids.size()), format_count(static_cast<uint64_t>(context)),
                                    quoted(run.model().name()), format_count(static_cast<uint64_t>(context))),
                        context);
  }
  run.check(ids);
}

/// The logits behind the same tokens in the run from before, when other heads were off in it; else null.
std::shared_ptr<const std::vector<float>> logits_of_same(const Run* run, const std::vector<HeadId>& off_before,
                                                         const std::vector<HeadId>& off,
                                                         const std::vector<int32_t>& ids) {
  if (run == nullptr || off_before == off || run->tokens() != std::ssize(ids)) return nullptr;
  const RunSnapshot snapshot = run->snapshot();
  if (snapshot.ids != ids) return nullptr;
  const auto logits = run->last_logits();
  return std::make_shared<const std::vector<float>>(logits.begin(), logits.end());
}

}  // namespace

/// Keeps what views need of a growing run up to date.
class ViewMaker {
 public:
  /// `view` has what does not change while the run grows.
  RunView make(const Run& run, ModelSlot slot, RunView view) {
    auto snapshot = std::make_shared<RunSnapshot>(run.snapshot());
    if (snapshot->pieces.empty()) snapshot->pieces = pieces_of(run.model(), snapshot->ids);
    sums_.add(*snapshot);
    auto atlas = std::make_shared<AtlasData>(sums_.data(*snapshot));
    auto kv = std::make_shared<KvData>(kv_data(*snapshot));
    atlas->facts.slot = kv->facts.slot = slot;
    const bool same = view.logits_before && run.tokens() == view.expected_tokens;
    for (const Candidate& candidate : top_candidates(run.last_logits(), shown_candidates)) {
      const double before = same ? probability(*view.logits_before, candidate.id) : std::nan("");
      view.next.push_back({pieces_of(run.model(), std::span(&candidate.id, 1)).front(), candidate.probability, before});
    }
    view.snapshot = std::move(snapshot);
    view.atlas = std::move(atlas);
    view.kv = std::move(kv);
    return view;
  }

 private:
  AtlasSums sums_;
};

Engine::Engine(int threads, std::shared_ptr<const Device> device, std::optional<int64_t> query_bytes,
               std::function<void()> wake)
    : device_(std::move(device)),
      query_bytes_(query_bytes),
      wake_(std::move(wake)),
      text_lane_("text"),
      lane_("run", [threads] {
        lower_thread_priority(nice_steps);
        use_threads(threads);
      }) {}

Engine::~Engine() {
  cancel();
  lane_.drain();
  text_lane_.cancel_all();
  text_lane_.drain();
}

bool Engine::has_events() const {
  const std::lock_guard lock(mutex_);
  return !events_.empty();
}

void Engine::post(ModelSlot slot, decltype(EngineEvent::what) what, uint64_t request) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_[static_cast<size_t>(slot)] != closes_[static_cast<size_t>(slot)]) return;  // nobody wants to know
    // A run that has grown again before anybody looked: only the newest state counts.
    const bool stale = std::holds_alternative<RunGrew>(what) && !events_.empty() && events_.back().slot == slot &&
                       std::holds_alternative<RunGrew>(events_.back().what);
    if (stale) events_.pop_back();
    events_.push_back({slot, request, std::move(what)});
  }
  wake_();
}

std::vector<EngineEvent> Engine::take_events() {
  const std::lock_guard lock(mutex_);
  return std::exchange(events_, {});
}

Engine::Status Engine::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

void Engine::set_status(ModelSlot slot, std::string_view stage, double fraction) {
  {
    const std::lock_guard lock(mutex_);
    const auto percent = [](double share) { return static_cast<int>(100 * share); };
    if (stage == status_.stage && slot == status_.slot && percent(fraction) == percent(status_.fraction)) return;
    status_ = {!stage.empty(), std::string(stage), fraction, slot};
  }
  wake_();
}

/// Queues a job whose end, stop or failure becomes an event; `failure` lacks only its sentence.
void Engine::submit(ModelSlot slot, const std::string& verb, JobFailed failure,
                    std::function<void(const Progress&)> work, uint64_t request) {
  lane_.submit(
      key_of(slot, verb), [this, slot, verb, failure, request, work = std::move(work)](std::stop_token stop) mutable {
        const Progress progress{
            stop, [this, slot](std::string_view stage, double fraction) { set_status(slot, stage, fraction); }};
        set_status(slot, verb, 0);
        try {
          work(progress);
          post(slot, JobEnded{}, request);
        } catch (const Cancelled&) {
          post(slot, JobCancelled{verb}, request);
        } catch (const PromptTooLong& error) {
          failure.sentence = error.what();
          failure.fitting_tokens = error.fitting_tokens;
          post(slot, failure, request);
        } catch (const std::bad_alloc&) {
          failure.sentence = shortage_of_memory;
          post(slot, failure, request);
        } catch (const std::exception& error) {
          failure.sentence = error.what();
          post(slot, failure, request);
        }
        set_status(slot, "", 0);
      });
}

void Engine::open(ModelSlot slot, std::string path) {
  for (const char* verb : {"opening", "running", "generating"}) lane_.cancel(key_of(slot, verb));
  wanted_tokens_[static_cast<size_t>(slot)] = 0;
  submit(slot, "opening", {"The model could not be opened", {}, path}, [this, slot, path](const Progress& progress) {
    const auto checkpoint = open_checkpoint(path);
    LoadOptions options;
    options.device = device_;
    auto model = Model::load(*checkpoint, options, progress);
    Slot& here = slots_[static_cast<size_t>(slot)];
    here.run.reset();
    here.model = model;
    post(slot, ModelOpened{std::move(model), path});
  });
}

void Engine::close(ModelSlot slot) {
  const auto index = static_cast<size_t>(slot);
  uint64_t number = 0;
  {
    const std::lock_guard lock(mutex_);
    number = ++closes_[index];
    std::erase_if(events_, [&](const EngineEvent& event) { return event.slot == slot; });
  }
  for (const char* verb : {"opening", "running", "generating"}) lane_.cancel(key_of(slot, verb));
  wanted_tokens_[index] = 0;
  submit(slot, "closing", {"The model could not be closed"}, [this, index, number](const Progress&) {
    slots_[index] = {};
    const std::lock_guard lock(mutex_);
    closed_[index] = number;
  });
}

uint64_t Engine::run(ModelSlot slot, RunRequest wanted) {
  lane_.cancel(key_of(slot, "generating"));
  lane_.cancel(key_of(slot, "running"));
  wanted_tokens_[static_cast<size_t>(slot)] = 0;
  const uint64_t request = ++requests_;
  submit(
      slot, "running", {"The prompt could not be run"},
      [this, slot, request, wanted = std::move(wanted)](const Progress& progress) {
        do_run(slot, wanted, request, progress);
      },
      request);
  return request;
}

void Engine::generate(ModelSlot slot, GenerateRequest request) {
  // A job that waits is replaced by the next one: what both ask for is added up.
  wanted_tokens_[static_cast<size_t>(slot)] += request.count;
  submit(slot, "generating", {"No token could be generated"}, [this, slot, request](const Progress& progress) mutable {
    request.count = wanted_tokens_[static_cast<size_t>(slot)].exchange(0);
    do_generate(slot, request, progress);
  });
}

void Engine::encode(ModelSlot slot, std::shared_ptr<const Model> model, std::string text) {
  text_lane_.submit(key_of(slot, "encoding"), [this, slot, model = std::move(model), text](std::stop_token) {
    try {
      auto ids = prompt_ids(*model, text);
      auto pieces = pieces_of(*model, ids);
      post(slot, PromptEncoded{text, std::move(ids), std::move(pieces), ++encodings_});
    } catch (const std::exception& error) {
      post(slot, JobFailed{"The prompt could not be tokenized", error.what(), {}, 0});
    }
  });
}

void Engine::discard(std::shared_ptr<const void> thing) {
  if (!thing) return;
  text_lane_.submit(fmt::format("discard/{}", ++discards_), [thing = std::move(thing)](std::stop_token) {});
}

void Engine::measure_memory() {
  constexpr int behind_discards = -1;
  text_lane_.submit(
      "memory",
      [this](std::stop_token) {
        MemoryReport report;
        try {
          report = device_->memory();
        } catch (const std::exception& error) {  // a GPU that is lost, which others tell
          report.device = device_->title();
          report.process_refusal = error.what();
        }
        {
          const std::lock_guard lock(mutex_);
          events_.push_back({ModelSlot::a, 0, MemoryMeasured{std::move(report)}});
        }
        wake_();
      },
      behind_discards);
}

void Engine::cancel() {
  for (auto& wanted : wanted_tokens_) wanted = 0;
  for (const char* verb : {"opening", "running", "generating"}) lane_.cancel_all(verb);  // a slot closes in any case
}

void Engine::publish(ModelSlot slot, uint64_t request) {
  Slot& here = slots_[static_cast<size_t>(slot)];
  post(slot, RunGrew{std::make_shared<RunView>(here.views->make(*here.run, slot, here.facts))}, request);
}

void Engine::do_run(ModelSlot slot, const RunRequest& wanted, uint64_t request, const Progress& progress) {
  Slot& here = slots_[static_cast<size_t>(slot)];
  if (!here.model) fail("No model is open here; open one first.");
  auto ids = prompt_ids(*here.model, wanted.prompt);
  if (wanted.cut > 0 && static_cast<int64_t>(ids.size()) > wanted.cut) ids.resize(static_cast<size_t>(wanted.cut));
  RunOptions options;
  for (const HeadId& head : wanted.switched_off) {
    options.interventions.push_back({Intervention::Kind::zero_head, head.layer, head.head});
  }
  options.expected_tokens = static_cast<int64_t>(ids.size());
  options.chunk = chunk_tokens;
  options.query_bytes = query_bytes_;
  auto run = std::make_unique<Run>(here.model, options);
  check_length(*run, ids);
  const auto before = logits_of_same(here.run.get(), here.facts.switched_off, wanted.switched_off, ids);
  Run& growing = *run;  // the slot's run from before stays until the first part of this one is there
  const auto total = static_cast<double>(ids.size());
  for (size_t begin = 0; begin < ids.size(); begin += chunk_tokens) {
    const auto part = std::span(ids).subspan(begin, std::min<size_t>(chunk_tokens, ids.size() - begin));
    const Progress inner{
        progress.stop, [&](std::string_view stage, double fraction) {
          progress.report(stage, (static_cast<double>(begin) + fraction * static_cast<double>(part.size())) / total);
        }};
    try {
      growing.extend(part, inner);
    } catch (...) {
      if (begin > 0) {
        growing.end_prompt();  // what is done is a run of its own
        publish(slot, request);
      }
      throw;
    }
    if (begin == 0) {
      here.run = std::move(run);
      here.facts = {};
      here.facts.id = ++runs_made_;
      here.facts.prompt = wanted.prompt;
      here.facts.cut = wanted.cut;
      here.facts.switched_off = wanted.switched_off;
      here.facts.expected_tokens = options.expected_tokens;
      here.facts.logits_before = before;
      here.views = std::make_unique<ViewMaker>();
      here.sampler.reset();
    }
    if (begin + part.size() == ids.size()) growing.end_prompt();
    publish(slot, request);
  }
}

void Engine::do_generate(ModelSlot slot, const GenerateRequest& request, const Progress& progress) {
  Slot& here = slots_[static_cast<size_t>(slot)];
  if (!here.run || here.run->tokens() == 0) fail("Nothing has been run yet; run a prompt first.");
  if (!here.sampler || here.sampling != request.sampling) {
    here.sampler = std::make_unique<Sampler>(request.sampling);
    here.sampling = request.sampling;
  }
  here.facts.sampled |= request.sampling.temperature > 0;
  const int64_t before = here.run->tokens();
  headscope::generate(*here.run, *here.sampler, request.count, request.ignore_eos, progress,
                      [this, slot](int32_t) { publish(slot); });
  const int64_t made = here.run->tokens() - before, context = here.model->architecture()->context;
  if (made < request.count && here.run->tokens() == context) {
    post(slot, JobEnded{fmt::format("Generation stopped where the context of {} tokens was full.",
                                    format_count(static_cast<uint64_t>(context)))});
  } else if (made < request.count) {
    post(slot, JobEnded{"Generation stopped at the model's end-of-text token."});
  }
}

}  // namespace headscope::gui
