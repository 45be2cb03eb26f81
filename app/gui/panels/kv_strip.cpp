#include "app/gui/panels/panels.h"

namespace headscope::gui {
namespace {

/// The KV figure in this many px: the strip at the bottom and the view in the middle.
const CachedFigure& kv_figure(Ui& ui, const std::string& place, double width, double height) {
  const SlotData& data = ui.app.data();
  const Selection& selection = ui.app.state.slot().selection;
  const std::string key = fmt::format("{} {} {}x{}", ui.data_key(), selection.layer.value_or(-1), width, height);
  return ui.figure(place, key, [&] {
    KvData nothing;
    nothing.facts = facts_of(ui.app);
    return kv(data.run ? *data.run->kv : nothing, ui.app.state.kv, selection, Layout{width, height, ui.scale, ui.text});
  });
}

}  // namespace

void draw_kv_view(Ui& ui, const char* place, double width, double height) {
  const FigureInput input = show_figure(ui, kv_figure(ui, place, width, height), place);
  fill_on_click(ui, input);
  if (!input.hit) return;
  tooltip(ui, input.hit->tooltip, true);
  ui.under_cursor = input.hit->tooltip;
  auto layer = numbers_of(input.hit->id, "kv/layer/");
  if (layer.empty()) layer = numbers_of(input.hit->id, "kv/bar/");
  if (input.clicked && layer.size() == 1) {
    const int64_t heads = ui.app.data().model->architecture()->layers[static_cast<size_t>(layer[0])].q_heads;
    const int64_t head = std::min(ui.app.state.slot().selection.head.value_or(0), heads - 1);
    ui.send(fmt::format("select layer={} head={}", layer[0], head));
  }
}

}  // namespace headscope::gui
