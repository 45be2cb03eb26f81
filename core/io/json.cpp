#include "core/io/json.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/base/text.h"

namespace headscope {
namespace {

/// Walks the text and lets the events know how far the parser is.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* place, const char** furthest) : place_(place), furthest_(furthest) {}
  const char& operator*() const { return *place_; }
  CountingIterator& operator++() {
    *furthest_ = ++place_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return place_ == other.place_; }
  bool operator!=(const CountingIterator& other) const { return place_ != other.place_; }

 private:
  const char* place_;
  const char** furthest_;
};

/// nlohmann's parser calls this; it adds the depth limit and positions, and passes the events on.
class SaxBridge {
 public:
  SaxBridge(std::string_view text, std::string_view source, int depth_limit, JsonEvents& events)
      : begin_(text.data()), furthest_(text.data()), source_(source), depth_limit_(depth_limit), events_(events) {}

  const char** furthest() { return &furthest_; }

  bool null() { return scalar(nullptr); }
  bool boolean(bool value) { return scalar(value); }
  bool number_integer(int64_t value) { return scalar(value); }
  bool number_unsigned(uint64_t value) { return scalar(value); }
  bool number_float(double value, const std::string&) { return scalar(value); }
  bool string(std::string& value) { return scalar(std::move(value)); }
  bool binary(Json::binary_t&) { return false; }  // JSON text has none
  bool start_object(size_t) {
    enter();
    events_.begin_object(position());
    return true;
  }
  bool start_array(size_t) {
    enter();
    events_.begin_array(position());
    return true;
  }
  bool key(std::string& text) {
    events_.key(text, position());
    return true;
  }
  bool end_object() {
    --depth_;
    events_.end_object();
    return true;
  }
  bool end_array() {
    --depth_;
    events_.end_array();
    return true;
  }
  bool parse_error(size_t at, const std::string& last_token, const nlohmann::detail::exception& exception) {
    fail("{} is not valid JSON at byte {}: {} near {}", source_, at, reason(exception.what()), quoted(last_token, 40));
  }

 private:
  size_t position() const { return static_cast<size_t>(furthest_ - begin_); }

  template <class T>
  bool scalar(T&& value) {
    events_.value(Json(std::forward<T>(value)), position());
    return true;
  }

  void enter() {
    if (++depth_ > depth_limit_) {
      fail("{} is nested too deep at byte {}: more than {} levels", source_, position(), depth_limit_);
    }
  }

  /// The library's text without its own numbering and without the untrusted text it repeats.
  static std::string reason(std::string_view text) {
    if (const size_t dash = text.find(" - "); dash != text.npos) text.remove_prefix(dash + 3);
    if (text.find("number overflow") != text.npos) return "a number is too large";
    return std::string(text.substr(0, text.find("; last read")));
  }

  const char* begin_;
  const char* furthest_;
  std::string_view source_;
  int depth_limit_;
  int depth_ = 0;
  JsonEvents& events_;
};

void check_text(std::string_view text, std::string_view source, size_t limit) {
  if (text.empty()) fail("{} is empty; expected JSON", source);
  if (text.size() > limit) {
    fail("{} is too large: {} found, at most {} expected", source, format_bytes(text.size()), format_bytes(limit));
  }
  const auto pair = text.substr(0, 2);
  const bool marked_utf16 = pair == "\xFF\xFE" || pair == "\xFE\xFF";
  if (marked_utf16 || (pair.size() == 2 && (pair[0] == '\0') != (pair[1] == '\0'))) {
    fail("{} is UTF-16 text; expected UTF-8: save it again as UTF-8", source);
  }
  // The library takes a NUL for the end of the text and would accept anything behind it.
  if (const size_t nul = text.find('\0'); nul != text.npos) {
    fail("{} is not valid JSON at byte {}: it holds a NUL byte", source, nul);
  }
  if (const size_t valid = valid_utf8_prefix(text); valid != text.size()) {
    fail("{} is not valid JSON at byte {}: it is not UTF-8", source, valid);
  }
}

/// Builds the tree. Members are appended without looking whether the key is there, which would take quadratic
/// time; each object's keys are checked by sorting when it ends.
class TreeBuilder : public JsonEvents {
 public:
  explicit TreeBuilder(std::string_view source) : source_(source) {}

  void begin_object(size_t position) override { open_.push_back({add(Json::object()), position}); }
  void begin_array(size_t position) override { open_.push_back({add(Json::array()), position}); }
  void key(std::string& text, size_t) override { key_ = std::move(text); }
  void end_object() override {
    check_keys(*open_.back().node, open_.back().position);
    open_.pop_back();
  }
  void end_array() override { open_.pop_back(); }
  void value(Json&& scalar, size_t) override { add(std::move(scalar)); }

  Json take() { return std::move(root_); }

 private:
  struct Open {
    Json* node;
    size_t position;
  };
  using Members = std::vector<std::pair<const std::string, Json>>;

  /// Only the innermost open container grows, so pointers to the outer ones stay valid.
  Json* add(Json&& node) {
    if (open_.empty()) {
      root_ = std::move(node);
      return &root_;
    }
    Json& parent = *open_.back().node;
    if (parent.is_array()) {
      auto& items = parent.get_ref<Json::array_t&>();
      items.push_back(std::move(node));
      return &items.back();
    }
    Members& members = parent.get_ref<Json::object_t&>();
    members.emplace_back(std::move(key_), std::move(node));
    return &members.back().second;
  }

  void check_keys(const Json& object, size_t position) const {
    const Members& members = object.get_ref<const Json::object_t&>();
    std::vector<std::string_view> keys;
    keys.reserve(members.size());
    for (const auto& member : members) keys.push_back(member.first);
    std::sort(keys.begin(), keys.end());
    const auto twice = std::adjacent_find(keys.begin(), keys.end());
    if (twice == keys.end()) return;
    fail("{} has the duplicate key {} in the object that begins at byte {}", source_, quoted(*twice), position - 1);
  }

  std::string_view source_;
  Json root_;
  std::vector<Open> open_;
  std::string key_;
};

}  // namespace

void read_json(std::string_view text, std::string_view source, const JsonLimits& limits, JsonEvents& events) {
  check_text(text, source, limits.bytes);
  SaxBridge bridge(text, source, limits.depth, events);
  const CountingIterator begin(text.data(), bridge.furthest());
  const CountingIterator end(text.data() + text.size(), bridge.furthest());
  Json::sax_parse(begin, end, &bridge);
}

Json parse_json(std::string_view text, std::string_view source, const JsonLimits& limits) {
  TreeBuilder tree(source);
  read_json(text, source, limits, tree);
  return tree.take();
}

}  // namespace headscope
