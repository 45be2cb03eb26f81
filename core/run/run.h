#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/base/progress.h"
#include "core/data/run_snapshot.h"
#include "core/model/model.h"

namespace headscope {

/// A change to the forward pass, part of every run and of everything computed from it. Nobody edits weights.
struct Intervention {
  enum class Kind { zero_head };  ///< the head's output is 0 before the output projection
  Kind kind = Kind::zero_head;
  int64_t layer = 0;
  int64_t head = 0;

  std::string text() const;  ///< "zero 2:5"
};

/// How multi-head latent attention is computed. All give the same maps and outputs, within rounding
/// (kv-variants.md 3.7).
enum class MlaForm {
  /// Whichever of the other two needs fewer multiply-adds in a call (core/run/mla_attention.h): prompts are expanded,
  /// single tokens absorbed.
  fewest_operations,
  /// W_UK goes into the query and W_UV behind the mixed latents: many query heads over one KV head, whose rows are what
  /// the cache holds.
  absorbed,
  /// Keys and values of every head are made from all latents, for some heads after others.
  naive
};

struct MlaOptions {
  MlaForm form = MlaForm::fewest_operations;
  int64_t expanded_bytes = int64_t{64} << 20;  ///< of expanded keys and values at once, unless one head takes more
};

/// Positions whose logits are kept. The last position of each call is always available as Run::last_logits.
struct LogitsWanted {
  int64_t begin = 0;
  int64_t end = 0;  ///< equal to begin: none
  static LogitsWanted all() { return {0, INT64_MAX}; }
};

struct RunOptions {
  std::vector<Intervention> interventions;
  LogitsWanted logits;
  int64_t expected_tokens = 0;  ///< prompt + generated, if known: sizes buffers and thumbnails; cut to the context
  int64_t chunk = 4096;         ///< most tokens that go through the layers at once; windows may ask for fewer
  int64_t thumbnail_cells = 64;
  /// How many bytes of the model's device may be kept so that queries can be shown: queries, and layer inputs that
  /// others are made from again (core/run/query_budget.h). Nothing: as usual_query_bytes.
  std::optional<int64_t> query_bytes;
  MlaOptions mla;  ///< queries are kept as absorbed scores take them in any case
};

/// A prompt and what was generated after it, going through a model. Grows by `extend`; readers take snapshots.
/// One thread owns a run (it calls LibTorch); its snapshots may go to others.
class Run {
 public:
  /// Throws Error for interventions that name heads the model does not have, and for a form of MLA where there is none.
  Run(std::shared_ptr<const Model>, RunOptions);
  ~Run();
  Run(Run&&) noexcept;

  /// Throws Error unless `ids` fit behind what is there: context and vocabulary.
  void check(std::span<const int32_t> ids) const;
  /// Forwards `ids` after what is there. Throws Error when the context or the vocabulary is exceeded, before
  /// anything is computed, and std::bad_alloc when memory runs out. A failure or a stop leaves the run at the last
  /// finished chunk (with dynamic rope scaling, turned for the end of the pass that was asked for). One call is one
  /// pass, which the angles of dynamic rope scaling go by.
  void extend(std::span<const int32_t> ids, const Progress& = {});
  /// Tokens appended from now on count as generated.
  void end_prompt();

  int64_t tokens() const;
  int64_t prompt_tokens() const;
  /// Logits [vocab] of the newest position: they predict the token after it.
  std::span<const float> last_logits() const;
  /// Kept logits [rows, vocab]; row i belongs to position `logits.begin` + i.
  RowsView logits() const;
  /// What is there now, complete: waits for the device. `pieces` are filled when the model has a tokenizer.
  RunSnapshot snapshot() const;
  const Model& model() const;
  const RunOptions& options() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Threads that LibTorch takes on the calling thread from now on; 0: as many as the machine has.
void use_threads(int threads);

}  // namespace headscope
