#pragma once

// Constants of the kernels that only a measurement can choose: tiles, stages, splits, blocks. None has been measured
// yet. Each may be set for a whole build of the library (variants.cmake); results then round otherwise, within the
// same tolerances. What they stand for where they are used is said there.

#ifndef HEADSCOPE_TUNE_FORWARD_ROWS
#define HEADSCOPE_TUNE_FORWARD_ROWS 64
#endif
#ifndef HEADSCOPE_TUNE_FORWARD_KEYS
#define HEADSCOPE_TUNE_FORWARD_KEYS 64
#endif
#ifndef HEADSCOPE_TUNE_FORWARD_BLOCKS
#define HEADSCOPE_TUNE_FORWARD_BLOCKS 2
#endif
#ifndef HEADSCOPE_TUNE_FEW_ROWS_KEYS
#define HEADSCOPE_TUNE_FEW_ROWS_KEYS 64
#endif
#ifndef HEADSCOPE_TUNE_FEW_ROWS_STAGES
#define HEADSCOPE_TUNE_FEW_ROWS_STAGES 3
#endif
#ifndef HEADSCOPE_TUNE_SPLIT_BLOCKS
#define HEADSCOPE_TUNE_SPLIT_BLOCKS 2
#endif
#ifndef HEADSCOPE_TUNE_LEAST_SPLIT
#define HEADSCOPE_TUNE_LEAST_SPLIT 256
#endif
#ifndef HEADSCOPE_TUNE_MAP_KEYS
#define HEADSCOPE_TUNE_MAP_KEYS 32
#endif
#ifndef HEADSCOPE_TUNE_MAP_BLOCKS
#define HEADSCOPE_TUNE_MAP_BLOCKS 8
#endif

namespace headscope::cuda::tuning {

// forward.cu
inline constexpr int forward_rows = HEADSCOPE_TUNE_FORWARD_ROWS;      ///< query rows of a block, a multiple of 16
inline constexpr int forward_keys = HEADSCOPE_TUNE_FORWARD_KEYS;      ///< keys of a tile of one plane, 32 or more
inline constexpr int forward_blocks = HEADSCOPE_TUNE_FORWARD_BLOCKS;  ///< blocks a multiprocessor: caps registers
// few_rows.cu
inline constexpr int few_rows_keys = HEADSCOPE_TUNE_FEW_ROWS_KEYS;      ///< of a tile, at most: 16, 32 or 64
inline constexpr int few_rows_stages = HEADSCOPE_TUNE_FEW_ROWS_STAGES;  ///< tiles in memory at once, at most: 2, 3 or 4
inline constexpr int split_blocks = HEADSCOPE_TUNE_SPLIT_BLOCKS;        ///< blocks a multiprocessor that splits make
inline constexpr int least_split = HEADSCOPE_TUNE_LEAST_SPLIT;          ///< keys, a multiple of 64
// map_statistics.cu, tiles.cu
inline constexpr int map_keys = HEADSCOPE_TUNE_MAP_KEYS;      ///< of a warp, of one plane: 16 or 32
inline constexpr int map_blocks = HEADSCOPE_TUNE_MAP_BLOCKS;  ///< blocks a multiprocessor, before they grow larger

}  // namespace headscope::cuda::tuning
