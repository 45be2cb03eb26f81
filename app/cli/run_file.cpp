#include "app/cli/run_file.h"

#include <algorithm>
#include <cmath>

#include "app/cli/model_access.h"
#include "app/cli/run_file_attention.h"
#include "core/arch/names.h"
#include "core/base/text.h"
#include "core/data/tiles.h"
#include "core/io/hdf5.h"

namespace headscope::cli {
namespace {

using Shape = std::vector<uint64_t>;

uint64_t unsigned_of(int64_t value) { return static_cast<uint64_t>(value); }

std::string layer_path(std::string_view group, int64_t layer) { return fmt::format("/{}/layer_{:03}", group, layer); }

/// Everything the writing functions share.
struct Job {
  const Run& run;
  const RunSnapshot& snapshot;
  const Architecture& architecture;
  const SamplingOptions& sampling;
  Hdf5Writer& file;
  const ParallelFor& workers;
  const Progress& progress;

  int64_t tokens() const { return snapshot.tokens(); }
  int64_t layers() const { return architecture.layer_count(); }
  int64_t q_heads(int64_t layer) const { return architecture.layers[static_cast<size_t>(layer)].q_heads; }
};

/// Token rows [n, heads * dim] written as [heads, n, dim].
void write_by_head(const Job& job, const std::string& path, const RowsView& kept, int64_t heads, int64_t dim) {
  const RowsView rows = kept.on_host(0, kept.rows);
  std::vector<float> values(static_cast<size_t>(heads * rows.rows * dim));
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t token = 0; token < rows.rows; ++token) {
      float* to = values.data() + (head * rows.rows + token) * dim;
      for (int64_t i = 0; i < dim; ++i) to[i] = rows.at(token, head * dim + i);
    }
  }
  const Shape shape = {unsigned_of(heads), unsigned_of(rows.rows), unsigned_of(dim)};
  job.file.dataset(path, std::span<const float>(values), shape);
}

void write_tokens(const Job& job) {
  const auto& snapshot = job.snapshot;
  job.file.dataset("/tokens/ids", std::vector<int64_t>(snapshot.ids.begin(), snapshot.ids.end()));
  std::vector<std::string> texts = snapshot.pieces;
  texts.resize(snapshot.ids.size());
  job.file.texts("/tokens/text", texts);
  job.file.attribute("/tokens", "prompt_tokens", snapshot.prompt_tokens);
}

void write_logits(const Job& job) {
  const LogitsWanted& wanted = job.run.options().logits;
  const RowsView logits = job.run.logits();
  const auto vocab = unsigned_of(job.architecture.vocab_size);
  if (wanted.begin == wanted.end) {
    const Shape shape = {1, vocab};
    job.file.dataset("/logits", job.run.last_logits(), shape);
    job.file.attribute("/logits", "first_position", job.tokens() - 1);
    return;
  }
  if (logits.rows == 0) {
    fail("--logits asks for positions from {} on, but the run has positions 0 to {}", wanted.begin, job.tokens() - 1);
  }
  const Shape shape = {unsigned_of(logits.rows), vocab};
  job.file.dataset("/logits", std::span(logits.row(0), shape[0] * shape[1]), shape);
  job.file.attribute("/logits", "first_position", wanted.begin);
}

/// Maps go to the file in blocks of rows: no whole map is ever in memory.
void write_attention(const Job& job) {
  const int64_t n = job.tokens();
  const int64_t block = std::max<int64_t>(1, (int64_t{1} << 22) / n);
  for (int64_t layer = 0; layer < job.layers(); ++layer) {
    const Shape shape = {unsigned_of(job.q_heads(layer)), unsigned_of(n), unsigned_of(n)};
    Hdf5DatasetWriter dataset = job.file.create(layer_path("attention", layer), DType::f32, shape);
    for (int64_t head = 0; head < job.q_heads(layer); ++head) {
      job.progress.step("saving maps", (static_cast<double>(layer) +
                                        static_cast<double>(head) / static_cast<double>(job.q_heads(layer))) /
                                           static_cast<double>(job.layers()));
      for (int64_t row = 0; row < n; row += block) {
        const int64_t end = std::min(n, row + block);
        const Tile tile = compute_tile(job.snapshot, {layer, head, row, end, 0, n}, job.workers, job.progress.stop);
        const Shape begin = {unsigned_of(head), unsigned_of(row), 0};
        const Shape count = {1, unsigned_of(end - row), unsigned_of(n)};
        dataset.write_slab(begin, count, tile.cells);
      }
    }
  }
}

