#include "core/tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "core/base/error.h"
#include "core/base/text.h"
#include "core/tokenizer/unicode.h"

namespace headscope {
namespace {

constexpr uint64_t no_pair = std::numeric_limits<uint64_t>::max();  // ids are below 2^31

uint64_t pair_key(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

bool is_hex_digit(char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f'); }

}  // namespace

BpeModel::PairTable::PairTable(size_t count)
    : slots_(std::bit_ceil(std::max<size_t>(count * 2, 16)), Slot{no_pair, {}}),
      shift_(64 - std::countr_zero(slots_.size())) {}

/// The slot that holds `pair`, or the free one where it belongs. Never full: at least half of the slots are free.
size_t BpeModel::PairTable::slot_of(uint64_t pair) const {
  size_t slot = static_cast<size_t>((pair * 0x9E3779B97F4A7C15ull) >> shift_);
  while (slots_[slot].pair != pair && slots_[slot].pair != no_pair) slot = (slot + 1) & (slots_.size() - 1);
  return slot;
}

void BpeModel::PairTable::set(int32_t left, int32_t right, Rank rank) {
  const uint64_t pair = pair_key(left, right);
  slots_[slot_of(pair)] = {pair, rank};
}

const BpeModel::Rank* BpeModel::PairTable::find(int32_t left, int32_t right) const {
  const Slot& slot = slots_[slot_of(pair_key(left, right))];
  return slot.pair == no_pair ? nullptr : &slot.rank;
}

BpeModel::BpeModel(BpeData data, const std::string& where)
    : where_(where),
      merges_(data.merges.size()),
      unk_token_(data.unk_token),
      fuse_unk_(data.fuse_unk),
      ignore_merges_(data.ignore_merges) {
  read_vocab(std::move(data.vocab));
  read_merges(data);
  if (unk_token_) unk_id_ = find(*unk_token_);
  if (data.byte_fallback) read_byte_tokens();
}

void BpeModel::read_vocab(std::vector<std::pair<std::string, int32_t>>&& vocab) {
  if (vocab.empty()) fail("{}: the vocabulary is empty", where_);
  tokens_.reserve(vocab.size());  // ids_ points into the strings: they must not move
  ids_.reserve(vocab.size());
  by_id_.reserve(vocab.size());
  for (auto& [token, id] : vocab) {
    tokens_.push_back(std::move(token));
    if (!ids_.emplace(tokens_.back(), id).second) {
      fail("{}: the vocabulary lists {} twice", where_, quoted(tokens_.back()));
    }
    const auto [taken, fresh] = by_id_.emplace(id, tokens_.size() - 1);
    if (!fresh) {
      fail("{}: the vocabulary gives id {} to both {} and {}", where_, id, quoted(tokens_[taken->second]),
           quoted(tokens_.back()));
    }
    largest_id_ = std::max(largest_id_, id);
  }
}

void BpeModel::read_merges(const BpeData& data) {
  for (size_t i = 0; i < data.merges.size(); ++i) {
    const auto& [left, right] = data.merges[i];
    const auto left_id = find(left), right_id = find(right), merged_id = find(left + right);
    if (left_id && right_id && merged_id) {
      merges_.set(*left_id, *right_id, {static_cast<uint32_t>(i), *merged_id});
    } else if (!data.ignore_merges) {
      const std::string missing = !left_id ? left : !right_id ? right : left + right;
      fail("{}: merge {} joins {} and {}, but the vocabulary has no {}", where_, i, quoted(left), quoted(right),
           quoted(missing));
    }
  }
}

/// All 256 byte tokens, or none: then unknown characters are unknown, as in the Python package.
void BpeModel::read_byte_tokens() {
  for (const std::string& token : tokens_) {
    if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') continue;
    if (!is_hex_digit(token[3]) || !is_hex_digit(token[4])) {
      fail("{}: the byte token {} is not <0x00> to <0xFF>", where_, quoted(token));
    }
  }
  std::array<int32_t, 256> ids{};
  std::optional<size_t> missing;
  size_t present = 0;
  for (size_t byte = 0; byte < 256; ++byte) {
    if (const auto id = find(fmt::format("<0x{:02X}>", byte))) {
      ids[byte] = *id;
      ++present;
    } else if (!missing) {
      missing = byte;
    }
  }
  if (present > 0 && missing) {
    fail("{}: byte_fallback needs all of <0x00> to <0xFF> in the vocabulary; {} are there, <0x{:02X}> is not", where_,
         present, *missing);
  }
  if (present > 0) byte_ids_ = ids;
}

std::optional<int32_t> BpeModel::find(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const std::string* BpeModel::token(int32_t id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &tokens_[found->second];
}

void BpeModel::encode(std::string_view word, Scratch& scratch, std::vector<int32_t>& out) const {
  if (ignore_merges_) {
    if (const auto id = find(word)) {
      out.push_back(*id);
      return;
    }
  }
  add_symbols(word, scratch);
  merge_symbols(scratch);
  for (const Scratch::Symbol& symbol : scratch.symbols_) {
    if (symbol.alive) out.push_back(symbol.id);
  }
}

void BpeModel::add_symbols(std::string_view word, Scratch& scratch) const {
  std::vector<Scratch::Symbol>& symbols = scratch.symbols_;
  symbols.clear();
  const auto add = [&](int32_t id) {
    const auto index = static_cast<int32_t>(symbols.size());
    if (index > 0) symbols.back().next = index;
    symbols.push_back({id, index - 1, -1, true});
  };
  bool after_unknown = false;
  for (size_t i = 0; i < word.size();) {
    const size_t length = utf8_length(word, i);
    const std::string_view character = word.substr(i, length);
    i += length;
    const auto id = find(character);
    const bool unknown = !id && !byte_ids_;
    if (id) {
      add(*id);
    } else if (byte_ids_) {
      for (const char byte : character) add((*byte_ids_)[static_cast<unsigned char>(byte)]);
    } else if (unk_token_) {
      if (!unk_id_)
        fail("{}: {} is unknown, and so is the unk_token {}", where_, quoted(character), quoted(*unk_token_));
      if (!after_unknown || !fuse_unk_) add(*unk_id_);
    }
    after_unknown = unknown;
  }
}

void BpeModel::queue_merge(Scratch& scratch, int32_t position) const {
  const Scratch::Symbol& left = scratch.symbols_[static_cast<size_t>(position)];
  if (left.next < 0) return;
  const Rank* merge = merges_.find(left.id, scratch.symbols_[static_cast<size_t>(left.next)].id);
  if (merge) scratch.heap_.push_back({merge->rank, position, merge->id});
}

void BpeModel::merge_symbols(Scratch& scratch) const {
  auto& symbols = scratch.symbols_;
  auto& heap = scratch.heap_;
  const auto later = [](const Scratch::Merge& a, const Scratch::Merge& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  };
  heap.clear();
  for (size_t i = 0; i + 1 < symbols.size(); ++i) queue_merge(scratch, static_cast<int32_t>(i));
  std::make_heap(heap.begin(), heap.end(), later);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const Scratch::Merge merge = heap.back();
    heap.pop_back();
    Scratch::Symbol& left = symbols[static_cast<size_t>(merge.position)];
    if (!left.alive || left.next < 0) continue;
    Scratch::Symbol& right = symbols[static_cast<size_t>(left.next)];
    const Rank* now = merges_.find(left.id, right.id);
    if (!now || now->id != merge.id) continue;  // the pair has changed since it was queued
    left.id = merge.id;
    left.next = right.next;
    right.alive = false;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = merge.position;
    for (const int32_t position : {left.previous, merge.position}) {
      if (position < 0) continue;
      const size_t before = heap.size();
      queue_merge(scratch, position);
      if (heap.size() != before) std::push_heap(heap.begin(), heap.end(), later);
    }
  }
}

}  // namespace headscope
