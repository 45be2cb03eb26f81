#include "core/views/kv_speed.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/base/error.h"
#include "core/base/text.h"
#include "core/views/kv_bars.h"
#include "core/views/plot/heading.h"
#include "core/views/plot/line_chart.h"

namespace headscope {
namespace {

std::string count(int64_t value) { return format_count(static_cast<uint64_t>(value)); }

std::string per_second(double tokens) { return fmt::format("{} tokens/s", grouped_number(tokens)); }

class SpeedPlot {
 public:
  SpeedPlot(const KvSpeedData& data, const Layout& layout) : data_(data), layout_(layout) {
    for (const KvSpeedRow& row : data.rows) {
      batches_.insert(row.batch);
      contexts_.insert(row.context);
    }
    if (batches_.size() < 2 && contexts_.size() < 2) {
      fail("a plot of decode speed needs several batches, or several contexts");
    }
  }

  Figure draw() const {
    RunFacts facts;
    const auto counterfactual = [](const KvSubject& subject) { return subject.counterfactual; };
    if (std::any_of(data_.subjects.begin(), data_.subjects.end(), counterfactual)) {
      // First, because what comes last is cut away in a small figure.
      facts.notes.emplace_back("dashed: counterfactual, a model that nobody trained");
    }
    facts.notes.insert(facts.notes.end(), data_.notes.begin(), data_.notes.end());
    facts.notes.push_back(over_batch() ? fmt::format("{} tokens in each sequence", count(*contexts_.rbegin()))
                                       : fmt::format("batch {}", count(*batches_.begin())));
    if (std::any_of(data_.rows.begin(), data_.rows.end(),
                    [&](const KvSpeedRow& row) { return shown(row) && row.too_short; })) {
      facts.notes.emplace_back("some contexts are too short to show a KV effect");
    }
    Box body;
    Figure figure = begin_figure(fmt::format("Decode speed against {}", over_batch() ? "batch" : "context"), sentence(),
                                 facts, layout_, body);
    paint(figure, body);
    return figure;
  }

 private:
  bool over_batch() const { return batches_.size() > 1; }
  const std::set<int64_t>& places() const { return over_batch() ? batches_ : contexts_; }
  int64_t x(const KvSpeedRow& row) const { return over_batch() ? row.batch : row.context; }
  bool shown(const KvSpeedRow& row) const {
    return over_batch() ? row.context == *contexts_.rbegin() : row.batch == *batches_.begin();
  }

  /// The fastest row, unless another one is as fast within what the repeats differ by.
  std::string sentence() const {
    const KvSpeedRow *best = nullptr, *rival = nullptr;
    for (const KvSpeedRow& row : data_.rows) {
      if (shown(row) && (best == nullptr || row.decode > best->decode)) best = &row;
    }
    for (const KvSpeedRow& row : data_.rows) {
      if (shown(row) && row.subject != best->subject && row.fastest >= best->slowest) rival = &row;
    }
    const std::string where = fmt::format("{} with {} sequence{} of {} tokens", per_second(best->decode),
                                          count(best->batch), best->batch == 1 ? "" : "s", count(best->context));
    if (rival == nullptr) return fmt::format("{} decodes fastest: {}.", data_.subjects[best->subject].label(), where);
    return fmt::format("At most {}; {} and {} differ by less than their repeats do.", where,
                       data_.subjects[best->subject].label(), data_.subjects[rival->subject].label());
  }

  std::vector<const KvSpeedRow*> rows_of(size_t subject) const {
    std::vector<const KvSpeedRow*> out;
    for (const KvSpeedRow& row : data_.rows) {
      if (row.subject == subject && shown(row)) out.push_back(&row);
    }
    std::sort(out.begin(), out.end(), [&](const auto* a, const auto* b) { return x(*a) < x(*b); });
    return out;
  }

  LineSeries series_of(size_t subject) const {
    const size_t style = kv_line_style(data_.subjects, subject);
    LineSeries out;
    out.name = {data_.subjects[subject].label(), data_.subjects[subject].label_tail()};
    out.id = fmt::format("kv/subject/{}", subject);
    out.paint = kv_paint(style);
    out.shape = kv_mark(style);
    out.dashed = data_.subjects[subject].counterfactual;
    for (const KvSpeedRow* row : rows_of(subject)) {
      out.curve.push_back({static_cast<double>(x(*row)), row->decode});
      out.tooltips.push_back(
          fmt::format("{}\nbatch {}, context {}\n{} ({:.3g} ms a step; {} to {})\n{} held, {} to read a step",
                      out.name.whole, count(row->batch), count(row->context), per_second(row->decode), row->step_ms,
                      grouped_number(row->slowest), grouped_number(row->fastest),
                      format_bytes(static_cast<uint64_t>(row->used)), format_bytes(static_cast<uint64_t>(row->read))));
      out.value = per_second(row->decode);
    }
    out.marks = out.curve;
    return out;
  }

