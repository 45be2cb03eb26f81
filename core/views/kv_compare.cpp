#include "core/views/kv_compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/arch/footprint.h"
#include "core/base/error.h"
#include "core/base/text.h"
#include "core/views/kv_bars.h"
#include "core/views/plot/heading.h"
#include "core/views/plot/line_chart.h"

namespace headscope {
namespace {

/// Rows, their places in the data, and what all plots say.
class Comparison {
 public:
  Comparison(const KvCompareData& data, KvPlot plot, const Layout& layout)
      : data_(data),
        plot_(plot),
        layout_(layout),
        batch_(*std::max_element(data.batches.begin(), data.batches.end())),
        context_(*std::max_element(data.contexts.begin(), data.contexts.end())) {}

  Figure draw() const {
    RunFacts facts;
    facts.notes = notes();
    Box body;
    Figure figure = begin_figure(title(), sentence(), facts, layout_, body);
    if (plot_ == KvPlot::token) {
      add_kv_bars(figure, body, data_, layout_);
    } else {
      paint_lines(figure, body);
    }
    return figure;
  }

 private:
  bool over_batch() const { return plot_ == KvPlot::batch; }

  int64_t bytes(const KvSubject& subject, int64_t x) const {
    const int64_t batch = over_batch() ? x : batch_, context = over_batch() ? context_ : x;
    return kv_bytes(*subject.architecture, batch, context, data_.element_bytes);
  }
  double value(const KvSubject& subject, int64_t x) const { return static_cast<double>(bytes(subject, x)); }

  std::string title() const {
    switch (plot_) {
      case KvPlot::batch:
        return "KV memory against batch";
      case KvPlot::context:
        return "KV memory against context";
      case KvPlot::token:
        break;
    }
    return "KV memory of one token";
  }

  /// What the largest and the smallest cache are at the right end.
  std::string sentence() const {
    const auto size = [&](const KvSubject& subject) {
      return plot_ == KvPlot::token ? kv_bytes_per_token(*subject.architecture, data_.element_bytes)
                                    : kv_bytes(*subject.architecture, batch_, context_, data_.element_bytes);
    };
    const auto less = [&](const KvSubject& a, const KvSubject& b) { return size(a) < size(b); };
    const auto [least, most] = std::minmax_element(data_.subjects.begin(), data_.subjects.end(), less);
    const std::string where =
        plot_ == KvPlot::token ? "One more token"
                               : fmt::format("{} sequence{} of {} tokens", format_count(static_cast<uint64_t>(batch_)),
                                             batch_ == 1 ? "" : "s", format_count(static_cast<uint64_t>(context_)));
    const bool one = plot_ == KvPlot::token || batch_ == 1;
    std::string text = fmt::format("{} need{} {} of KV cache in {}", where, one ? "s" : "",
                                   format_bytes(static_cast<uint64_t>(size(*most))), most->label());
    if (size(*least) == size(*most)) return text + ".";
    const double ratio = static_cast<double>(size(*most)) / static_cast<double>(size(*least));
    return text +
           fmt::format(", {} in {}: {} times less.", format_bytes(static_cast<uint64_t>(size(*least))), least->label(),
                       ratio < 10 ? fmt::format("{:.1f}", ratio) : format_count(static_cast<uint64_t>(ratio + 0.5)));
  }

  bool any_windows() const {
    return std::any_of(data_.subjects.begin(), data_.subjects.end(),
                       [](const KvSubject& subject) { return has_windows(*subject.architecture); });
  }

  std::vector<std::string> notes() const {
    std::vector<std::string> out;
    const auto counterfactual = [](const KvSubject& subject) { return subject.counterfactual; };
    const bool any = std::any_of(data_.subjects.begin(), data_.subjects.end(), counterfactual);
    if (any) {  // first, because what comes last is cut away in a small figure
      out.push_back(fmt::format("{}: counterfactual, a model that nobody trained",
                                plot_ == KvPlot::token ? "outlined" : "dashed"));
    }
    out.push_back(fmt::format("by formula, {} ({} B a number)", data_.dtype, data_.element_bytes));
    if (plot_ == KvPlot::batch)
      out.push_back(fmt::format("{} tokens in each sequence{}", format_count(static_cast<uint64_t>(context_)),
                                data_.contexts.size() > 1 ? ", the longest of those asked for" : ""));
    if (plot_ == KvPlot::context) {
      out.push_back(fmt::format("batch {}{}", format_count(static_cast<uint64_t>(batch_)),
                                data_.batches.size() > 1 ? ", the largest of those asked for" : ""));
    }
    if (plot_ == KvPlot::token && any_windows()) out.emplace_back("before any window is full");
    if (any && plot_ == KvPlot::token) out.emplace_back("1/8, x 4: beside its model");
    out.emplace_back("KiB, MiB, GiB: 1,024, 1,024\u00B2, 1,024\u00B3 B");
    return out;
  }

