// The forward pass, compiled once per vector target: an online softmax over blocks of keys that keeps every row
// statistic up to date as it goes.
#if defined(HEADSCOPE_FORWARD_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_FORWARD_INL
#undef HEADSCOPE_FORWARD_INL
#else
#define HEADSCOPE_FORWARD_INL
#endif

#include <array>
#include <optional>
#include <stdexcept>

#include "kernels/cpu/chunk-inl.h"
#include "kernels/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::cpu::HWY_NAMESPACE {

inline constexpr int64_t task_chunks = task_rows / chunk_rows;

/// A worker's memory.
struct ForwardScratch {
  ChunkScratch shared;
  ScoreBlock rows[task_chunks];  ///< their part for rows
  Sums all[task_chunks];         ///< of the splits that are done
  Sums part[task_chunks];        ///< of the one at work

  static ForwardScratch carve(Carver& carver, const CpuProblem& p, const SumsShape& shape) {
    ForwardScratch scratch{};
    scratch.shared = ChunkScratch::carve(carver, p, shape);
    for (int64_t i = 0; i < task_chunks; ++i) {
      scratch.rows[i] = ScoreBlock::carve_rows(carver, p);
      scratch.all[i] = Sums::carve(carver, shape, chunk_rows);
      scratch.part[i] = Sums::carve(carver, shape, chunk_rows);
    }
    return scratch;
  }
};

/// The rows of one task, from their queries to their results. Each block of keys and values is packed once for all.
class ForwardTask {
 public:
  ForwardTask(const CpuProblem& problem, const AttentionOutput& output, const Task& task, const ForwardScratch& scratch)
      : p_(problem), task_(task), scratch_(scratch), with_values_(output.out.data != nullptr) {
    for (int64_t first = 0; first < task_.count(); first += chunk_rows) {
      const size_t i = static_cast<size_t>(first / chunk_rows);
      chunks_[i].emplace(problem, output, task_, first, std::min(chunk_rows, task_.count() - first), scratch_.rows[i],
                         scratch_.shared);
      keys_.unite(chunks_[i]->keys());
    }
  }
  ForwardTask(const ForwardTask&) = delete;  // chunks refer to it
  ForwardTask& operator=(const ForwardTask&) = delete;

  /// All keys of the rows, and their results.
  void run() {
    for_each_chunk([](Chunk& chunk, size_t) { chunk.pack(); });
    for_each_chunk([&](Chunk& chunk, size_t i) { chunk.collect_in(scratch_.all[i]); });
    const int64_t first = keys_.begin / split_keys;
    for (int64_t split = first; split * split_keys < keys_.end; ++split) {
      if (split > first) for_each_chunk([&](Chunk& chunk, size_t i) { chunk.collect_in(scratch_.part[i]); });
      add_split(split);
      if (split > first) {
        for_each_chunk([&](Chunk& chunk, size_t i) { chunk.fold_into(scratch_.all[i], scratch_.part[i]); });
      }
    }
    for_each_chunk([&](Chunk& chunk, size_t i) { chunk.write(scratch_.all[i]); });
  }

  /// The keys of the task's split alone, into sums[i] for chunk i.
  void run_split(std::span<const Sums> sums) {
    for_each_chunk([&](Chunk& chunk, size_t i) {
      chunk.pack();
      chunk.collect_in(sums[i]);
    });
    add_split(task_.split);
  }

  /// Results of rows whose splits were computed: part(s)[i] are the sums of the s-th split and of chunk i.
  template <class Part>
  void join_splits(int64_t splits, const Part& part) {
    for_each_chunk([&](Chunk& chunk, size_t i) {
      chunk.collect_in(scratch_.all[i]);
      for (int64_t split = 0; split < splits; ++split) chunk.fold_into(scratch_.all[i], part(split)[i]);
      chunk.write(scratch_.all[i]);
    });
  }

 private:
  template <class Work>
  void for_each_chunk(const Work& work) {
    for (size_t i = 0; i < chunks_.size() && chunks_[i]; ++i) work(*chunks_[i], i);
  }

