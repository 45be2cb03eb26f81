#include "core/run/query_budget.h"

#include <algorithm>

#include "core/run/kv_cache.h"

namespace headscope {
namespace {

/// The buffer with the least room, of those that have the same rows; null where there is none. After a step that was
/// stopped some have grown and some have not.
const GrowingRows* smallest_buffer(const std::vector<LayerRecord>& records) {
  const GrowingRows* smallest = nullptr;
  for (const LayerRecord& record : records) {
    for (const std::optional<GrowingRows>* rows : {&record.q, &record.input}) {
      if (*rows && (smallest == nullptr || (*rows)->capacity() < smallest->capacity())) smallest = &**rows;
    }
  }
  return smallest;
}

int64_t largest_row(const QueryPlan& plan, const QueryBytes& each) {
  int64_t bytes = 0;
  for (size_t layer = 0; layer < plan.kept.size(); ++layer) {
    if (plan.kept[layer]) bytes = std::max(bytes, each.queries[layer]);
    if (plan.saved_input[layer]) bytes = std::max(bytes, each.input);
  }
  return bytes;
}

}  // namespace

QueryBytes query_bytes(const Architecture& architecture, Element cache) {
  QueryBytes each;
  for (int64_t layer = 0; layer < architecture.layer_count(); ++layer) {
    const Element element = query_element(architecture.store_of(layer), cache);
    each.queries.push_back(query_width(architecture, layer) * bytes_of(element));
  }
  each.input = architecture.d_model * bytes_of(Element::f32);
  return each;
}

std::optional<int64_t> usual_query_bytes(const Device& device, const Architecture& architecture, Element cache,
                                         int64_t tokens) {
  const MemoryReport now = device.memory();
  if (!now.device_total_bytes) return std::nullopt;
  const int64_t free = *now.device_total_bytes - now.device_used_bytes.value_or(0) + now.kept_bytes.value_or(0);
  return std::max<int64_t>(0, free - kv_bytes(architecture, 1, tokens, bytes_of(cache))) / 2;
}

QueryBudget::QueryBudget(std::shared_ptr<const Architecture> architecture, Element cache,
                         std::shared_ptr<MemoryLedger> ledger, std::optional<int64_t> bytes, int64_t first_capacity)
    : architecture_(std::move(architecture)),
      element_(cache),
      ledger_(std::move(ledger)),
      bytes_(bytes),
      first_capacity_(first_capacity),
      each_(query_bytes(*architecture_, cache)) {}

void QueryBudget::make_room(std::vector<LayerRecord>& records, int64_t tokens) {
  if (plan_.kept.empty()) {
    plan_for(std::max(tokens, first_capacity_), 0);
    return apply_to(records);
  }
  const GrowingRows* buffer = smallest_buffer(records);
  if (buffer == nullptr || tokens <= buffer->capacity()) return;
  // One after the other is copied into its larger one.
  plan_for(buffer->capacity_with(tokens), buffer->capacity() * largest_row(plan_, each_));
  apply_to(records);
}

void QueryBudget::plan_for(int64_t capacity, int64_t copied_bytes) {
  const bool first = plan_.kept.empty();
  const QueryPlan most = first ? QueryPlan::everything(each_.queries.size()) : plan_;
  if (!bytes_) {
    plan_ = most;
    return;
  }
  const int64_t bytes = *bytes_ - copied_bytes;
  if (most.keeps_everything() && most.bytes_per_token(each_) * capacity <= bytes) {
    plan_ = most;
  } else {
    const int64_t largest = *std::max_element(each_.queries.begin(), each_.queries.end()) * capacity;
    plan_ = plan_queries(each_, capacity, bytes - std::min(largest, *bytes_ / 2), first ? nullptr : &most);
  }
  left_ = std::max<int64_t>(0, bytes - plan_.bytes_per_token(each_) * capacity);
}

void QueryBudget::apply_to(std::vector<LayerRecord>& records) const {
  for (size_t index = 0; index < records.size(); ++index) {
    const auto layer = static_cast<int64_t>(index);
    const auto keep = [&](bool wanted, std::optional<GrowingRows>& rows, int64_t width, Element element) {
      if (!wanted) {
        rows.reset();
      } else if (!rows) {
        rows.emplace(ledger_, MemoryPurpose::viewer, width, first_capacity_, architecture_->context, element);
      }
    };
    keep(plan_.kept[index], records[index].q, query_width(*architecture_, layer),
         query_element(architecture_->store_of(layer), element_));
    keep(plan_.saved_input[index], records[index].input, architecture_->d_model, Element::f32);
  }
}

}  // namespace headscope