  void paint(Figure& figure, const Box& body) const {
    std::vector<LineSeries> series;
    double hi = 0;
    for (size_t i = 0; i < data_.subjects.size(); ++i) {
      series.push_back(series_of(i));
      for (const Point& p : series.back().curve) hi = std::max(hi, p.y);
    }
    ChartAxis across{over_batch() ? "batch, sequences" : "context, tokens",
                     static_cast<double>(*places().begin()),
                     static_cast<double>(*places().rbegin()),
                     true,
                     {}};
    for (const int64_t place : places()) across.ticks.push_back({static_cast<double>(place), count(place)});
    // From 0, so that half as fast is half as high.
    ChartAxis up{"decode, tokens/s of all sequences", 0, hi * 1.05, false, {}};
    up.ticks = nice_ticks(0, up.hi, std::max(2, static_cast<int>(body.height / 48)));
    for (Tick& tick : up.ticks) tick.label = grouped_number(tick.value);
    add_line_chart(figure, body, across, up, series, layout_);
  }

  const KvSpeedData& data_;
  const Layout& layout_;
  std::set<int64_t> batches_, contexts_;
};

}  // namespace

Table kv_speed_table(const KvSpeedData& data) {
  auto rows = std::make_shared<const std::vector<KvSpeedRow>>(data.rows);
  auto subjects = std::make_shared<const std::vector<KvSubject>>(data.subjects);
  Table out{rows->size(), {}};
  const auto column = [&](std::string name, std::string unit, auto get) {
    out.columns.push_back(
        {std::move(name), std::move(unit), [=](size_t i) -> Table::Value { return get((*rows)[i]); }});
  };
  const auto subject = [subjects](const KvSpeedRow& row) -> const KvSubject& { return (*subjects)[row.subject]; };
  column("model", "", [=](const KvSpeedRow& row) { return subject(row).label(); });
  column("variant", "", [=](const KvSpeedRow& row) { return variant_name(*subject(row).architecture); });
  column("counterfactual", "",
         [=](const KvSpeedRow& row) { return std::string(subject(row).counterfactual ? "yes" : "no"); });
  column("batch", "", [](const KvSpeedRow& row) { return row.batch; });
  column("context", "tokens", [](const KvSpeedRow& row) { return row.context; });
  column("kv_formula", "bytes", [](const KvSpeedRow& row) { return row.formula; });
  column("kv_used", "bytes", [](const KvSpeedRow& row) { return row.used; });
  column("kv_allocated", "bytes", [](const KvSpeedRow& row) { return row.allocated; });
  column("kv_peak", "bytes", [](const KvSpeedRow& row) { return row.peak; });
  column("process_growth", "bytes", [](const KvSpeedRow& row) { return row.growth; });
  column("process_peak", "bytes", [](const KvSpeedRow& row) { return row.most_growth; });
  column("kv_read_per_step", "bytes", [](const KvSpeedRow& row) { return row.read; });
  column("prefill", "tokens/s", [](const KvSpeedRow& row) { return row.prefill; });
  column("decode", "tokens/s", [](const KvSpeedRow& row) { return row.decode; });
  column("decode_slowest", "tokens/s", [](const KvSpeedRow& row) { return row.slowest; });
  column("decode_fastest", "tokens/s", [](const KvSpeedRow& row) { return row.fastest; });
  column("step", "ms", [](const KvSpeedRow& row) { return row.step_ms; });
  const auto of_subject = [&](std::string name, const std::vector<std::string>& values) {
    column(std::move(name), "", [values](const KvSpeedRow& row) { return values.at(row.subject); });
  };
  column("largest_batch", "", [](const KvSpeedRow& row) -> Table::Value {
    if (row.largest_batch) return *row.largest_batch;
    return std::string();
  });
  of_subject("weights", data.weights);
  of_subject("kernel", data.kernels);
  column("threads", "", [threads = data.threads](const KvSpeedRow&) { return threads; });
  column("repeats", "", [repeats = data.repeats](const KvSpeedRow&) { return repeats; });
  column("too_short", "", [](const KvSpeedRow& row) { return std::string(row.too_short ? "yes" : "no"); });
  return out;
}

Figure kv_speed(const KvSpeedData& data, const Layout& layout) {
  if (data.rows.empty()) fail("a plot of decode speed needs measurements");
  Figure figure = SpeedPlot(data, layout).draw();
  figure.table = kv_speed_table(data);
  return figure;
}

}  // namespace headscope
