#include <misc/cpp/imgui_stdlib.h>

#include <cmath>

#include "app/gui/panels/panels.h"
#include "core/base/text.h"
#include "core/data/tiles.h"
#include "core/views/tokens.h"

namespace headscope::gui {
namespace {

/// What the chips show: the run, or the prompt as it is typed while that differs.
struct Shown {
  const std::vector<int32_t>* ids = nullptr;
  const std::vector<std::string>* pieces = nullptr;
  int64_t prompt_tokens = 0;
  uint64_t source = 0;  ///< differs when the tokens are not those of before with some appended
  bool preview = false;
};

Shown shown_tokens(const SlotData& data) {
  Shown shown;
  if (data.preview) {
    shown = {&data.preview->ids, &data.preview->pieces, static_cast<int64_t>(data.preview->ids.size()),
             data.preview->number << 1 | 1, true};
  } else if (data.run) {
    const RunSnapshot& run = *data.run->snapshot;
    shown = {&run.ids, &run.pieces, run.prompt_tokens, data.run->id << 1, false};
  }
  return shown;
}

/// Brings the flow up to date with what is shown.
TokenFlow& flow_of(Ui& ui, PromptPanel& panel, const Shown& shown, double width) {
  const auto count = static_cast<int64_t>(shown.ids->size());
  const uint64_t key = shown.source * 2 + index_of(ui.app.state.active);
  if (!panel.flow) panel.flow = std::make_shared<TokenFlow>(width);
  if (panel.flow_key != key || panel.flow->size() > count) panel.flow->clear();
  panel.flow_key = key;
  panel.flow->set_width(width);
  const Tokenizer* tokenizer = ui.app.data().model->has_tokenizer() ? &ui.app.data().model->tokenizer() : nullptr;
  for (int64_t i = panel.flow->size(); i < count; ++i) {
    const int32_t id = (*shown.ids)[static_cast<size_t>(i)];
    panel.flow->append({id, (*shown.pieces)[static_cast<size_t>(i)], tokenizer && tokenizer->is_special(id)}, ui.text);
  }
  return *panel.flow;
}

/// What the selected query's weights are made from; nothing where none is selected, or while it is still being made.
std::optional<RowsView> selected_queries(Ui& ui, const RunView& view, const Selection& selection) {
  const RunSnapshot& run = *view.snapshot;
  const bool known = selection.layer && selection.head && selection.query && *selection.query < run.tokens() &&
                     has_head(*run.architecture, selection);
  if (!known) return std::nullopt;
  return ui.app.tiles().queries(view.snapshot, view.id, *selection.layer, *selection.query + 1).rows;
}

/// The selected query's weights over the keys, exact.
std::vector<float> query_weights(const RunSnapshot& run, const RowsView& queries, const Selection& selection) {
  const SerialFor beside_the_model(queries.device().side_stream());
  const TileQuery row{
      *selection.layer, *selection.head, *selection.query, *selection.query + 1, 0, *selection.query + 1, 1,
      Pooling::max};
  return compute_tile(run, queries, row, beside_the_model).cells;
}

/// What was appended comes into sight, and so does a token selected elsewhere. `place` is what is selected.
void follow(PromptPanel& panel, const Shown& shown, const TokenFlow& flow, const Selection& selection,
            const std::string& place, int64_t visible) {
  const int64_t last = std::max<int64_t>(0, flow.lines() - visible);
  if (panel.seen_tokens != flow.size()) panel.first_line = flow.size() > shown.prompt_tokens ? last : 0;
  if (panel.seen_place != place && selection.query && *selection.query < flow.size() && !shown.preview) {
    const int64_t line = flow.line_of(*selection.query);
    if (line < panel.first_line || line >= panel.first_line + visible) panel.first_line = line - visible / 2;
  }
  panel.seen_tokens = flow.size();
  panel.seen_place = place;
  panel.first_line = std::clamp<int64_t>(panel.first_line, 0, last);
}

void use_chips(Ui& ui, PromptPanel& panel, const FigureInput& input, bool preview) {
  if (input.hovered && ImGui::GetIO().MouseWheel != 0) {
    panel.first_line -= static_cast<int64_t>(std::lround(ImGui::GetIO().MouseWheel * 3));
  }
  if (input.hit) {
    tooltip(ui, input.hit->tooltip, true);
    ui.under_cursor = input.hit->tooltip;
    const auto token = numbers_of(input.hit->id, "tokens/");
    if (input.clicked && !preview && token.size() == 1) {
      ui.send(fmt::format("select {}={}", ImGui::GetIO().KeyShift ? "key" : "query", token[0]));
    }
  } else if (input.hovered) {
    tooltip(ui,
            "Click a token to select its row, Shift-click to select it as key.\nClick beside them, or Ctrl+P, to "
            "edit the prompt.");
  }
  if ((input.clicked && !input.hit) || input.double_clicked) ui.send("prompt");
}

/// A plain thumb from `at` on: the chips scroll by whole lines.
void draw_thumb(Ui& ui, ImVec2 at, double width, double height, int64_t first, int64_t visible, int64_t lines) {
  const auto total = static_cast<double>(lines);
  const double top = height * static_cast<double>(first) / total;
  const double thumb = std::max(16.0, height * static_cast<double>(visible) / total);
  ImGui::GetWindowDrawList()->AddRectFilled(
      ImVec2(at.x + ui.px(width - 6), at.y + ui.px(std::min(top, height - thumb))),
      ImVec2(at.x + ui.px(width), at.y + ui.px(std::min(top + thumb, height))), ui.colour(ColourRole::line), ui.px(3));
}

void draw_chips(Ui& ui, PromptPanel& panel, double width, double height) {
  const SlotData& data = ui.app.data();
  const Shown shown = shown_tokens(data);
  constexpr double bar = 10;  // room for the scrollbar
  const TokenFlow& flow = flow_of(ui, panel, shown, width - bar - 2 * tokens_margin);
  const int64_t visible = std::max<int64_t>(1, tokens_lines(height));
  const Selection& selection = ui.app.state.slot().selection;
  const std::string place = fmt::format("{} {} {} {} {}", panel.flow_key, shown.preview, selection.query.value_or(-1),
                                        selection.layer.value_or(-1), selection.head.value_or(-1));
  follow(panel, shown, flow, selection, place, visible);
  const auto queries =
      !shown.preview && data.run ? selected_queries(ui, *data.run, selection) : std::optional<RowsView>();
  const std::string key = fmt::format("{} {} {} {} {} {} {} {}", place, flow.size(), panel.first_line, width, height,
                                      shown.prompt_tokens, selection.key.value_or(-1), queries.has_value());
  const CachedFigure& cached = ui.figure("tokens", key, [&] {
    TokensData tokens_data;
    tokens_data.flow = panel.flow;
    tokens_data.prompt_tokens = shown.prompt_tokens;
    tokens_data.facts.slot = ui.app.state.active;
    tokens_data.facts.tokens = data.tokens();
    if (queries) tokens_data.weights = query_weights(*data.run->snapshot, *queries, selection);
    return tokens(tokens_data, TokensState{panel.first_line}, shown.preview ? Selection{} : selection,
                  Layout{width - bar, height, ui.scale, ui.text});
  });
  const ImVec2 at = ImGui::GetCursorScreenPos();
  use_chips(ui, panel, show_figure(ui, cached, "tokens"), shown.preview);
  if (flow.lines() > visible) draw_thumb(ui, at, width, height, panel.first_line, visible, flow.lines());
}

void draw_editor(Ui& ui, PromptPanel& panel, double width, double height) {
  if (panel.focus) ImGui::SetKeyboardFocusHere();
  panel.focus = false;
  const auto font = ui.font(TextRole::number);
  constexpr ImGuiInputTextFlags flags = ImGuiInputTextFlags{ImGuiInputTextFlags_WordWrap} |
                                        ImGuiInputTextFlags_AllowTabInput | ImGuiInputTextFlags_CallbackAlways;
  const std::string typed = panel.draft;
  ImGui::InputTextMultiline("##prompt", &panel.draft, ImVec2(ui.px(width), ui.px(height)), flags, cursor_to_end,
                            &panel.cursor_to_end);
  ui.regions.add_last_item("prompt/editor");
  if (ImGui::IsItemActive()) panel.was_active = true;
  // Escape leaves the editor by its command, which undoes one thing; what was typed stays.
  const bool escaped = ImGui::IsItemDeactivated() && ImGui::IsKeyPressed(ImGuiKey_Escape);
  if (escaped) panel.draft = typed;
  if (ImGui::IsItemEdited() && !escaped) ui.send("prompt " + quoted_word(panel.draft));
  if (ImGui::IsItemDeactivated() && panel.was_active) {
    panel.was_active = false;
    panel.editing = escaped;
  }
}

/// A whole number that can be typed: sends `sampling NAME=...` while it is a number in range.
void draw_number(Ui& ui, PromptPanel& panel, const char* label, const char* name, uint64_t value, double width) {
  std::string& draft = panel.drafts[name];
  if (panel.typed_field != name) draft = std::to_string(value);
  ImGui::SetNextItemWidth(ui.px(width * 0.5));
  const bool edited = ImGui::InputText(fmt::format("{}##{}", label, name).c_str(), &draft,
                                       ImGuiInputTextFlags_CharsDecimal | ImGuiInputTextFlags_AutoSelectAll);
  ui.regions.add_last_item(fmt::format("sampling/{}", name));
  if (ImGui::IsItemActive()) {
    panel.typed_field = name;
  } else if (panel.typed_field == name) {
    panel.typed_field.clear();
  }
  constexpr size_t most_digits = 9;
  const bool number =
      !draft.empty() && draft.size() <= most_digits && draft.find_first_not_of("0123456789") == std::string::npos;
  const bool allowed = number && (std::string_view(name) != "count" || std::stoll(draft) >= 1);
  if (edited && allowed) ui.send(fmt::format("sampling {}={}", name, draft));
}

void draw_slider(Ui& ui, const char* label, const char* name, double value, float least, float most, double width) {
  auto shown = static_cast<float>(value);
  ImGui::SetNextItemWidth(ui.px(width * 0.5));
  if (ImGui::SliderFloat(fmt::format("{}##{}", label, name).c_str(), &shown, least, most, "%.2f",
                         ImGuiSliderFlags_AlwaysClamp)) {
    ui.send(fmt::format("sampling {}={:.2f}", name, shown));
  }
  ui.regions.add_last_item(fmt::format("sampling/{}", name));
}

void draw_settings(Ui& ui, PromptPanel& panel, double width) {
  const GenerationState& wanted = ui.app.state.generation;
  draw_number(ui, panel, "tokens", "count", static_cast<uint64_t>(wanted.count), width);
  draw_slider(ui, "temperature", "temperature", wanted.temperature, 0, 2, width);
  explain(ui, "0 is greedy: always the likeliest token.");
  draw_number(ui, panel, "top-k", "top_k", static_cast<uint64_t>(wanted.top_k), width);
  explain(ui, "Draws from the k likeliest tokens; 0 is all.");
  draw_slider(ui, "top-p", "top_p", wanted.top_p, 0.05f, 1, width);
  explain(ui, "Draws from the smallest set of tokens that has this probability.");
  draw_number(ui, panel, "seed", "seed", wanted.seed, width);
  bool ignore = wanted.ignore_eos;
  if (ImGui::Checkbox("go on after the end of text", &ignore)) ui.send(fmt::format("sampling ignore_eos={:d}", ignore));
}

std::string sampling_text(const GenerationState& wanted) {
  std::string text = fmt::format("Generate {} token{}, ", wanted.count, wanted.count == 1 ? "" : "s");
  if (wanted.temperature == 0) return text + "greedy ...";
  text += fmt::format("temperature {:.2g}", wanted.temperature);
  if (wanted.top_k > 0) text += fmt::format(", top-k {}", wanted.top_k);
  if (wanted.top_p < 1) text += fmt::format(", top-p {:.2g}", wanted.top_p);
  return text + " ...";
}

void draw_heading(Ui& ui, const Shown& shown, double width) {
  {
    const auto font = ui.font(TextRole::label);
    ImGui::TextUnformatted("Prompt");
  }
  ImGui::SameLine(0, ui.px(8));
  {
    const auto font = ui.font(TextRole::caption);
    if (ImGui::SmallButton("Edit")) ui.send("prompt");
  }
  ui.regions.add_last_item("prompt/edit");
  explain(ui, "Puts the cursor in the prompt; so does a double click on the tokens.", "Ctrl+P");
  if (!shown.ids) return;
  std::string count = fmt::format("{} token{}", format_count(shown.ids->size()), shown.ids->size() == 1 ? "" : "s");
  if (shown.preview) count += ", not run yet";
  const auto font = ui.font(TextRole::caption);
  ImGui::SameLine(ui.px(width - ui.text.width(count, TextRole::caption)) + ImGui::GetStyle().WindowPadding.x);
  ImGui::PushStyleColor(ImGuiCol_Text, ui.colour(shown.preview ? ColourRole::warning : ColourRole::dim));
  ImGui::TextUnformatted(count.c_str());
  ImGui::PopStyleColor();
}

void draw_buttons(Ui& ui, PromptPanel& panel, double width) {
  const double half = (width - 8) / 2;
  const bool busy = ui.app.status().busy;
  command_button(ui, "Run", "run", half, ButtonKind::primary);
  ImGui::SameLine(0, ui.px(8));
  command_button(ui, "Next token", "next", half);
  command_button(ui, "Generate", "generate", half);
  ImGui::SameLine(0, ui.px(8));
  command_button(ui, busy ? "Cancel" : "Cancel##idle", "cancel", half);
  const auto font = ui.font(TextRole::caption);
  const std::string text = sampling_text(ui.app.state.generation);
  if (ImGui::Selectable(text.c_str(), panel.settings)) panel.settings = !panel.settings;
  ui.regions.add_last_item("sampling");
  explain(ui, "How Generate chooses tokens; click to change it.");
}

}  // namespace

void draw_prompt_panel(Ui& ui, PromptPanel& panel) {
  const double width = ImGui::GetContentRegionAvail().x / ui.scale;
  const SlotData& data = ui.app.data();
  if (!data.model) return;
  ImGui::Dummy(ImVec2(0, ui.px(4)));
  const Shown shown = shown_tokens(data);
  draw_heading(ui, shown, width);
  const double settings = panel.settings ? 240 : 0;
  const double room = ImGui::GetContentRegionAvail().y / ui.scale - 32 * 2 - 8 * 3 - 26 - settings;
  const double height = std::max(72.0, std::floor(room));
  if (panel.editing) {
    draw_editor(ui, panel, width, height);
  } else if (shown.ids && !shown.ids->empty()) {
    draw_chips(ui, panel, width, height);
  } else {
    ImGui::PushStyleColor(ImGuiCol_Text, ui.colour(ColourRole::dim));
    const ImVec2 at = ImGui::GetCursorPos();
    ImGui::TextWrapped("%s", data.model->has_tokenizer()
                                 ? "Click here to type a prompt, then Ctrl+Enter to run it."
                                 : "This model has no tokenizer that HeadScope can use. Click here to type token ids, "
                                   "as in 1, 2, 3, then Ctrl+Enter.");
    ImGui::PopStyleColor();
    ImGui::SetCursorPos(at);
    if (ImGui::InvisibleButton("prompt/edit", ImVec2(ui.px(width), ui.px(height)))) ui.send("prompt");
  }
  draw_buttons(ui, panel, width);
  if (panel.settings) draw_settings(ui, panel, width);
}

}  // namespace headscope::gui
