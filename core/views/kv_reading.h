#pragma once

#include <string>

#include "core/views/kv.h"

namespace headscope {

/// What the numbers of a KV cache say. Internal to the KV view.

/// Throws Error when the parts of the data do not fit together.
void check_kv(const KvData&);

uint64_t total_used(const KvData&);
uint64_t total_allocated(const KvData&);

/// Bytes of a layer's cache after `tokens` tokens, by formula.
double bytes_after(const KvLayerBytes&, int64_t tokens);

/// "75.0 KiB used of 80.0 KiB allocated for 60 tokens in 5 layers."
std::string kv_sentence(const KvData&);

/// One row an owning layer: used, allocated and bytes per token.
Table kv_table(const KvData&);

}  // namespace headscope
