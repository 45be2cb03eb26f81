#pragma once

#include "core/arch/families/llama_form.h"

namespace headscope {

/// Windows of Qwen 2 and 3: only with use_sliding_window, in layers from max_window_layers on. Layer types are checked
/// in any case, as transformers does.
inline void set_qwen_windows(const ConfigReader& reader, Architecture& a) {
  if (!reader.boolean_or("use_sliding_window", false)) {
    (void)read_layer_types(reader, a);
    return;
  }
  const int64_t first = reader.integer_or("max_window_layers", 28, 0, limits::layers);
  set_windows(
      reader, read_window(reader, 4096), [first](int64_t layer) { return layer >= first; }, a);
}

}  // namespace headscope
