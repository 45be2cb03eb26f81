#pragma once

#include "core/arch/family.h"

namespace headscope {

extern const Family gpt2_family;
extern const Family llama_family;

}  // namespace headscope