  std::vector<int64_t> asked() const {
    std::vector<int64_t> out = over_batch() ? data_.batches : data_.contexts;
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
  }

  /// The asked values and, from where the first window is full, more between them: the sum of full and growing caches
  /// bends on these axes.
  static std::vector<int64_t> dense(const std::vector<int64_t>& asked, const Architecture& a) {
    std::vector<int64_t> out = asked;
    int64_t first = asked.back();
    for (const KvStore& store : a.kv_stores) {
      if (store.window == 0 || store.window >= asked.back()) continue;
      first = std::min(first, std::max(store.window, asked.front()));
      out.push_back(std::max(store.window, asked.front()));
    }
    const auto lo = static_cast<double>(first), hi = static_cast<double>(asked.back());
    constexpr int steps = 20;
    for (int i = 1; i < steps; ++i) out.push_back(std::llround(lo * std::pow(hi / lo, static_cast<double>(i) / steps)));
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
  }

  static bool has_windows(const Architecture& a) {
    return std::any_of(a.kv_stores.begin(), a.kv_stores.end(), [](const KvStore& store) { return store.window > 0; });
  }

  LineSeries series_of(size_t index, const std::vector<int64_t>& asked) const {
    const KvSubject& subject = data_.subjects[index];
    const size_t style = kv_line_style(data_.subjects, index);
    LineSeries out;
    out.name = {subject.label(), subject.label_tail()};
    out.value = format_bytes(static_cast<uint64_t>(bytes(subject, asked.back())));
    out.id = fmt::format("kv/subject/{}", index);
    out.paint = kv_paint(style);
    out.shape = kv_mark(style);
    out.dashed = subject.counterfactual;
    const bool bends = !over_batch() && has_windows(*subject.architecture);
    for (const int64_t x : bends ? dense(asked, *subject.architecture) : asked) {
      out.curve.push_back({static_cast<double>(x), value(subject, x)});
    }
    for (const int64_t x : asked) {
      out.marks.push_back({static_cast<double>(x), value(subject, x)});
      out.tooltips.push_back(fmt::format("{}\n{} {}\n{} B ({})", out.name.whole, over_batch() ? "batch" : "context",
                                         format_count(static_cast<uint64_t>(x)),
                                         format_count(static_cast<uint64_t>(bytes(subject, x))),
                                         format_bytes(static_cast<uint64_t>(bytes(subject, x)))));
    }
    return out;
  }

  /// A line for each subject; those that lie on a line that is there already are named beside it.
  std::vector<LineSeries> all_series(const std::vector<int64_t>& asked) const {
    std::vector<LineSeries> out;
    for (size_t i = 0; i < data_.subjects.size(); ++i) {
      LineSeries one = series_of(i, asked);
      const auto same = [&](const LineSeries& other) {
        return other.dashed == one.dashed &&
               std::equal(other.curve.begin(), other.curve.end(), one.curve.begin(), one.curve.end(),
                          [](const Point& a, const Point& b) { return a.x == b.x && a.y == b.y; });
      };
      const auto found = std::find_if(out.begin(), out.end(), same);
      if (found == out.end()) {
        out.push_back(std::move(one));
      } else {
        found->also.push_back(std::move(one.name));
      }
    }
    return out;
  }

  void paint_lines(Figure& figure, const Box& body) const {
    const std::vector<int64_t> xs = asked();
    const std::vector<LineSeries> series = all_series(xs);
    double lo = series.front().curve.front().y, hi = lo;
    for (const LineSeries& one : series) {
      for (const Point& p : one.curve) {
        lo = std::min(lo, p.y);
        hi = std::max(hi, p.y);
      }
    }
    ChartAxis x{over_batch() ? "batch, sequences" : "context, tokens (k = 1,024)",
                static_cast<double>(xs.front()),
                static_cast<double>(xs.back()),
                true,
                {}};
    for (const int64_t value : xs) {
      x.ticks.push_back(
          {static_cast<double>(value), value >= 1024 && value % 1024 == 0 && !over_batch()
                                           ? fmt::format("{}k", format_count(static_cast<uint64_t>(value / 1024)))
                                           : format_count(static_cast<uint64_t>(value))});
    }
    ChartAxis y{"KV cache, logarithmic", lo, hi, true, {}};
    if (hi <= lo) y = {y.title, lo / 2, lo * 2, true, {}};
    y.ticks = log_byte_ticks(y.lo, y.hi, std::max(2, static_cast<int>(body.height / 48)));
    add_line_chart(figure, body, x, y, series, layout_);
  }

