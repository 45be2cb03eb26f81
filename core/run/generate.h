#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "core/run/run.h"

namespace headscope {

/// How the next token is chosen. Greedy unless a temperature is given; then, in this order: logits / temperature,
/// the `top_k` likeliest (0: all), the smallest set whose probabilities reach `top_p`.
struct SamplingOptions {
  double temperature = 0;  ///< 0: greedy, ties to the lowest id
  int64_t top_k = 0;
  double top_p = 1;
  uint64_t seed = 0;

  friend bool operator==(const SamplingOptions&, const SamplingOptions&) = default;
};

/// Throws UsageError for values that make no sense, naming the option.
void check(const SamplingOptions&);

struct Candidate {
  int32_t id = 0;
  double probability = 0;
};

/// Of one token by the softmax of the logits; not a number when a logit is none.
double probability(std::span<const float> logits, int32_t id);

/// Probabilities of the likeliest `count` tokens, softmax over all logits in double, ties to the lowest id. Nothing
/// when a logit is not a finite number: then there are no probabilities.
std::vector<Candidate> top_candidates(std::span<const float> logits, int64_t count);

/// Draws tokens; the same seed gives the same tokens.
class Sampler {
 public:
  explicit Sampler(const SamplingOptions&);
  /// Throws Error when a logit is not a finite number.
  int32_t next(std::span<const float> logits);

 private:
  SamplingOptions options_;
  std::mt19937_64 random_;
};

/// Appends up to `count` tokens to the run, each forwarded too; stops after an end-of-text token of the config unless
/// `ignore_eos`, and where the context is full. `on_token` may be empty. Returns the number of new tokens.
int64_t generate(Run&, Sampler&, int64_t count, bool ignore_eos, const Progress&,
                 const std::function<void(int32_t)>& on_token = {});

}  // namespace headscope
