#pragma once

#include "core/arch/family.h"

namespace headscope {

#define FAMILY(name) extern const Family name##_family;
#include "core/arch/families/list.inc"
#undef FAMILY

}  // namespace headscope
