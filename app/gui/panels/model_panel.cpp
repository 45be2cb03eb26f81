#include "app/gui/panels/panels.h"
#include "core/base/text.h"
#include "core/views/sharing.h"

namespace headscope::gui {
namespace {

struct Fact {
  const char* name;
  std::string value;
  const char* meaning;
};

/// "8" where all layers agree, else "4 to 8".
template <class Count>
std::string over_layers(const Architecture& architecture, const Count& count) {
  int64_t least = INT64_MAX, most = 0;
  for (int64_t layer = 0; layer < architecture.layer_count(); ++layer) {
    least = std::min(least, count(layer));
    most = std::max(most, count(layer));
  }
  return least == most ? fmt::format("{}", most) : fmt::format("{} to {}", least, most);
}

std::vector<Fact> facts_of(const Model& model) {
  const Architecture& a = *model.architecture();
  const auto count = [](int64_t value) { return format_count(static_cast<uint64_t>(value)); };
  std::vector<Fact> facts = {
      {"family", a.family, "What the config calls the model."},
      {"variant", variant_name(a), "How query heads and layers share keys and values."},
      {"layers", count(a.layer_count()), "Transformer layers."},
      {"query heads", over_layers(a, [&](int64_t l) { return a.layers[static_cast<size_t>(l)].q_heads; }),
       "Attention maps in each layer."},
      {"KV heads", over_layers(a, [&](int64_t l) { return a.store_of(l).kv_heads; }),
       "Keys and values that are stored; query heads share them."},
      {"key width", over_layers(a, [&](int64_t l) { return a.store_of(l).key_dim; }), "Numbers in one key."},
      {"context", count(a.context), "Tokens that fit."},
      {"parameters", count(model.parameters()), "Numbers in all tensors."},
      {"KV per token", format_bytes(static_cast<uint64_t>(kv_bytes_per_token(a, bytes_of(model.cache_element())))),
       "Bytes of KV cache that one more token costs, in the type of the weights."},
  };
  for (const KvStore& store : a.kv_stores) {
    if (store.stored != Stored::latent) continue;
    facts.push_back({"latent, rope key", fmt::format("{}, {}", store.value_dim, store.rope_key()),
                     "Numbers in the row that all heads share."});
    break;
  }
  if (const std::string experts = experts_text(a); !experts.empty()) {
    facts.push_back({"experts", experts, "Parts of the MLPs of which a router chooses some for each token."});
  }
  return facts;
}

void draw_fact(Ui& ui, const Fact& fact, double width) {
  const ImVec2 at = ImGui::GetCursorScreenPos();
  ImGui::Dummy(ImVec2(ui.px(width), ui.px(22)));
  ImDrawList& list = *ImGui::GetWindowDrawList();
  const float name = ui.fonts.size(TextRole::text, ui.scale), number = ui.fonts.size(TextRole::number, ui.scale);
  list.AddText(ui.fonts.font(TextRole::text), name, ImVec2(at.x, at.y + (ui.px(22) - name) / 2),
               ui.colour(ColourRole::dim), fact.name);
  const double room = width - ui.text.width(fact.name, TextRole::text) - 12;
  const std::string value = ui.text.fitted(fact.value, TextRole::number, room);
  list.AddText(ui.fonts.font(TextRole::number), number,
               ImVec2(at.x + ui.px(width - ui.text.width(value, TextRole::number)), at.y + (ui.px(22) - number) / 2),
               ui.colour(ColourRole::text), value.c_str());
  if (ImGui::IsItemHovered()) {
    tooltip(ui, value == fact.value ? std::string(fact.meaning) : fact.value + '\n' + fact.meaning);
    ui.under_cursor = fmt::format("{}: {}", fact.name, fact.value);
  }
}

void draw_title(Ui& ui, const std::string& text, TextRole role) {
  const auto font = ui.font(role);
  ImGui::TextUnformatted(text.c_str());
}

void draw_sharing(Ui& ui, double width) {
  const SlotData& data = ui.app.data();
  const SharingData sharing_data{data.model->architecture(), ui.app.state.active};
  const Selection& selection = ui.app.state.slot().selection;
  // The prompt below needs room, too.
  constexpr double prompt_room = 330, most = 240, least = 120;
  const double room = ImGui::GetContentRegionAvail().y / ui.scale - prompt_room;
  const double height = sharing_height(sharing_data, width, std::clamp(room, least, most));
  const std::string key =
      fmt::format("{} {} {} {} {}", ui.data_key(), selection.layer.value_or(-1), selection.head.value_or(-1),
                  fmt::format("{}x{}", width, height), index_of(ui.app.state.active));
  const CachedFigure& cached = ui.figure("sharing", key, [&] {
    return sharing(sharing_data, selection, Layout{width, height, ui.scale, ui.text});
  });
  const FigureInput input = show_figure(ui, cached, "sharing");
  if (!input.hit) return;
  tooltip(ui, input.hit->tooltip);
  ui.under_cursor = input.hit->tooltip;
  const auto place = numbers_of(input.hit->id, "sharing/");
  if (input.clicked && place.size() == 2) ui.send(fmt::format("select layer={} head={}", place[0], place[1]));
}

}  // namespace

/// Painted by hand, because Dear ImGui does not show what follows "##" in a file's name.
void draw_recent_models(Ui& ui, double width) {
  const bool in_menu = width == 0;
  const double pad = in_menu ? 0 : 8;
  if (in_menu) {
    for (const std::string& path : ui.app.state.recent) {
      width = std::max(width, ui.text.width(printable(path, ui.text), TextRole::text));
    }
  }
  const float size = ui.fonts.size(TextRole::text, ui.scale);
  for (const std::string& path : ui.app.state.recent) {
    const std::string last = std::filesystem::path(path).filename().string(), whole = printable(path, ui.text);
    const std::string shown =
        in_menu ? whole : ui.text.fitted(printable(last, ui.text), TextRole::text, width - 2 * pad);
    const ImVec2 at = ImGui::GetCursorScreenPos(), room(ui.px(width), ui.px(26));
    ImGui::PushID(path.c_str());
    if (ImGui::Selectable("##recent", false, 0, room)) ui.send("open " + quoted_word(path));
    ImGui::PopID();
    ui.regions.add_last_item("recent/" + last);
    ImGui::GetWindowDrawList()->AddText(ui.fonts.font(TextRole::text), size,
                                        ImVec2(at.x + ui.px(pad), at.y + (room.y - size) / 2),
                                        ui.colour(ColourRole::text), shown.c_str());
    explain(ui, whole + "\nOpens this model again in the active slot.");
  }
}

void draw_model_panel(Ui& ui) {
  const double width = ImGui::GetContentRegionAvail().x / ui.scale;
  const SlotData& data = ui.app.data();
  draw_title(ui, fmt::format("Model {}", slot_name(ui.app.state.active)), TextRole::title);
  ImGui::Dummy(ImVec2(0, ui.px(2)));
  if (!data.model) {
    ImGui::PushStyleColor(ImGuiCol_Text, ui.colour(ColourRole::dim));
    ImGui::TextWrapped("%s", data.opening.empty()
                                 ? "No model is open. Open a Hugging Face folder (config.json, *.safetensors, "
                                   "tokenizer.json) or a HeadScope .h5 file, or drop one on the window."
                                 : ("Opening " + data.opening).c_str());
    ImGui::PopStyleColor();
    ImGui::Dummy(ImVec2(0, ui.px(4)));
    if (data.opening.empty()) {
      command_button(ui, "Open model...", "open", width, ButtonKind::primary);
      draw_recent_models(ui, width);
    }
    return;
  }
  ImGui::PushStyleVar(ImGuiStyleVar_ItemSpacing, ImVec2(0, 0));
  for (const Fact& fact : facts_of(*data.model)) draw_fact(ui, fact, width);
  ImGui::PopStyleVar();
  ImGui::Dummy(ImVec2(0, ui.px(4)));
  draw_title(ui, "Sharing", TextRole::label);
  draw_sharing(ui, width);
}

}  // namespace headscope::gui
