#pragma once

#include <memory>
#include <numeric>
#include <span>
#include <vector>

#include "core/run/decoder.h"
#include "core/run/run.h"
#include "tests/run/schemes.h"

namespace headscope {

/// Tokens of each call, and whether their number is told before.
struct Plan {
  std::vector<int64_t> passes;
  bool told = true;

  int64_t tokens() const { return std::accumulate(passes.begin(), passes.end(), int64_t{0}); }
};

/// A run and the numbers that must depend neither on how it was fed nor on where it was.
struct Fed {
  Fed(const std::shared_ptr<const Model>&, const Plan&, MlaForm = MlaForm::fewest_operations);

  headscope::Run run;
  RunSnapshot snapshot;
};

/// Each token in a call of its own.
void extend_one_by_one(headscope::Run&, std::span<const int32_t> ids);
/// Two decoders, which have equally many sequences, choose the same tokens behind the same prompt, and take as much
/// room for their caches.
void expect_same_tokens(Decoder& expected, Decoder& found, const Architecture&, int steps);

/// The bits of rows, wherever they lie.
void expect_same_bits(const RowsView& a, const RowsView& b, const char* what);
/// Of logits, of everything that is kept of rows, and of the cache.
void expect_same_bits(const Fed& a, const Fed& b);

/// Used is what the scheme has to keep of these tokens, not more: heads once, one of K and V where one does.
void check_bytes(const RunSnapshot&, const SharingScheme&);

/// Everything that a run of a scheme gives, against the same of one pass: logits, statistics, tiles, the largest keys.
/// `weight`: how far a weight may be from that of one pass. Linear layers sum few tokens in another order than many.
/// Sums in another order differ more where there are more terms or latents are expanded; a wrong row is off by hundreds
/// of times that.
void compare(const Fed& whole, const Fed& parts, const SharingScheme&, double weight);

}  // namespace headscope
