#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/thread_pool.h"
#include "tests/support/guarded.h"

namespace headscope {

/// How test names show a kernel.
inline void PrintTo(const AttentionKernel& kernel, std::ostream* out) { *out << kernel.name; }

}  // namespace headscope

namespace headscope::testing {

enum class Memory {
  packed,       ///< [batch, heads, rows, dim]
  interleaved,  ///< [batch, rows, heads, dim] with spare columns and an odd start, so rows are not aligned
};

enum class Scores {
  normal,
  large,    ///< up to about +-1e4
  rising,   ///< later keys score higher, so that every block raises the maximum
  falling,  ///< the first keys score highest
  ties,     ///< small integers: many equal scores, every sum exact
};

/// How keys are rotated when they are read: dims dimensions from first_dim on.
struct RotationSpec {
  RotationStyle style = RotationStyle::rotate_half;
  int64_t dims = 0;  ///< 0: they are not
  int64_t first_dim = 0;
  double base = 100, factor = 1;
};

enum class LogWeights { none, finite, holes, one_head_hidden };

/// What a test case asks for; fields that it leaves out take the simplest value.
struct CaseSpec {
  std::string name;
  int64_t batch = 1, q_heads = 1, kv_heads = 1, q_len = 1, kv_len = 1, key_dim = 8, value_dim = 8;
  bool causal = true;
  int64_t offset = 0;
  int64_t window = 0;
  float soft_cap = 0;
  bool alibi = false;
  LogWeights log_weights = LogWeights::none;
  Scores scores = Scores::normal;
  Memory memory = Memory::packed;
  RotationSpec rotation = {};
  Element element = Element::f32;  ///< of q, k and v; bf16 numbers are those of f32, rounded
  int64_t sink_tokens = 1, window_tokens = 16;
  int64_t cells = 64, bin = 1;
  bool scores_kept = false;  ///< raw scores are an output, too
  bool poison = false;       ///< NaN in every key and value that no row sees
};

std::ostream& operator<<(std::ostream& out, const CaseSpec& spec);

/// Four query heads over two KV heads; the last row sees every key, and thumbnails hold them all.
CaseSpec grouped_spec(int64_t q_len, int64_t kv_len);

/// Inputs of a case. Fixed seed: the same spec gives the same numbers.
class AttentionCase {
 public:
  explicit AttentionCase(const CaseSpec& spec);

  CaseSpec spec;
  AttentionProblem problem;
  std::vector<float> q, k, v, slopes, log_weight;
  std::vector<float> cosines, sines;  ///< of a rotation

  /// The problem, with the same numbers in f32.
  const AttentionProblem& in_f32() const { return spec.element == Element::f32 ? problem : widened_; }
  float* key(int64_t batch, int64_t head, int64_t row) { return const_cast<float*>(problem.k.row(batch, head, row)); }
  float* value(int64_t batch, int64_t head, int64_t row) { return const_cast<float*>(problem.v.row(batch, head, row)); }

 private:
  AttentionProblem widened_;
  std::vector<uint16_t> q16_, k16_, v16_;
  void round_to_bf16();
  void make_inputs();
  void make_rotation();
  void shape_scores();
  void poison_unseen();
};

/// All that a forward pass writes, dense: out is [batch, q_heads, q_len, value_dim].
struct Results {
  std::vector<float> out, row_max, log_sum, entropy, max, distance, distance_variance, sink, window, thumbnails;
  std::vector<int32_t> argmax;
  std::vector<float> scores;  ///< [batch, q_heads, q_len, kv_len], or empty: see CaseSpec::scores_kept

  static Results sized(const AttentionProblem& p, int64_t cells);
};

/// The f32 arrays of two results side by side, with their names.
struct NamedArray {
  const char* name;
  std::vector<float> Results::*array;
};
const std::vector<NamedArray>& result_arrays();

/// Rows [begin, end) of a problem as a problem of its own.
AttentionProblem rows_of(const AttentionProblem& problem, int64_t begin, int64_t end);

/// Lends a pool's threads, and inside a body it gives a wrong number of workers, as LibTorch's team may.
class FickleTeam final : public ParallelFor {
 public:
  explicit FickleTeam(int workers) : pool_(workers) {}
  int workers() const override { return inside_ > 0 ? 1 : pool_.workers(); }
  void run(int64_t tasks, const std::function<void(int64_t, int)>& body) const override {
    pool_.run(tasks, [&](int64_t task, int worker) {
      ++inside_;
      body(task, worker);
      --inside_;
    });
  }

 private:
  ThreadPool pool_;
  mutable std::atomic<int> inside_{0};
};

/// Runs a kernel into guarded memory and fails the test if it writes beside its outputs or its workspace.
Results run_forward(const AttentionKernel& kernel, const AttentionCase& c, const ParallelFor& parallel);

/// The same for rows [begin, end) alone, into the places of these rows in `results`.
void run_forward_rows(const AttentionKernel& kernel, const AttentionCase& c, int64_t begin, int64_t end,
                      const ParallelFor& parallel, Results& results);

std::vector<float> run_tile(const AttentionKernel& kernel, const AttentionProblem& problem, const Results& forward,
                            const TileRequest& request, const ParallelFor& parallel);

/// The kernels under test: all but the reference that can run the problem.
std::vector<AttentionKernel> kernels_for(const AttentionProblem&);
/// Those that run f32, and the reference with them.
std::vector<AttentionKernel> fast_kernels();
std::vector<AttentionKernel> f32_kernels();
const AttentionKernel& reference_kernel();

/// Whether the sanitizers are on: the suites then leave out their longest cases.
constexpr bool sanitized() {
#if defined(__SANITIZE_ADDRESS__)
  return true;
#else
  return false;
#endif
}

}  // namespace headscope::testing
