#include <algorithm>
#include <charconv>

#include "core/arch/what_if.h"
#include "core/base/error.h"

namespace headscope {
namespace {

constexpr std::string_view forms = "mha, gqa-8, mqa, mlkv-4x3, cla-2, sharedkv, slim, mla, or several joined by -";

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text), rest_(text) {
    std::transform(rest_.begin(), rest_.end(), rest_.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  }

  Scheme parse() {
    do {
      part(next());
    } while (!done_);
    check();
    return std::move(scheme_);
  }

 private:
  [[noreturn]] void refuse(std::string_view why) const {
    throw UsageError(fmt::format("{} is no way to share a KV cache: {}", quoted(text_), why));
  }

  std::string next() {
    if (done_) refuse(fmt::format("a number is missing; expected {}", forms));
    const size_t dash = rest_.find('-');
    std::string word = rest_.substr(0, dash);
    done_ = dash == std::string::npos;
    rest_.erase(0, done_ ? dash : dash + 1);
    return word;
  }

  int64_t number(std::string_view digits) const {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc() || end != digits.data() + digits.size() || value < 1 || value > limits::heads) {
      refuse(fmt::format("{} is not a number from 1 to {}", quoted(digits), limits::heads));
    }
    return value;
  }

  template <class Value>
  void set(std::optional<Value>& field, Value value, std::string_view what, const std::string& name) {
    if (field) refuse(fmt::format("it names {} twice", what));
    field = value;
    scheme_.name += (scheme_.name.empty() ? "" : " ") + name;
  }

  void part(const std::string& word) {
    constexpr std::string_view heads = "the KV heads", layers = "the owning layers", kept = "what is stored";
    if (word == "mha") return set(scheme_.kv_heads, int64_t{0}, heads, "MHA");
    if (word == "mqa") return set(scheme_.kv_heads, int64_t{1}, heads, "MQA");
    if (word == "sharedkv") return set(scheme_.stored, Stored::values_only, kept, "SharedKV");
    if (word == "slim") return set(scheme_.stored, Stored::keys_only, kept, "Slim");
    if (word == "mla") return set(scheme_.stored, Stored::latent, kept, "MLA");
    if (word == "gqa") {
      const int64_t count = number(next());
      return set(scheme_.kv_heads, count, heads, fmt::format("GQA-{}", count));
    }
    if (word == "cla") {
      const int64_t count = number(next());
      return set(scheme_.cla, count, layers, fmt::format("CLA-{}", count));
    }
    if (word != "mlkv") refuse(fmt::format("expected {}", forms));
    const std::string size = next();
    const size_t cross = size.find('x');
    if (cross == std::string::npos) refuse("mlkv needs layers x heads, as in mlkv-4x3");
    const int64_t owners = number(std::string_view(size).substr(0, cross));
    const int64_t count = number(std::string_view(size).substr(cross + 1));
    set(scheme_.owners, owners, layers, fmt::format("MLKV {}x{}", owners, count));
    if (scheme_.kv_heads) refuse("it names the KV heads twice");
    scheme_.kv_heads = count;
  }

  void check() {
    if (scheme_.cla && scheme_.owners) refuse("it names the owning layers twice");
    if (scheme_.stored == Stored::latent && scheme_.kv_heads) refuse("one latent serves all heads");
    if (scheme_.stored != Stored::keys_only) return;
    if (scheme_.kv_heads.value_or(0) != 0)
      refuse("slim attention inverts the key projection, so every head has its own");
    scheme_.kv_heads = 0;
  }

  std::string_view text_;
  std::string rest_;
  bool done_ = false;
  Scheme scheme_;
};

}  // namespace

Scheme parse_scheme(std::string_view text) { return Parser(text).parse(); }

}  // namespace headscope