/// [layers, q_heads, n]; NaN where a layer has fewer heads than the widest.
void write_statistics(const Job& job) {
  int64_t widest = 0;
  for (int64_t layer = 0; layer < job.layers(); ++layer) widest = std::max(widest, job.q_heads(layer));
  const int64_t n = job.tokens();
  const Shape shape = {unsigned_of(job.layers()), unsigned_of(widest), unsigned_of(n)};
  for (int64_t which = 0; which < statistic_count; ++which) {
    std::vector<float> values(static_cast<size_t>(job.layers() * widest * n), NAN);
    for (int64_t layer = 0; layer < job.layers(); ++layer) {
      const LayerRows& rows = job.snapshot.layers[static_cast<size_t>(layer)];
      for (int64_t head = 0; head < job.q_heads(layer); ++head) {
        for (int64_t token = 0; token < n; ++token) {
          values[static_cast<size_t>((layer * widest + head) * n + token)] =
              rows.statistic(static_cast<Statistic>(which), token, head, job.q_heads(layer));
        }
      }
    }
    job.file.dataset(fmt::format("/stats/{}", statistic_names[which]), std::span<const float>(values), shape);
  }
  job.file.attribute("/stats/sink", "sink_tokens", sink_tokens);
  job.file.attribute("/stats/window", "window_tokens", window_tokens);
}

void write_queries(const Job& job) {
  for (int64_t layer = 0; layer < job.layers(); ++layer) {
    write_by_head(job, layer_path("q", layer), queries_of(job.snapshot, layer, job.progress.stop), job.q_heads(layer),
                  job.architecture.store_of(layer).key_dim);
  }
}

void write_keys(const Job& job) {
  for (const KvRows& rows : job.snapshot.stores) {
    const KvStore& store = job.architecture.store_of(rows.layer);
    if (store.stored == Stored::values_only) continue;
    write_by_head(job, layer_path("k", rows.layer), rows.k, store.kv_heads, store.key_dim);
  }
}

void write_values(const Job& job) {
  for (const KvRows& rows : job.snapshot.stores) {
    const KvStore& store = job.architecture.store_of(rows.layer);
    if (store.stored == Stored::keys_only) continue;
    write_by_head(job, layer_path("v", rows.layer), rows.v, store.kv_heads, store.value_dim);
  }
}

void write_lse(const Job& job) {
  for (int64_t layer = 0; layer < job.layers(); ++layer) {
    const LayerRows& rows = job.snapshot.layers[static_cast<size_t>(layer)];
    const int64_t heads = job.q_heads(layer), n = job.tokens();
    std::vector<float> values(static_cast<size_t>(heads * n));
    for (int64_t head = 0; head < heads; ++head) {
      for (int64_t token = 0; token < n; ++token) {
        values[static_cast<size_t>(head * n + token)] = rows.row_max.row(token)[head] + rows.log_sum.row(token)[head];
      }
    }
    const Shape shape = {unsigned_of(heads), unsigned_of(n)};
    job.file.dataset(layer_path("lse", layer), std::span<const float>(values), shape);
  }
}

void write_kv_bytes(const Job& job) {
  job.file.dataset("/kv/bytes_used", job.snapshot.kv_bytes_by_layer(&KvRows::used_bytes));
  job.file.dataset("/kv/bytes_allocated", job.snapshot.kv_bytes_by_layer(&KvRows::allocated_bytes));
}

void describe_run(const Job& job) {
  const RunSnapshot& run = job.snapshot;
  const auto text = [&](const char* name, const std::string& value) { job.file.attribute("/", name, value); };
  text("model", run.model);
  text("family", job.architecture.family);
  text("variant", variant_name(job.architecture));
  text("device", run.device);
  text("dtype", run.dtype);
  text("kernel", run.kernel);
  text("linear", run.linear);
  const std::string_view alibi = alibi_name(job.architecture.position);
  if (!alibi.empty()) text("alibi", std::string(alibi));
  if (!run.mla.empty()) text("mla", run.mla);
  text("version", run.version);
  text("interventions", listed(run.interventions, run.interventions.size()));
  job.file.attribute("/", "threads", static_cast<int64_t>(run.threads));
  job.file.attribute("/", "seed", static_cast<int64_t>(job.sampling.seed));
  job.file.attribute("/", "temperature", job.sampling.temperature);
  job.file.attribute("/", "top_k", job.sampling.top_k);
  job.file.attribute("/", "top_p", job.sampling.top_p);
}

