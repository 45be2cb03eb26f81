#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace headscope {

/// What a BPE model is made of, as read from a file and not yet checked.
struct BpeData {
  std::vector<std::pair<std::string, int32_t>> vocab;  ///< ids are >= 0
  std::vector<std::pair<std::string, std::string>> merges;
  std::optional<std::string> unk_token;
  bool fuse_unk = false;       ///< neighbouring unknown characters become one unk
  bool byte_fallback = false;  ///< unknown characters become "<0x..>" tokens
  bool ignore_merges = false;  ///< a word that is in the vocabulary is that token
};

/// Byte pair encoding (Sennrich et al. 2016) of single words. Immutable; safe to share between threads.
class BpeModel {
 public:
  /// Checks everything; throws Error beginning with `where`.
  BpeModel(BpeData, const std::string& where);

  /// Work space of `encode`, to be kept between words. One thread at a time.
  class Scratch {
    friend class BpeModel;
    struct Symbol {
      int32_t id, previous, next;  ///< neighbours by index, -1 at the ends
      bool alive;
    };
    struct Merge {
      uint32_t rank;
      int32_t position, id;
    };
    std::vector<Symbol> symbols_;
    std::vector<Merge> heap_;
  };

  /// Appends the ids of `word` (UTF-8) in n log n time: of all pairs that can be merged the one of lowest rank first,
  /// then the leftmost. Characters that nothing stands for are left out when there is no unk token.
  void encode(std::string_view word, Scratch&, std::vector<int32_t>& out) const;

  std::optional<int32_t> find(std::string_view token) const;
  /// nullptr when no token has this id.
  const std::string* token(int32_t id) const;
  size_t size() const { return tokens_.size(); }
  int32_t largest_id() const { return largest_id_; }

 private:
  struct Rank {
    uint32_t rank;
    int32_t id;  ///< of the merged token
  };
  /// Open addressing: this look-up is what encoding spends its time on.
  class PairTable {
   public:
    explicit PairTable(size_t count);
    void set(int32_t left, int32_t right, Rank);
    const Rank* find(int32_t left, int32_t right) const;

   private:
    struct Slot {
      uint64_t pair;
      Rank rank;
    };
    size_t slot_of(uint64_t pair) const;
    std::vector<Slot> slots_;
    int shift_;
  };

  void read_vocab(std::vector<std::pair<std::string, int32_t>>&& vocab);
  void read_merges(const BpeData&);
  void read_byte_tokens();
  void add_symbols(std::string_view word, Scratch&) const;
  void merge_symbols(Scratch&) const;
  void queue_merge(Scratch&, int32_t position) const;

  std::string where_;
  std::vector<std::string> tokens_;
  std::unordered_map<std::string_view, int32_t> ids_;  ///< keys point into tokens_
  std::unordered_map<int32_t, size_t> by_id_;
  int32_t largest_id_ = -1;
  PairTable merges_;
  std::optional<std::string> unk_token_;
  std::optional<int32_t> unk_id_;
  std::optional<std::array<int32_t, 256>> byte_ids_;
  bool fuse_unk_, ignore_merges_;
};

}  // namespace headscope
