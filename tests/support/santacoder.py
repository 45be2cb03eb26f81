"""GPT-BigCode as SantaCoder's own code stores it, which transformers lacks: model_type gpt2, weights as GPT-2's Conv1D
[in, out], queries (`q_attn`) apart from the key and the value of all heads (`kv_attn`), or joined in `c_attn`.

That code calls Conv1D(hidden, hidden) for the queries and Conv1D(2 * head, hidden), split into key and value, for the rest;
all else is GPT-2's. So the same numbers are a transformers GPT-BigCode model once its Linear weights are transposed.
"""

import json

import safetensors.torch
import torch
import transformers

_BIGCODE_ONLY = ("multi_query", "attention_softmax_in_fp32", "scale_attention_softmax_in_fp32", "transformers_version")


def _is_linear(name, tensor):
    return tensor.dim() == 2 and ".h." in name


def is_santacoder(config):
    return config.get("model_type") == "gpt2" and "attention_head_type" in config


def store(folder, joined=False):
    """Rewrites a folder that transformers saved from a multi-query GPT-BigCode model."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    out = {}
    for name, tensor in safetensors.torch.load_file(folder / "model.safetensors").items():
        tensor = tensor.T.contiguous() if _is_linear(name, tensor) else tensor
        if ".c_attn." not in name or joined:
            out[name] = tensor
            continue
        out[name.replace("c_attn", "q_attn")] = tensor[..., :config["n_embd"]].contiguous()
        out[name.replace("c_attn", "kv_attn")] = tensor[..., config["n_embd"]:].contiguous()
    safetensors.torch.save_file(out, folder / "model.safetensors", {"format": "pt"})
    config = {key: value for key, value in config.items() if key not in _BIGCODE_ONLY}
    config |= {"model_type": "gpt2", "architectures": ["GPT2LMHeadCustomModel"], "attention_head_type": "multiquery",
               "auto_map": {"AutoConfig": "configuration_gpt2_mq.GPT2CustomConfig",
                            "AutoModelForCausalLM": "modeling_gpt2_mq.GPT2LMHeadCustomModel"}}
    path.write_text(json.dumps(config, indent=2))


def load(folder, dtype, implementation):
    """The stored model as transformers' GPT-BigCode."""
    values = json.loads((folder / "config.json").read_text())
    values = {key: value for key, value in values.items() if key not in ("model_type", "architectures", "auto_map")}
    config = transformers.AutoConfig.for_model("gpt_bigcode", **{**values, "multi_query": True})
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=implementation)
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    for name in [name for name in tensors if ".q_attn." in name]:
        both = [tensors.pop(name), tensors.pop(name.replace("q_attn", "kv_attn"))]
        tensors[name.replace("q_attn", "c_attn")] = torch.cat(both, -1)
    tensors = {name: tensor.T if _is_linear(name, tensor) else tensor for name, tensor in tensors.items()}
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    return model.to(dtype)
