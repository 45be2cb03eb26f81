#include "app/gui/app/app.h"

#include <algorithm>
#include <filesystem>
#include <thread>

#include "core/base/text.h"
#include "core/views/atlas_reading.h"

namespace headscope::gui {
namespace {

constexpr size_t tile_budget_bytes = size_t{256} << 20;
constexpr size_t prompt_limit = 1 << 20;

int tile_workers(int threads) {
  const int there = threads > 0 ? threads : static_cast<int>(std::thread::hardware_concurrency());
  return std::clamp(there, 1, 8);
}

}  // namespace

bool has_head(const Architecture& architecture, const Selection& selection) {
  return selection.layer && selection.head && *selection.layer < architecture.layer_count() &&
         *selection.head < architecture.layers[static_cast<size_t>(*selection.layer)].q_heads;
}

RunFacts facts_of(const App& app) {
  RunFacts facts;
  facts.slot = app.state.active;
  if (const auto& model = app.data().model) {
    facts.model = model->name();
    facts.variant = variant_name(*model->architecture());
  }
  return facts;
}

std::string whole_path(const std::string& path) {
  std::error_code ignored;
  const std::filesystem::path whole = std::filesystem::absolute(path, ignored).lexically_normal();
  return (whole.has_filename() ? whole : whole.parent_path()).string();
}

App::App(Options options)
    : options_(std::move(options)),
      tiles_(tile_workers(options_.threads), tile_budget_bytes, options_.wake),
      engine_(options_.threads, options_.device, options_.query_bytes, options_.wake) {
  engine_.measure_memory();
}

App::~App() = default;

bool App::idle() const { return engine_.idle() && tiles_.idle(); }

bool App::update() {
  auto events = engine_.take_events();
  bool news = false;
  for (EngineEvent& event : events) {
    const bool grew = std::holds_alternative<RunGrew>(event.what);
    const bool measured = std::holds_alternative<MemoryMeasured>(event.what);
    std::visit([&](auto&& what) { take(event.slot, std::move(what)); }, std::move(event.what));
    if (grew) {
      keep_heads_of_run(event.slot, event.request);
    } else if (!measured) {
      end_request(event.slot, event.request);
    }
    news = news || !measured;
  }
  if (news) engine_.measure_memory();
  const auto failure = tiles_.take_failure();
  if (failure) take(*failure);
  return !events.empty() || failure;
}

void App::take(const TileFailure& failure) {
  for (const ModelSlot slot : {ModelSlot::a, ModelSlot::b}) {
    if (!data(slot).run || data(slot).run->id != failure.run) continue;
    show(slot, {"Exact weights could not be computed", failure.sentence, true, {}, {}});
  }
}

void App::take(ModelSlot slot, ModelOpened&& opened) {
  SlotData& data = mutable_data(slot);
  SlotState& saved = state.slots[index_of(slot)];
  if (data.run) tiles_.forget(data.run->id);
  const bool same = saved.path == opened.path;
  engine_.discard(std::exchange(data.model, std::move(opened.model)));
  engine_.discard(std::exchange(data.run, nullptr));
  data.preview.reset();
  data.model_number = ++models_opened_;
  if (data.opening == opened.path) data.opening.clear();
  std::erase_if(data.plates, [](const Plate& plate) { return !plate.stays; });
  saved.path = opened.path;
  if (!same) {
    saved.switched_off.clear();
    saved.cut = 0;
    if (saved.prompt.empty()) saved.prompt = built_in_prompt;
  }
  if (!data.model->has_tokenizer() && saved.prompt == built_in_prompt) saved.prompt.clear();  // ids are wanted
  clamp_selection(slot);
  remember(saved.path);
  log.info(fmt::format("opened {} in slot {}: {}, {} parameters", quoted_path(saved.path), slot_name(slot),
                       variant_name(*data.model->architecture()),
                       format_count(static_cast<uint64_t>(data.model->parameters()))));
  for (const std::string& note : data.model->notes()) {
    log.add(Log::Level::warning, note);
    show(slot, {"About this checkpoint", note, false, {}, {}});
  }
  if (options_.run_on_open && data.model->has_tokenizer()) {
    run(slot);
  } else {
    encode_prompt(slot);
  }
}

void App::take(ModelSlot slot, RunGrew&& grew) {
  SlotData& data = mutable_data(slot);
  const bool first = !data.run || data.run->id != grew.run->id;
  if (data.run && first) tiles_.forget(data.run->id);
  const std::string before = data.run ? data.run->prompt : grew.run->prompt;
  engine_.discard(std::exchange(data.run, std::move(grew.run)));
  if (data.preview && data.preview->text == data.run->prompt) data.preview.reset();
  if (!first) return;
  // Another text is looked at as a whole.
  if (before != data.run->prompt && slot == state.active) state.map = without_zoom(state.map);
  std::erase_if(data.plates, [](const Plate& plate) { return plate.error && !plate.stays; });
  clamp_selection(slot);
  // The head that the atlas names in its sentence, so that map and card have something to show from the start.
  Selection& selection = state.slots[index_of(slot)].selection;
  if (selection.layer && selection.head) return;
  if (const auto furthest = largest_head(*data.run->atlas, HeadMetric::distance)) {
    selection.layer = furthest->layer;
    selection.head = furthest->head;
  }
}

void App::take(ModelSlot, MemoryMeasured&& measured) { memory_ = std::move(measured.report); }

void App::take(ModelSlot slot, JobEnded&& ended) {
  if (ended.note.empty()) return;
  log.info(ended.note);
  show(slot, {"Generation", ended.note, false, {}, {}});
}

void App::take(ModelSlot slot, JobCancelled&& cancelled) {
  log.info(fmt::format("{} was cancelled in slot {}", cancelled.what, slot_name(slot)));
}

void App::take(ModelSlot slot, JobFailed&& failed) {
  SlotData& data = mutable_data(slot);
  if (data.opening == failed.path) data.opening.clear();
  log.error(failed.what + ": " + failed.sentence);
  Plate plate{failed.what, failed.sentence, true, {}, {}};
  if (failed.fitting_tokens > 0) {
    plate.action = fmt::format("run cut={}", failed.fitting_tokens);
    plate.action_title =
        fmt::format("Run the first {} tokens", format_count(static_cast<uint64_t>(failed.fitting_tokens)));
  }
  show(slot, std::move(plate));
}

/// What a job says last. The tokens of a run that was stopped are all that will come.
void App::end_request(ModelSlot slot, uint64_t request) {
  SlotData& data = mutable_data(slot);
  if (request != 0 && request == data.run_request) {
    data.run_request = 0;
    keep_heads_of_run(slot, request);
  }
  if (data.run_request == 0 && data.run) clamp_tokens(slot, data.tokens());
}

/// The heads that are off are those of the run that is shown, unless a newer one is still to come.
void App::keep_heads_of_run(ModelSlot slot, uint64_t request) {
  const SlotData& data = this->data(slot);
  const bool newer_comes = data.run_request != 0 && data.run_request != request;
  if (data.run && !newer_comes) state.slots[index_of(slot)].switched_off = data.run->switched_off;
}

void App::take(ModelSlot slot, PromptEncoded&& encoded) {
  SlotData& data = mutable_data(slot);
  if (encoded.text != state.slots[index_of(slot)].prompt) return;  // typed on since then
  if (!data.run || data.run->prompt != encoded.text) data.preview = std::move(encoded);
}

void App::remember(const std::string& path) {
  std::erase(state.recent, path);
  state.recent.insert(state.recent.begin(), path);
  if (state.recent.size() > most_recent) state.recent.resize(most_recent);
}

void App::clamp_selection(ModelSlot slot) {
  Selection& selection = state.slots[index_of(slot)].selection;
  const SlotData& data = this->data(slot);
  if (data.model && !has_head(*data.model->architecture(), selection)) selection.layer = selection.head = {};
  // A long prompt arrives in parts: what is selected may still come.
  if (data.run) clamp_tokens(slot, std::max(data.tokens(), data.run->expected_tokens));
}

/// Forgets a selected query or key that is not among the first `tokens`.
void App::clamp_tokens(ModelSlot slot, int64_t tokens) {
  Selection& selection = state.slots[index_of(slot)].selection;
  if (selection.query && *selection.query >= tokens) selection.query.reset();
  if (selection.key && *selection.key >= tokens) selection.key.reset();
}

void App::open(ModelSlot slot, const std::string& path) {
  if (path.empty()) fail("open needs the path of a model folder or .h5 file.");
  const std::string whole = whole_path(path);
  mutable_data(slot).opening = whole;
  state.active = slot;
  engine_.open(slot, whole);
}

void App::close(ModelSlot slot) {
  SlotData& data = mutable_data(slot);
  if (!data.model && data.opening.empty()) fail("There is no model in slot {}.", slot_name(slot));
  if (data.run) tiles_.forget(data.run->id);
  engine_.close(slot);
  engine_.discard(std::move(data.run));
  engine_.discard(std::move(data.model));
  data = {};
  state.slots[index_of(slot)] = {};
  const ModelSlot other = slot == ModelSlot::a ? ModelSlot::b : ModelSlot::a;
  if (this->data(other).model) state.active = other;
}

void App::run(ModelSlot slot) {
  const SlotData& data = this->data(slot);
  const SlotState& saved = state.slots[index_of(slot)];
  if (!data.model) fail("There is no model in slot {}: open one first.", slot_name(slot));
  encode_prompt(slot);
  mutable_data(slot).run_request = engine_.run(slot, {saved.prompt, saved.cut, saved.switched_off});
}

void App::generate(ModelSlot slot, int64_t count) {
  if (!data(slot).model) fail("There is no model in slot {}: open one first.", slot_name(slot));
  const GenerationState& wanted = state.generation;
  engine_.generate(slot, {count, {wanted.temperature, wanted.top_k, wanted.top_p, wanted.seed}, wanted.ignore_eos});
}

void App::cancel() {
  engine_.cancel();
  for (const ModelSlot slot : model_slots) {  // jobs that wait for their turn go without a word
    mutable_data(slot).opening.clear();
    mutable_data(slot).run_request = 0;
    keep_heads_of_run(slot, 0);
  }
}

void App::encode_prompt(ModelSlot slot) {
  SlotData& data = mutable_data(slot);
  const std::string& prompt = state.slots[index_of(slot)].prompt;
  if (!data.model) return;
  if (prompt.empty() || (data.run && data.run->prompt == prompt)) {
    data.preview.reset();
  } else if (!data.preview || data.preview->text != prompt) {
    engine_.encode(slot, data.model, prompt);
  }
}

void App::set_prompt(ModelSlot slot, std::string text) {
  if (text.size() > prompt_limit) fail("The prompt is longer than 1 MB; give a shorter one.");
  if (valid_utf8_prefix(text) != text.size()) fail("The prompt is not UTF-8 text.");
  SlotState& saved = state.slots[index_of(slot)];
  saved.prompt = std::move(text);
  saved.cut = 0;
  encode_prompt(slot);
}

void App::select(ModelSlot slot, const Selection& selection) {
  const SlotData& data = this->data(slot);
  if (!data.model) fail("There is no model in slot {}: open one first.", slot_name(slot));
  const Architecture& architecture = *data.model->architecture();
  if (selection.layer && *selection.layer >= architecture.layer_count()) {
    fail("There is no layer {}: the model has layers 0 to {}.", *selection.layer, architecture.layer_count() - 1);
  }
  if (selection.head && !selection.layer) fail("select head={} needs a layer, too.", *selection.head);
  if (selection.head && !has_head(architecture, selection)) {
    fail("There is no head {} in layer {}: it has heads 0 to {}.", *selection.head, *selection.layer,
         architecture.layers[static_cast<size_t>(*selection.layer)].q_heads - 1);
  }
  // What was selected before may lie in a part of the run that is still to come.
  Selection& now = state.slots[index_of(slot)].selection;
  const auto check = [&](const std::optional<int64_t>& token, const std::optional<int64_t>& before) {
    if (token && token != before && *token >= std::max<int64_t>(1, data.tokens())) {
      fail("There is no token {}: the run has {} tokens, counted from 0.", *token, data.tokens());
    }
  };
  check(selection.query, now.query);
  check(selection.key, now.key);
  now = selection;
}

void App::switch_head(ModelSlot slot, HeadId head) {
  select(slot, {head.layer, head.head, state.slots[index_of(slot)].selection.query,
                state.slots[index_of(slot)].selection.key});
  auto& off = state.slots[index_of(slot)].switched_off;
  const auto place = std::lower_bound(off.begin(), off.end(), head);
  if (place != off.end() && *place == head) {
    off.erase(place);
  } else {
    off.insert(place, head);
  }
  run(slot);
}

void App::show(ModelSlot slot, Plate plate) {
  constexpr size_t most_plates = 2;
  auto& plates = mutable_data(slot).plates;
  std::erase_if(plates, [&](const Plate& old) { return old.title == plate.title; });
  plates.push_back(std::move(plate));
  if (plates.size() > most_plates) plates.erase(plates.begin());
}

void App::clear_notes() {
  for (SlotData& data : data_) std::erase_if(data.plates, [](const Plate& plate) { return !plate.error; });
}

void App::dismiss(ModelSlot slot, size_t plate) {
  auto& plates = mutable_data(slot).plates;
  if (plate < plates.size()) plates.erase(plates.begin() + static_cast<std::ptrdiff_t>(plate));
}

/// One goes to the active slot, or to B when A holds a model and B does not; of two the first goes to A, the second to
/// B.
void App::drop(const std::vector<std::string>& paths) {
  if (paths.empty()) return;
  const auto taken = [&](ModelSlot slot) { return data(slot).model || !data(slot).opening.empty(); };
  const bool second = taken(ModelSlot::a) && !taken(ModelSlot::b);
  const ModelSlot first = paths.size() > 1 ? ModelSlot::a : second ? ModelSlot::b : state.active;
  open(first, paths[0]);
  if (paths.size() > 1) open(ModelSlot::b, paths[1]);
  if (paths.size() > 2) {
    show(ModelSlot::b,
         {"Only two models can be open", "The first two of what was dropped are opened.", false, {}, {}, true});
  }
}

}  // namespace headscope::gui
