#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/arch/architecture.h"
#include "core/views/figure.h"

namespace headscope {

/// A model, or the same model with its cache shared in another way.
struct KvSubject {
  std::string model;                                 ///< "gpt2"
  std::string scheme;                                ///< of a what-if: "MQA"; empty: the model itself
  bool counterfactual = false;                       ///< a what-if that is not the model as it is
  std::shared_ptr<const Architecture> architecture;  ///< never null
  int64_t parameters = 0;

  /// "gpt2", "gpt2 as MQA (counterfactual)", "gpt2 as MHA (as it is)".
  std::string label() const;
  /// What follows the model's name in it: " as MQA (counterfactual)"; empty for a model.
  std::string label_tail() const;
};

/// Models to compare by formula. What-ifs follow their model.
struct KvCompareData {
  std::vector<KvSubject> subjects;
  std::vector<int64_t> batches;   ///< sequences, 1 or more
  std::vector<int64_t> contexts;  ///< tokens in each sequence, 1 or more
  std::string dtype;              ///< of the cache and the weights: "f16"
  int64_t element_bytes = 2;
};

/// One subject at one batch and context.
struct KvCompareRow {
  size_t subject = 0;
  int64_t batch = 0, context = 0;
  int64_t bytes = 0;            ///< of the KV cache
  int64_t bytes_per_token = 0;  ///< one more token of one sequence, no window full
  int64_t weights_bytes = 0;    ///< parameters x element
  int64_t scratch_bytes = 0;    ///< of one decode step, in f32 (core/arch/footprint.h)
};

/// Every subject at every batch and context, in this order. Throws Error where a number does not fit.
std::vector<KvCompareRow> kv_compare_rows(const KvCompareData&);

enum class KvPlot {
  batch,    ///< bytes against batch, at the largest context
  context,  ///< bytes against context, at the largest batch
  token     ///< bytes per token by model
};

/// What a counterfactual takes for granted where its model has no such thing, as the sizes of latents or the heads that
/// a latent stands for; empty for others.
std::string kv_assumption(const KvCompareData&, size_t subject);

/// The plot for lists of this length: what there are several of, batches first.
KvPlot default_kv_plot(const KvCompareData&);

/// KV memory by formula as lines over batch or context, both axes logarithmic, or as bars of bytes per token. Lines
/// have a colour and a mark for each model; what-ifs have those of their model, dashed. Bars of what-ifs are outlined.
/// The table has the rows of kv_compare_rows for every plot. Regions "kv/subject/<i>" (bars) and
/// "kv/subject/<i>/<point>" (lines). Throws Error for no subjects, for lines over a single batch or context, and where
/// a number does not fit.
Figure kv_compare(const KvCompareData&, KvPlot, const Layout&);

}  // namespace headscope
