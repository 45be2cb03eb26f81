#pragma once

namespace headscope {

/// Gives back the pages of LibTorch's file that only its start needed: tables of relocations and the code that
/// registers operators, about 45 MB. They are read-only and come back from the file when they are needed again.
/// May be called at any time, by any thread.
void release_startup_pages();

}  // namespace headscope
