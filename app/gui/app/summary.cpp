#include <cmath>

#include "app/gui/app/app.h"

namespace headscope::gui {
namespace {

Json number(const std::optional<int64_t>& value) { return value ? Json(*value) : Json(nullptr); }

std::string status_of(const App& app, ModelSlot slot) {
  const Engine::Status job = app.status();
  const SlotData& data = app.data(slot);
  if (job.busy && job.slot == slot) return job.stage;
  if (!data.opening.empty()) return "opening";
  for (const Plate& plate : data.plates) {
    if (plate.error) return "failed";
  }
  if (!data.model) return "empty";
  return data.run ? "ready" : "open";
}

Json slot_summary(const App& app, ModelSlot slot) {
  const SlotData& data = app.data(slot);
  Json json;
  json["model"] = data.model ? data.model->name() : "";
  json["variant"] = data.model ? variant_name(*data.model->architecture()) : "";
  json["tokens"] = data.tokens();
  json["prompt_tokens"] = data.run ? data.run->snapshot->prompt_tokens : 0;
  json["status"] = status_of(app, slot);
  json["kv"]["used_bytes"] = data.run ? data.run->snapshot->kv_used_bytes() : 0;
  json["kv"]["allocated_bytes"] = data.run ? data.run->snapshot->kv_allocated_bytes() : 0;
  json["ids"] = data.run ? Json(data.run->snapshot->ids) : Json::array();
  json["preview_ids"] = data.preview ? Json(data.preview->ids) : Json::array();
  json["prompt"] = app.state.slots[index_of(slot)].prompt;
  json["next"] = data.run && !data.run->next.empty() ? Json(data.run->next.front().piece) : Json(nullptr);
  json["switched_off"] = Json::array();
  for (const HeadId& head : app.state.slots[index_of(slot)].switched_off) {
    json["switched_off"].push_back(fmt::format("{}:{}", head.layer, head.head));
  }
  json["next_probability"] =
      data.run && !data.run->next.empty() ? Json(data.run->next.front().probability) : Json(nullptr);
  json["next_before"] = Json(nullptr);
  if (data.run && !data.run->next.empty() && std::isfinite(data.run->next.front().before)) {
    json["next_before"] = data.run->next.front().before;
  }
  json["kernel"] = data.run ? data.run->snapshot->kernel : "";
  json["linear"] = data.run ? data.run->snapshot->linear : "";
  json["plates"] = data.plates.size();
  json["error"] = "";
  for (const Plate& plate : data.plates) {
    if (plate.error) json["error"] = plate.title + ": " + plate.sentence;
  }
  return json;
}

Json selection_summary(const App& app, ModelSlot slot) {
  const Selection& selection = app.state.slots[index_of(slot)].selection;
  Json json{{"layer", number(selection.layer)},
            {"head", number(selection.head)},
            {"query", number(selection.query)},
            {"key", number(selection.key)},
            {"weight", nullptr},
            {"score", nullptr}};
  const SlotData& data = app.data(slot);
  const bool known = selection.query < data.tokens() && selection.key < data.tokens();  // they may be still to come
  if (!data.run || !selection.layer || !selection.head || !selection.query || !selection.key || !known) return json;
  const RunSnapshot& run = *data.run->snapshot;
  if (const auto queries = queries_at_hand(run, *selection.layer, *selection.query + 1)) {
    const ScoredWeight cell =
        score_and_weight(run, *queries, *selection.layer, *selection.head, *selection.query, *selection.key);
    json["weight"] = cell.weight;
    json["score"] = cell.score;
  }
  return json;
}

Json device_summary(const App& app) {
  const Device& device = app.device();
  return {{"name", device.name()}, {"title", device.title()}, {"reason", app.device_reason()}};
}

Json memory_summary(const std::optional<MemoryReport>& report) {
  Json json;
  const auto set = [&](const char* key, const std::optional<int64_t>& bytes) { json[key] = number(bytes); };
  const MemoryReport none;
  const MemoryReport& now = report ? *report : none;
  for (size_t i = 0; i < memory_purposes; ++i) {
    const std::string name(memory_purpose_names[i]);
    json[name] = now.counted ? Json(now.tagged[i].bytes) : Json(nullptr);
    json["peak"][name] = now.counted ? Json(now.tagged[i].peak_bytes) : Json(nullptr);
  }
  set("untagged", now.untagged_bytes);
  set("kept", now.kept_bytes);
  set("process", now.process_bytes);
  json["process_refusal"] = now.process_refusal;
  set("device_used", now.device_used_bytes);
  set("device_total", now.device_total_bytes);
  return json;
}

}  // namespace

DeviceReadout readout_of(const App& app, std::string_view map_kernel) {
  const SlotData& data = app.data();
  return device_readout({.title = app.device().title(),
                         .is_host = app.device().is_host(),
                         .reason = app.device_reason(),
                         .memory = app.memory() ? &*app.memory() : nullptr,
                         .run = data.run ? data.run->snapshot.get() : nullptr,
                         .map_kernel = map_kernel});
}

Json summary(const App& app) {
  Json json;
  for (const ModelSlot slot : model_slots) {
    const std::string name(slot_name(slot));
    json["slots"][name] = slot_summary(app, slot);
    json["selection"][name] = selection_summary(app, slot);
  }
  json["device"] = device_summary(app);
  json["memory"] = memory_summary(app.memory());
  json["active"] = slot_name(app.state.active);
  json["view"] = app.state.view;
  json["theme"] = app.state.theme == Theme::dark ? "dark" : "light";
  json["font_scale"] = app.state.font_scale;
  json["map"] = to_json(app.state.map);
  json["atlas"] = to_json(app.state.atlas);
  json["recent"] = app.state.recent;
  json["log_open"] = app.state.log_open;
  return json;
}

}  // namespace headscope::gui
