#pragma once

#include "core/arch/architecture.h"
#include "core/io/hdf5.h"

namespace headscope::cli {

/// What it takes to rebuild maps from queries and keys (docs/formats.md): how the cache that a layer reads is stored
/// and how its scores are made, as attributes of length layers on /k and /v, and angles in /rope.
void describe_attention(Hdf5Writer&, const Architecture&);

}  // namespace headscope::cli