  const KvCompareData& data_;
  const KvPlot plot_;
  const Layout& layout_;
  const int64_t batch_, context_;  ///< the largest
};

void check(const KvCompareData& data, KvPlot plot) {
  if (data.subjects.empty() || data.batches.empty() || data.contexts.empty()) {
    fail("comparing KV memory needs a model, a batch and a context");
  }
  const auto several = [](const std::vector<int64_t>& list) {
    return std::any_of(list.begin(), list.end(), [&](int64_t value) { return value != list.front(); });
  };
  if (plot == KvPlot::batch && !several(data.batches)) fail("a plot against batch needs several batches");
  if (plot == KvPlot::context && !several(data.contexts)) fail("a plot against context needs several contexts");
}

Table table_of(const KvCompareData& data) {
  auto rows = std::make_shared<const std::vector<KvCompareRow>>(kv_compare_rows(data));
  auto subjects = std::make_shared<const std::vector<KvSubject>>(data.subjects);
  Table out{rows->size(), {}};
  const auto words = [&](std::string name, auto get) {
    out.columns.push_back(
        {std::move(name), "", [=](size_t i) -> Table::Value { return get((*subjects)[(*rows)[i].subject]); }});
  };
  const auto number = [&](std::string name, std::string unit, int64_t KvCompareRow::*field) {
    out.columns.push_back(
        {std::move(name), std::move(unit), [=](size_t i) -> Table::Value { return (*rows)[i].*field; }});
  };
  words("model", [](const KvSubject& s) { return s.label(); });
  words("variant", [](const KvSubject& s) { return variant_name(*s.architecture); });
  words("counterfactual", [](const KvSubject& s) { return std::string(s.counterfactual ? "yes" : "no"); });
  number("batch", "", &KvCompareRow::batch);
  number("context", "tokens", &KvCompareRow::context);
  number("kv", "bytes", &KvCompareRow::bytes);
  number("kv_per_token", "bytes", &KvCompareRow::bytes_per_token);
  number("weights", "bytes", &KvCompareRow::weights_bytes);
  number("scratch", "bytes", &KvCompareRow::scratch_bytes);
  auto assumptions = std::make_shared<std::vector<std::string>>();
  for (size_t i = 0; i < data.subjects.size(); ++i) assumptions->push_back(kv_assumption(data, i));
  out.columns.push_back(
      {"assumption", "", [=](size_t i) -> Table::Value { return (*assumptions)[(*rows)[i].subject]; }});
  return out;
}

}  // namespace

std::string KvSubject::label() const { return model + label_tail(); }

std::string KvSubject::label_tail() const {
  if (scheme.empty()) return "";
  return fmt::format(" as {} ({})", scheme, counterfactual ? "counterfactual" : "as it is");
}

std::string kv_assumption(const KvCompareData& data, size_t subject) {
  const KvSubject& other = data.subjects[subject];
  while (!data.subjects[subject].scheme.empty()) --subject;  // the model it is made from
  const KvSubject& real = data.subjects[subject];
  const auto latents = [](const KvSubject& of) { return of.architecture->kv_stores.front().stored == Stored::latent; };
  if (latents(real) == latents(other)) return "";
  const KvStore& store = other.architecture->kv_stores.front();
  if (latents(real)) {
    return fmt::format("keys and values of {} dimensions, the size of the values that heads of {} make from latents",
                       store.value_dim, real.model);
  }
  return fmt::format("a latent of four heads ({}) and a rope key of half a head ({}), as DeepSeek's 512 and 64 of 128",
                     store.value_dim, store.rope_key());
}

std::vector<KvCompareRow> kv_compare_rows(const KvCompareData& data) {
  std::vector<KvCompareRow> out;
  for (size_t i = 0; i < data.subjects.size(); ++i) {
    const KvSubject& subject = data.subjects[i];
    const Architecture& a = *subject.architecture;
    const int64_t per_token = kv_bytes_per_token(a, data.element_bytes);
    const int64_t weights = checked_bytes(subject.parameters, data.element_bytes, "the weights");
    const int64_t scratch = checked_bytes(decode_scratch(a).elements, sizeof(float), "the scratch memory");
    for (const int64_t batch : data.batches) {
      for (const int64_t context : data.contexts) {
        out.push_back({i, batch, context, kv_bytes(a, batch, context, data.element_bytes), per_token, weights,
                       checked_bytes(scratch, batch, "the scratch memory")});
      }
    }
  }
  return out;
}

KvPlot default_kv_plot(const KvCompareData& data) {
  return data.batches.size() > 1 ? KvPlot::batch : data.contexts.size() > 1 ? KvPlot::context : KvPlot::token;
}

Figure kv_compare(const KvCompareData& data, KvPlot plot, const Layout& layout) {
  check(data, plot);
  Figure figure = Comparison(data, plot, layout).draw();
  figure.table = table_of(data);
  return figure;
}

}  // namespace headscope
