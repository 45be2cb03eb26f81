"""Rewrites checkpoints of Llama's and DeepSeek's form as HeadScope's own, so that both can be compared."""

import json
import pathlib

from safetensors.torch import load_file, save_file

_NAMES = {"input_layernorm": "attention_norm", "self_attn.q_proj": "query", "self_attn.k_proj": "key",
          "self_attn.v_proj": "value", "self_attn.o_proj": "attention_output", "self_attn.q_norm": "query_norm",
          "self_attn.k_norm": "key_norm", "mlp.gate_proj": "mlp_gate", "mlp.up_proj": "mlp_up", "mlp.down_proj": "mlp_down"}
_TWO_NORMS = {"post_attention_layernorm": "mlp_norm"}
_FOUR_NORMS = {"post_attention_layernorm": "attention_post_norm", "pre_feedforward_layernorm": "mlp_norm",
               "post_feedforward_layernorm": "mlp_post_norm"}
_OUTSIDE = {"model.embed_tokens.weight": "token_embedding", "model.norm.weight": "final_norm",
            "lm_head.weight": "lm_head"}


def _own_name(name, norms):
    if name in _OUTSIDE:
        return _OUTSIDE[name]
    _, _, layer, rest = name.split(".", 3)
    part, kind = rest.rsplit(".", 1)
    return f"layers.{layer}.{ {**_NAMES, **norms}[part]}{'_bias' if kind == 'bias' else ''}"


def _layer(config, index, head_dim, more):
    return {"q_heads": config["num_attention_heads"], "kv_owner": index, "scale": head_dim ** -0.5,
            "rotate_query": True, "mlp": {"width": config["intermediate_size"], "gated": True, "activation": "silu"},
            **more}


def rewrite(folder, out, layer=None, outside=None, plus_one=False):
    """`layer` and `outside`: keys beside those of Llama, for every layer and for the model."""
    folder, out = pathlib.Path(folder), pathlib.Path(out)
    out.mkdir()
    config = json.loads((folder / "config.json").read_text())
    layer = layer or {}
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    count = config["num_hidden_layers"]
    own = {"model_type": "headscope", "vocab_size": config["vocab_size"], "d_model": config["hidden_size"],
           "context": config["max_position_embeddings"], "norm": "rms_norm", "norm_epsilon": config["rms_norm_eps"],
           "tied_embeddings": config["tie_word_embeddings"],
           "position": {"scheme": "rope",
                        "rope": {"dims": head_dim, "base": config["rope_parameters"]["rope_theta"]}},
           "layers": [_layer(config, index, head_dim, layer) for index in range(count)],
           "kv_stores": [{"layer": index, "kv_heads": config["num_key_value_heads"], "key_dim": head_dim,
                          "value_dim": head_dim, "keys_rotated": True} for index in range(count)],
           **(outside or {})}
    (out / "config.json").write_text(json.dumps(own))
    norms = _FOUR_NORMS if layer.get("norm_after") else _TWO_NORMS
    tensors = {}
    for name, values in load_file(folder / "model.safetensors").items():
        mine = _own_name(name, norms)
        tensors[mine] = values + 1 if plus_one and "norm" in mine else values
    save_file(tensors, out / "model.safetensors")
    return out


_LATENT_NAMES = {"input_layernorm.weight": "attention_norm", "post_attention_layernorm.weight": "mlp_norm",
                 "self_attn.q_a_proj.weight": "query_latent", "self_attn.q_a_proj.bias": "query_latent_bias",
                 "self_attn.q_a_layernorm.weight": "query_latent_norm", "self_attn.q_b_proj.weight": "query",
                 "self_attn.kv_a_proj_with_mqa.weight": "latent", "self_attn.kv_a_proj_with_mqa.bias": "latent_bias",
                 "self_attn.kv_a_layernorm.weight": "latent_norm", "self_attn.o_proj.weight": "attention_output",
                 "self_attn.o_proj.bias": "attention_output_bias", "mlp.gate.weight": "router",
                 "mlp.gate.e_score_correction_bias": "router_bias"}


def _mlp_name(rest):
    """gate_proj, up_proj and down_proj of the layer, of an expert or of what all share."""
    parts = rest.split(".")
    kind = parts[-2].removesuffix("_proj")
    return {"experts": f"experts.{parts[2]}.expert_{kind}", "shared_experts": f"shared_{kind}"}.get(parts[1], f"mlp_{kind}")


def _latent_tensors(config, tensors):
    """kv_b_proj holds, for each head, what makes its keys and then what makes its values."""
    for name, values in tensors.items():
        if name in _OUTSIDE:
            yield _OUTSIDE[name], values
            continue
        _, _, layer, rest = name.split(".", 3)
        if rest == "self_attn.kv_b_proj.weight":
            heads = values.view(config["num_attention_heads"], -1, config["kv_lora_rank"])
            content = config["qk_nope_head_dim"]
            yield f"layers.{layer}.latent_key", heads[:, :content].reshape(-1, config["kv_lora_rank"])
            yield f"layers.{layer}.latent_value", heads[:, content:].reshape(-1, config["kv_lora_rank"])
        else:
            yield f"layers.{layer}.{_LATENT_NAMES.get(rest) or _mlp_name(rest)}", values


def rewrite_deepseek(folder, out, router):
    """A model with a latent for its queries and plain rope. `router`: what its own config does not say in one key."""
    folder, out = pathlib.Path(folder), pathlib.Path(out)
    out.mkdir()
    config = json.loads((folder / "config.json").read_text())
    latent, rope_key, content = (config[key] for key in ("kv_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim"))
    mixture = {"width": config["moe_intermediate_size"], "experts": config["n_routed_experts"],
               "experts_active": config["num_experts_per_tok"],
               "shared_width": config["moe_intermediate_size"] * config["n_shared_experts"],
               "router": {"groups": config["n_group"], "groups_active": config["topk_group"],
                          "scale": config["routed_scaling_factor"], **router}}
    layers, stores = [], []
    for index in range(config["num_hidden_layers"]):
        mlp = mixture if index >= config["first_k_dense_replace"] else {"width": config["intermediate_size"]}
        bias = config["attention_bias"]
        layers.append({"q_heads": config["num_attention_heads"], "scale": (content + rope_key) ** -0.5,
                       "rotate_query": True, "qkv_bias": bias, "output_bias": bias,
                       "mla": {"query_rank": config["q_lora_rank"], "content_dim": content,
                               "value_dim": config["v_head_dim"]},
                       "mlp": {"gated": True, "activation": "silu", **mlp}})
        stores.append({"layer": index, "kv_heads": 1, "key_dim": latent + rope_key, "value_dim": latent,
                       "stored": "latent", "keys_rotated": True})
    rope = {"dims": rope_key, "base": config["rope_parameters"]["rope_theta"], "style": "interleaved"}
    own = {"model_type": "headscope", "vocab_size": config["vocab_size"], "d_model": config["hidden_size"],
           "context": config["max_position_embeddings"], "norm": "rms_norm", "norm_epsilon": config["rms_norm_eps"],
           "position": {"scheme": "rope", "rope": rope}, "layers": layers, "kv_stores": stores}
    (out / "config.json").write_text(json.dumps(own))
    tensors = _latent_tensors(config, load_file(folder / "model.safetensors"))
    save_file({name: values.contiguous() for name, values in tensors}, out / "model.safetensors")
    return out
