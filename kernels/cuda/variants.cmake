# Variants of the library, for scripts/gpu_check.sh to measure on a GPU: a name and the constants of tuning.h that it
# sets. They are built on demand alone, by the target headscope_cuda_variants, into lib/variants.
set(headscope_cuda_variants
  "forward_keys_32 HEADSCOPE_TUNE_FORWARD_KEYS=32"
  "forward_rows_128 HEADSCOPE_TUNE_FORWARD_ROWS=128 HEADSCOPE_TUNE_FORWARD_BLOCKS=1"
  "few_rows_keys_32 HEADSCOPE_TUNE_FEW_ROWS_KEYS=32 HEADSCOPE_TUNE_FEW_ROWS_STAGES=4"
  "few_rows_stages_2 HEADSCOPE_TUNE_FEW_ROWS_STAGES=2"
  "splits_4 HEADSCOPE_TUNE_SPLIT_BLOCKS=4 HEADSCOPE_TUNE_LEAST_SPLIT=128"
  "map_keys_16 HEADSCOPE_TUNE_MAP_KEYS=16 HEADSCOPE_TUNE_MAP_BLOCKS=16"
)