/// Numbers that one part takes for `tokens` tokens.
using PartSize = int64_t (*)(const Architecture&, int64_t tokens);

/// Sums over all layers.
template <class Take>
int64_t over_layers(const Architecture& architecture, Take take) {
  int64_t sum = 0;
  for (int64_t layer = 0; layer < architecture.layer_count(); ++layer) {
    sum += take(architecture.layers[static_cast<size_t>(layer)], architecture.store_of(layer));
  }
  return sum;
}

int64_t q_head_rows(const Architecture& architecture, int64_t tokens) {
  return tokens * over_layers(architecture, [](const Layer& layer, const KvStore&) { return layer.q_heads; });
}

int64_t stored_rows(const Architecture& architecture, int64_t tokens, int64_t KvStore::*dim) {
  int64_t sum = 0;
  for (const KvStore& store : architecture.kv_stores) sum += store.kv_heads * store.*dim;
  return tokens * sum;
}

/// What can be saved, in the order in which it is written.
struct Part {
  std::string_view name;
  void (*write)(const Job&);
  PartSize numbers;
};

constexpr Part all_parts[] = {
    {"logits", write_logits, [](const Architecture& a, int64_t n) { return n * a.vocab_size; }},
    {"attention", write_attention, [](const Architecture& a, int64_t n) { return n * q_head_rows(a, n); }},
    {"stats", write_statistics, [](const Architecture& a, int64_t n) { return statistic_count * q_head_rows(a, n); }},
    {"q", write_queries,
     [](const Architecture& a, int64_t n) {
       return n *
              over_layers(a, [](const Layer& layer, const KvStore& store) { return layer.q_heads * store.key_dim; });
     }},
    {"k", write_keys, [](const Architecture& a, int64_t n) { return stored_rows(a, n, &KvStore::key_dim); }},
    {"v", write_values, [](const Architecture& a, int64_t n) { return stored_rows(a, n, &KvStore::value_dim); }},
    {"lse", write_lse, q_head_rows},
    {"kv", write_kv_bytes, [](const Architecture& a, int64_t) { return 4 * a.layer_count(); }},
};

}  // namespace

std::set<std::string> parse_save_list(const std::string& list) {
  std::set<std::string> parts;
  if (list.empty()) return parts;
  for (const std::string& name : split_list(list, "--save")) {
    if (name == "qk") {
      parts.insert({"q", "k"});
      continue;
    }
    const bool known =
        std::any_of(std::begin(all_parts), std::end(all_parts), [&](const Part& part) { return part.name == name; });
    if (!known) {
      throw UsageError(fmt::format("--save: {} is unknown; choose from logits, attention, stats, q, k, v, lse, kv, qk",
                                   quoted(name)));
    }
    parts.insert(name);
  }
  return parts;
}

void check_disk(const Architecture& architecture, const RunOptions& options, const std::set<std::string>& parts,
                const std::filesystem::path& path) {
  const int64_t tokens = std::min(options.expected_tokens, architecture.context);
  uint64_t needed = 0;
  for (const Part& part : all_parts) {
    if (parts.contains(std::string(part.name)))
      needed += unsigned_of(part.numbers(architecture, tokens)) * sizeof(float);
  }
  std::error_code unknown;
  const auto space = std::filesystem::space(std::filesystem::absolute(path).parent_path(), unknown);
  if (!unknown && space.available < needed) {
    fail("{} would take {} but the disk has {} free; save less, or to another disk", quoted_path(path),
         format_bytes(needed), format_bytes(space.available));
  }
}

void write_run_file(const Run& run, const RunSnapshot& snapshot, const std::set<std::string>& parts,
                    const SamplingOptions& sampling, const std::filesystem::path& path, const ParallelFor& workers,
                    const Progress& progress) {
  Hdf5Writer file(path);
  const Job job{run, snapshot, *snapshot.architecture, sampling, file, workers, progress};
  describe_run(job);
  write_tokens(job);
  if (parts.contains("q") || parts.contains("k") || parts.contains("v")) describe_attention(job.file, job.architecture);
  for (const Part& part : all_parts) {
    progress.check();
    if (parts.contains(std::string(part.name))) part.write(job);
  }
  file.finish();
}

}  // namespace headscope::cli
