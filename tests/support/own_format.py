"""Rewrites checkpoints of Llama's form as HeadScope's own, so that both can be compared."""

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
