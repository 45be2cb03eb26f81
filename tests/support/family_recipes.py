"""Tiny configurations of every family but gpt2 and llama, which random_models.py has."""

_NEOX = dict(vocab_size=157, hidden_size=48, intermediate_size=90, num_hidden_layers=3, num_attention_heads=4,
             max_position_embeddings=160, bos_token_id=1, eos_token_id=None)
_BIGCODE = dict(vocab_size=151, n_positions=160, n_embd=48, n_layer=3, n_head=6, n_inner=100, bos_token_id=1,
                eos_token_id=None)
_OPT = dict(vocab_size=149, hidden_size=48, ffn_dim=100, num_hidden_layers=3, num_attention_heads=4,
            max_position_embeddings=160, word_embed_proj_dim=48, bos_token_id=1, eos_token_id=None, pad_token_id=0,
            dropout=0.0)
_LLAMA = dict(vocab_size=163, hidden_size=48, intermediate_size=88, num_hidden_layers=3, num_attention_heads=6,
              num_key_value_heads=2, max_position_embeddings=192, bos_token_id=1, eos_token_id=None, pad_token_id=None)
_GEMMA = {**_LLAMA, "num_attention_heads": 4, "head_dim": 14, "tie_word_embeddings": True}
_SLIDING = ["sliding_attention", "full_attention", "sliding_attention"]


def _rope(base, **more):
    return {"rope_type": "default", "rope_theta": float(base)} | more


_FALCON = dict(vocab_size=167, hidden_size=48, num_hidden_layers=3, num_attention_heads=6, max_position_embeddings=160,
               bos_token_id=1, eos_token_id=None, ffn_hidden_size=100)


_DEEPSEEK = dict(vocab_size=173, hidden_size=48, intermediate_size=90, moe_intermediate_size=30, num_hidden_layers=3,
                 num_attention_heads=4, num_key_value_heads=4, kv_lora_rank=20, qk_rope_head_dim=8, qk_nope_head_dim=12,
                 v_head_dim=10, n_shared_experts=2, n_routed_experts=12, num_experts_per_tok=3, first_k_dense_replace=1,
                 max_position_embeddings=192, bos_token_id=1, eos_token_id=None)