  void add_split(int64_t split) {
    const KeyRange keys = keys_.intersect({split * split_keys, (split + 1) * split_keys});
    for (int64_t first = round_down(keys.begin, block_keys); first < keys.end; first += block_keys) {
      KeyRange wanted;
      for_each_chunk([&](Chunk& chunk, size_t) { wanted.unite(chunk.start(first)); });
      if (wanted.empty()) continue;
      const Chunk& first_chunk = *chunks_[0];  // a task of few rows has no other
      if (!first_chunk.stored_keys()) {
        pack_block(p_, task_.batch, task_.kv_head, first, wanted, scratch_.shared.scores.keys);
      }
      if (with_values_ && !first_chunk.stored_values())
        scratch_.shared.values.pack(p_, task_.batch, task_.kv_head, first, wanted);
      for_each_chunk([](Chunk& chunk, size_t) { chunk.add_block(); });
    }
  }

  const CpuProblem& p_;
  const Task task_;
  ForwardScratch scratch_;
  const bool with_values_;
  std::array<std::optional<Chunk>, task_chunks> chunks_;
  KeyRange keys_;  ///< that any row sees
};

/// How the workspace of a call is cut: scratch for each worker, then the sums of each split, where rows are split.
class ForwardMemory {
 public:
  using SplitSums = std::array<Sums, task_chunks>;

  ForwardMemory(const CpuProblem& p, const AttentionOutput& output, const ForwardPlan& plan)
      : p_(p), shape_(p, output), split_rows_(std::min(task_rows, p.q_heads / p.kv_heads * p.q_len)) {
    Carver worker, split;
    ForwardScratch::carve(worker, p_, shape_);
    carve_split(split);
    worker_bytes_ = worker.bytes();
    split_bytes_ = split.bytes();
    splits_ = plan.splits() > 1 ? static_cast<size_t>(plan.tasks()) : 0;
  }

  size_t bytes(int workers) const { return worker_bytes_ * static_cast<size_t>(workers) + split_bytes_ * splits_; }

  ForwardScratch scratch(std::byte* workspace, int worker) const {
    Carver carver(workspace + static_cast<size_t>(worker) * worker_bytes_);
    return ForwardScratch::carve(carver, p_, shape_);
  }
  SplitSums split(std::byte* workspace, int workers, int64_t task) const {
    Carver carver(workspace + static_cast<size_t>(workers) * worker_bytes_ + static_cast<size_t>(task) * split_bytes_);
    return carve_split(carver);
  }

 private:
  SplitSums carve_split(Carver& carver) const {
    SplitSums sums{};
    for (int64_t first = 0; first < split_rows_; first += chunk_rows) {
      sums[static_cast<size_t>(first / chunk_rows)] =
          Sums::carve(carver, shape_, std::min(chunk_rows, split_rows_ - first));
    }
    return sums;
  }

  const CpuProblem& p_;
  SumsShape shape_;
  int64_t split_rows_;
  size_t worker_bytes_ = 0, split_bytes_ = 0, splits_ = 0;
};

inline size_t forward_workspace(const CpuProblem& p, const AttentionOutput& output, int workers) {
  return ForwardMemory(p, output, ForwardPlan(p, workers)).bytes(workers);
}

inline void forward(const CpuProblem& p, const AttentionOutput& output, std::span<std::byte> workspace,
                    const ParallelFor& parallel) {
  const Thumbnails& thumbnails = output.thumbnails;
  if ((thumbnails.max || thumbnails.sum) && thumbnails.cells > Thumbnails::max_cells) {
    throw std::invalid_argument("a thumbnail has more cells than a kernel has scratch for");
  }
  if (p.q_len == 0) return;
  const int workers = parallel.workers();  // asked outside of bodies, where a team may give another answer
  const ForwardPlan plan(p, workers);
  const ForwardMemory memory(p, output, plan);
  const auto task_of = [&](int64_t index, int worker) {
    return ForwardTask(p, output, plan.task(index), memory.scratch(workspace.data(), worker));
  };
  if (plan.splits() == 1) {
    parallel.run(plan.tasks(), [&](int64_t index, int worker) { task_of(index, worker).run(); });
    return;
  }
  const auto part_of = [&](int64_t index) { return memory.split(workspace.data(), workers, index); };
  parallel.run(plan.tasks(), [&](int64_t index, int worker) { task_of(index, worker).run_split(part_of(index)); });
  parallel.run(plan.tasks() / plan.splits(), [&](int64_t row_task, int worker) {
    const int64_t first = row_task * plan.splits();
    ForwardTask task = task_of(first, worker);
    task.join_splits(plan.splits(), [&](int64_t split) { return part_of(first + split); });
  });
}

}  // namespace headscope::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif
