#include "core/run/generate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace headscope {
namespace {

/// Ids of the `count` largest logits, largest first, ties to the lowest id.
std::vector<int32_t> largest(std::span<const float> logits, int64_t count) {
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto kept = std::min<size_t>(static_cast<size_t>(count), ids.size());
  const auto larger = [&](int32_t a, int32_t b) {
    const float left = logits[static_cast<size_t>(a)], right = logits[static_cast<size_t>(b)];
    return left != right ? left > right : a < b;
  };
  std::partial_sort(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(kept), ids.end(), larger);
  ids.resize(kept);
  return ids;
}

/// exp(logit / temperature) of each id, relative to the largest.
std::vector<double> relative_weights(std::span<const float> logits, const std::vector<int32_t>& ids,
                                     double temperature) {
  std::vector<double> weights;
  const double top = logits[static_cast<size_t>(ids.front())];
  for (const int32_t id : ids) {
    weights.push_back(std::exp((static_cast<double>(logits[static_cast<size_t>(id)]) - top) / temperature));
  }
  return weights;
}

bool all_finite(std::span<const float> logits) {
  return std::all_of(logits.begin(), logits.end(), [](float logit) { return std::isfinite(logit); });
}

void require_numbers(std::span<const float> logits) {
  if (!all_finite(logits)) fail("the logits hold values that are not finite numbers; no token can be chosen from them");
  if (logits.empty()) fail("there are no logits yet: run a prompt of at least one token first");
}

}  // namespace

void check(const SamplingOptions& options) {
  if (!(options.temperature >= 0 && std::isfinite(options.temperature))) {
    throw UsageError(fmt::format("--temperature must be 0 (greedy) or a positive number, not {}", options.temperature));
  }
  if (options.top_k < 0) throw UsageError(fmt::format("--top-k must be 0 (all) or positive, not {}", options.top_k));
  if (!(options.top_p > 0 && options.top_p <= 1)) {
    throw UsageError(fmt::format("--top-p must be above 0 and at most 1, not {}", options.top_p));
  }
}

double probability(std::span<const float> logits, int32_t id) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - top);
  return std::exp(static_cast<double>(logits[static_cast<size_t>(id)]) - top) / sum;
}

std::vector<Candidate> top_candidates(std::span<const float> logits, int64_t count) {
  if (logits.empty() || !all_finite(logits) || count == 0) return {};
  const auto ids = largest(logits, count);
  const double top = logits[static_cast<size_t>(ids.front())];
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - top);
  std::vector<Candidate> candidates;
  for (const int32_t id : ids) {
    candidates.push_back({id, std::exp(static_cast<double>(logits[static_cast<size_t>(id)]) - top) / sum});
  }
  return candidates;
}

Sampler::Sampler(const SamplingOptions& options) : options_(options), random_(options.seed) { check(options); }

int32_t Sampler::next(std::span<const float> logits) {
  require_numbers(logits);
  const auto vocabulary = static_cast<int64_t>(logits.size());
  if (options_.temperature == 0) return largest(logits, 1).front();
  const auto ids = largest(logits, options_.top_k > 0 ? options_.top_k : vocabulary);
  const auto weights = relative_weights(logits, ids, options_.temperature);
  double total = 0;
  for (const double weight : weights) total += weight;
  size_t kept = 0;
  double mass = 0;
  while (kept < weights.size() && mass < options_.top_p * total) mass += weights[kept++];
  // 53 random bits: the same on every platform, unlike std::uniform_real_distribution.
  double point = static_cast<double>(random_() >> 11) * 0x1p-53 * mass;
  for (size_t place = 0; place + 1 < kept; ++place) {
    if (point < weights[place]) return ids[place];
    point -= weights[place];
  }
  return ids[kept - 1];
}

int64_t generate(Run& run, Sampler& sampler, int64_t count, bool ignore_eos, const Progress& progress,
                 const std::function<void(int32_t)>& on_token) {
  const auto& eos = run.model().architecture()->eos_ids;
  for (int64_t made = 0; made < count; ++made) {
    if (run.tokens() == run.model().architecture()->context) return made;
    progress.step("generating", static_cast<double>(made) / static_cast<double>(count));
    const int32_t id = sampler.next(run.last_logits());
    run.extend(std::span(&id, 1), Progress{progress.stop, {}});
    if (on_token) on_token(id);
    if (!ignore_eos && std::find(eos.begin(), eos.end(), id) != eos.end()) return made + 1;
  }
  return count;
}

}  // namespace headscope