# (name, family, config) and what else a Recipe takes
FAMILY_RECIPES = [
    ("neox-parallel", "gpt_neox", {**_NEOX, "rope_parameters": _rope(10000, partial_rotary_factor=0.34)}),
    ("neox-sequential-whole", "gpt_neox", {**_NEOX, "use_parallel_residual": False, "hidden_act": "gelu_new",
                                           "rope_parameters": _rope(500, partial_rotary_factor=1.0)}),
    ("neox-no-bias-tied", "gpt_neox", {**_NEOX, "attention_bias": False, "tie_word_embeddings": True,
                                       "layer_norm_eps": 1e-3, "rope_parameters": _rope(10000, partial_rotary_factor=0.5)}),
    ("neox-dynamic", "gpt_neox", {**_NEOX, "max_position_embeddings": 40, "rope_parameters": _rope(
        10000, rope_type="dynamic", factor=3.0, partial_rotary_factor=0.5)}),
    ("neox-lm-head", "gpt_neox", {**_NEOX, "rope_parameters": _rope(10000, partial_rotary_factor=0.5)},
     dict(stored_as="neox-lm-head")),
    ("bigcode-mqa", "gpt_bigcode", {**_BIGCODE, "multi_query": True}),
    ("bigcode-mha", "gpt_bigcode", {**_BIGCODE, "multi_query": False, "activation_function": "gelu"}),
    ("bigcode-unscaled-untied", "gpt_bigcode", {**_BIGCODE, "multi_query": True, "scale_attn_weights": False,
                                                "tie_word_embeddings": False}),
    ("santacoder", "gpt_bigcode", {**_BIGCODE, "multi_query": True, "activation_function": "gelu_fast"},
     dict(stored_as="santacoder")),
    ("santacoder-joined", "gpt_bigcode", {**_BIGCODE, "multi_query": True, "n_head": 4},
     dict(stored_as="santacoder-joined")),
    ("falcon-mqa", "falcon", {**_FALCON, "multi_query": True, "num_kv_heads": 6}),  # as 7B's config says
    ("falcon-grouped", "falcon", {**_FALCON, "new_decoder_architecture": True, "num_kv_heads": 2}),
    ("falcon-grouped-one-norm", "falcon", {**_FALCON, "new_decoder_architecture": True, "num_kv_heads": 3,
                                           "num_ln_in_parallel_attn": 1}),
    ("falcon-alibi", "falcon", {**_FALCON, "alibi": True, "multi_query": False, "parallel_attn": False, "bias": True,
                                "tie_word_embeddings": False}),
    # Where transformers' rounding of slope times position to bf16 is a third of a score.
    ("falcon-alibi-long", "falcon", {**_FALCON, "hidden_size": 128, "num_attention_heads": 32, "num_hidden_layers": 1,
                                     "alibi": True, "multi_query": False, "parallel_attn": False,
                                     "max_position_embeddings": 1100}, dict(tokens=1000)),
    ("opt", "opt", _OPT),
    ("opt-no-bias-gelu", "opt", {**_OPT, "enable_bias": False, "activation_function": "gelu", "num_attention_heads": 3,
                                 "tie_word_embeddings": False}),
    ("mistral-window", "mistral", {**_LLAMA, "sliding_window": 11, "rms_norm_eps": 1e-5}),
    ("mistral-no-window", "mistral", {**_LLAMA, "sliding_window": None, "head_dim": 10, "rope_parameters": _rope(900)}),
    ("qwen2", "qwen2", {**_LLAMA, "rope_parameters": _rope(1000000)}),
    ("qwen2-windows", "qwen2", {**_LLAMA, "use_sliding_window": True, "sliding_window": 9, "max_window_layers": 1,
                                "tie_word_embeddings": True}),
    ("qwen2-yarn", "qwen2", {**_LLAMA, "head_dim": 16, "rms_norm_eps": 1e-5, "rope_parameters": _rope(
        10000, rope_type="yarn", factor=4.0, original_max_position_embeddings=40, beta_fast=4)}),
    ("qwen3", "qwen3", {**_LLAMA, "head_dim": 12, "rope_parameters": _rope(1000000)}),
    ("qwen3-windows", "qwen3", {**_LLAMA, "head_dim": 16, "use_sliding_window": True, "sliding_window": 13,
                                "layer_types": _SLIDING, "attention_bias": True, "rms_norm_eps": 1e-5}),
    ("phi3", "phi3", {**_LLAMA, "rope_parameters": _rope(10000)}),
    ("phi3-partial-window", "phi3", {**_LLAMA, "hidden_size": 96, "sliding_window": 17,
                                     "rope_parameters": _rope(10000, partial_rotary_factor=0.5)}),
    ("olmo2", "olmo2", {**_LLAMA, "rope_parameters": _rope(500000)}),
    ("olmo2-mha-bias", "olmo2", {**_LLAMA, "num_key_value_heads": 6, "attention_bias": True, "rms_norm_eps": 1e-3}),
    ("gemma", "gemma", _GEMMA),
    ("gemma-mqa", "gemma", {**_GEMMA, "num_key_value_heads": 1, "rms_norm_eps": 1e-4}),
    ("gemma2", "gemma2", {**_GEMMA, "sliding_window": 11, "attn_logit_softcapping": 8.0, "final_logit_softcapping": 2.0,
                          "query_pre_attn_scalar": 20}),
    ("gemma3", "gemma3_text", {**_GEMMA, "sliding_window": 9, "layer_types": _SLIDING, "query_pre_attn_scalar": 14,
                               "rope_parameters": {"full_attention": _rope(1000000, rope_type="linear", factor=8.0),
                                                   "sliding_attention": _rope(10000)}}),
    ("gemma2-no-caps", "gemma2", {**_GEMMA, "sliding_window": 7, "attn_logit_softcapping": None,
                                  "final_logit_softcapping": None, "query_pre_attn_scalar": 14,
                                  "layer_types": ["full_attention", "sliding_attention", "full_attention"]}),
    ("deepseek2-lite", "deepseek_v2", {**_DEEPSEEK, "q_lora_rank": None, "rms_norm_eps": 1e-5, "rope_parameters": _rope(
        90, rope_type="yarn", factor=4.0, original_max_position_embeddings=40, mscale=0.707, mscale_all_dim=0.707,
        beta_fast=4)}),
    ("deepseek2-groups", "deepseek_v2", {**_DEEPSEEK, "q_lora_rank": 24, "topk_method": "group_limited_greedy",
                                         "n_group": 4, "topk_group": 2, "routed_scaling_factor": 4.0,
                                         "attention_bias": True, "rms_norm_eps": 1e-5}),
    ("deepseek2-dense", "deepseek_v2", {**_DEEPSEEK, "q_lora_rank": 24, "first_k_dense_replace": 3,
                                        "max_position_embeddings": 40, "rms_norm_eps": 1e-5,
                                        "rope_parameters": _rope(10000, rope_type="dynamic", factor=3.0)}),
    ("deepseek3", "deepseek_v3", {**_DEEPSEEK, "q_lora_rank": 24, "n_group": 4, "topk_group": 2, "rope_parameters": _rope(
        90, rope_type="yarn", factor=4.0, original_max_position_embeddings=40, mscale=1.0, mscale_all_dim=0.8,
        beta_fast=4)}),
    ("deepseek3-plain", "deepseek_v3", {**_DEEPSEEK, "q_lora_rank": 16, "n_group": 6, "topk_group": 3,
                                        "attention_bias": True, "first_k_dense_replace": 2}),
    ("deepseek3-halves", "deepseek_v3", {**_DEEPSEEK, "q_lora_rank": None, "n_group": 1, "topk_group": 1,
                                         "rope_interleave": False, "norm_topk_prob": False, "num_attention_heads": 3,
                                         "num_key_value_heads": 3, "n_shared_experts": 1, "rms_norm_eps": 1e-5}),
]
