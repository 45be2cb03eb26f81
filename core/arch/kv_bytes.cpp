#include <algorithm>
#include <map>

#include "core/arch/architecture.h"
#include "core/base/error.h"

namespace headscope {
namespace {

[[noreturn]] void too_large() { fail("the KV cache asked for is larger than 2^63 bytes"); }

int64_t product(int64_t a, int64_t b) {
  int64_t out = 0;
  if (__builtin_mul_overflow(a, b, &out)) too_large();
  return out;
}

int64_t sum(int64_t a, int64_t b) {
  int64_t out = 0;
  if (__builtin_add_overflow(a, b, &out)) too_large();
  return out;
}

/// "36,864"
std::string grouped(int64_t number) {
  std::string text = std::to_string(number);
  for (auto at = static_cast<int64_t>(text.size()) - 3; at > 0; at -= 3) text.insert(static_cast<size_t>(at), ",");
  return text;
}

std::string counted(int64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", grouped(count), noun, count == 1 ? "" : "s");
}

/// "2 x 5 layers x 4 KV heads x 8 x 4 B": `owners` layers that store alike. `noun` is "layer" or "owning layer".
std::string term(const KvStore& store, int64_t owners, std::string_view noun, int64_t bytes) {
  const std::string layers = counted(owners, noun);
  if (store.stored == Stored::latent) {
    return fmt::format("{} x ({} latent + {} rope key) x {} B", layers, store.value_dim, store.rope_key(), bytes);
  }
  const std::string heads = counted(store.kv_heads, "KV head");
  if (store.stored == Stored::values_only)
    return fmt::format("{} x {} x {} x {} B", layers, heads, store.value_dim, bytes);
  if (store.stored == Stored::keys_only) return fmt::format("{} x {} x {} x {} B", layers, heads, store.key_dim, bytes);
  if (store.key_dim == store.value_dim) {
    return fmt::format("2 x {} x {} x {} x {} B", layers, heads, store.key_dim, bytes);
  }
  return fmt::format("{} x {} x ({} key + {} value) x {} B", layers, heads, store.key_dim, store.value_dim, bytes);
}

std::string_view why_no_factor_two(Stored stored, bool rotated) {
  switch (stored) {
    case Stored::values_only:
      return rotated ? "; only values are stored, keys are rotated from them when read"
                     : "; only values are stored, and they are the keys, too";
    case Stored::keys_only:
      return "; only keys are stored, values are rebuilt from them";
    case Stored::latent:
      return "; one latent row serves all heads as key and value";
    case Stored::keys_and_values:
      break;
  }
  return "";
}

struct Term {
  KvStore store;
  int64_t owners = 0;
};

/// Owners that store alike, in the order of their first layer.
std::vector<Term> terms_of(const Architecture& a) {
  std::vector<Term> terms;
  for (const KvStore& store : a.kv_stores) {
    const auto alike = [&](const Term& other) {
      return other.store.stored == store.stored && other.store.kv_heads == store.kv_heads &&
             other.store.key_dim == store.key_dim && other.store.value_dim == store.value_dim;
    };
    const auto found = std::find_if(terms.begin(), terms.end(), alike);
    if (found == terms.end()) {
      terms.push_back({store, 1});
    } else {
      ++found->owners;
    }
  }
  return terms;
}

/// "; 22 of them stop at 512 tokens"
std::string windows_text(const Architecture& a) {
  std::map<int64_t, int64_t> owners_by_window;
  for (const KvStore& store : a.kv_stores) {
    if (store.window > 0) ++owners_by_window[store.window];
  }
  const auto all = static_cast<int64_t>(a.kv_stores.size());
  std::string out;
  for (const auto& [window, owners] : owners_by_window) {
    const std::string who = owners == all ? (all == 1 ? "it" : "all of them") : fmt::format("{} of them", owners);
    out += fmt::format("; {} {} at {} tokens", who, owners == 1 ? "stops" : "stop", grouped(window));
  }
  return out;
}

}  // namespace

int64_t kv_bytes_per_token(const Architecture& a, int64_t bytes_per_element) {
  return kv_bytes(a, 1, 1, bytes_per_element);
}

int64_t kv_bytes(const Architecture& a, int64_t batch, int64_t tokens, int64_t bytes_per_element) {
  if (batch < 0 || tokens < 0 || bytes_per_element < 1) {
    fail("KV bytes need a batch and tokens of 0 or more and an element of 1 byte or more, but got {}, {} and {}", batch,
         tokens, bytes_per_element);
  }
  int64_t elements = 0;
  for (const KvStore& store : a.kv_stores) {
    elements = sum(elements, product(store.kept(tokens), store.elements_per_token()));
  }
  return product(product(elements, batch), bytes_per_element);
}

std::string kv_equation(const Architecture& a, int64_t bytes_per_element) {
  const bool all_own = static_cast<int64_t>(a.kv_stores.size()) == a.layer_count();
  std::vector<std::string> parts, reasons;
  for (const Term& t : terms_of(a)) {
    parts.push_back(term(t.store, t.owners, all_own ? "layer" : "owning layer", bytes_per_element));
    std::string reason(why_no_factor_two(t.store.stored, a.rotated_on_read(t.store)));
    if (std::find(reasons.begin(), reasons.end(), reason) == reasons.end()) reasons.push_back(std::move(reason));
  }
  return fmt::format("{} B per token = {}{}{}", grouped(kv_bytes_per_token(a, bytes_per_element)),
                     fmt::join(parts, " + "), fmt::join(reasons, ""), windows_text(a));
}

std::string kv_total_equation(const Architecture& a, int64_t batch, int64_t tokens, int64_t bytes_per_element) {
  const int64_t bytes = kv_bytes(a, batch, tokens, bytes_per_element);
  std::map<int64_t, int64_t> per_token;  // of the caches that keep so many tokens
  for (const KvStore& store : a.kv_stores) {
    per_token[store.kept(tokens)] += store.elements_per_token() * bytes_per_element;
  }
  std::vector<std::string> parts;
  for (const auto& [kept, size] : per_token) {
    parts.push_back(
        fmt::format("{} B a token x {}{}", grouped(size), counted(kept, "token"), kept < tokens ? " of a window" : ""));
  }
  std::string sum = fmt::format("{}", fmt::join(parts, " + "));
  if (parts.size() > 1) sum = fmt::format("({})", sum);
  return fmt::format("{} B = {} x {}", grouped(bytes), counted(batch, "sequence"), sum);
}

}  // namespace headscope
