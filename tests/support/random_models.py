"""Random checkpoints for tests and measurements, made with transformers and saved as it saves them.

Random weights attend evenly, which hides mistakes: a wrong head or a wrong mask hardly changes anything. The query
and key weights are therefore scaled up, layer by layer, until heads attend sharply; `make_*` asserts that they do.

As a program it makes one model:
    python tests/support/random_models.py gpt2-small OUT --positions 2048
    python tests/support/random_models.py llama-32x32 OUT
    python tests/support/random_models.py llama-gqa OUT
"""

import argparse
import dataclasses
import json
import math
import pathlib
import sys

import safetensors.torch
import torch
import transformers

import santacoder
from attention_numbers import normalised_entropy
from family_layouts import apply_alibi_once, scale_query_and_key
from family_recipes import FAMILY_RECIPES

transformers.utils.logging.disable_progress_bar()

SHARPEST, EVENEST = 0.05, 0.6  # allowed mean normalised entropy of a layer's heads


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One tiny model. `config` goes to transformers' config class of the family."""

    name: str
    family: str
    config: dict
    dtype: torch.dtype = torch.float32  # as stored
    max_shard_size: str = "1GB"
    old_spelling: bool = False  # config.json as transformers 4 wrote it
    stored_as: str = ""  # a key of LAYOUTS: another way than transformers saves it
    tokens: int = 0  # of the prompt that is compared; 0: some dozens


def gpt2(name, config, **more):
    base = dict(vocab_size=151, n_positions=160, n_embd=48, n_layer=3, n_head=4, bos_token_id=1, eos_token_id=None)
    return Recipe(name, "gpt2", {**base, **config}, **more)


def llama(name, config, **more):
    base = dict(vocab_size=163, hidden_size=48, intermediate_size=88, num_hidden_layers=3, num_attention_heads=6,
                num_key_value_heads=6, max_position_embeddings=192, bos_token_id=1, eos_token_id=None,
                rms_norm_eps=1e-5, rope_parameters={"rope_type": "default", "rope_theta": 10000.0})
    return Recipe(name, "llama", {**base, **config}, **more)


LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 64}

RECIPES = [
    gpt2("gpt2-odd-mlp", dict(n_embd=60, n_head=5, n_inner=77)),
    gpt2("gpt2-inverse-layer", dict(scale_attn_by_inverse_layer_idx=True, n_layer=4)),
    gpt2("gpt2-unscaled-relu", dict(scale_attn_weights=False, activation_function="relu", n_head=8)),
    gpt2("gpt2-gelu-untied-f16", dict(activation_function="gelu", tie_word_embeddings=False), dtype=torch.float16),
    gpt2("gpt2-one-head-bf16", dict(n_head=1, n_embd=33, n_layer=2, layer_norm_epsilon=1e-4), dtype=torch.bfloat16),
    llama("llama-mha", {}),
    llama("llama-gqa", dict(num_attention_heads=8, num_key_value_heads=2, hidden_size=64, intermediate_size=101)),
    llama("llama-mqa-tied", dict(num_key_value_heads=1, tie_word_embeddings=True)),
    llama("llama-wide-heads", dict(num_attention_heads=4, num_key_value_heads=2, head_dim=22)),
    llama("llama-narrow-odd", dict(hidden_size=45, num_attention_heads=9, num_key_value_heads=3, head_dim=6,
                                   intermediate_size=59, vocab_size=97)),
    llama("llama-biases", dict(attention_bias=True, mlp_bias=True, num_key_value_heads=3)),
    llama("llama-rope-linear", dict(rope_parameters={"rope_type": "linear", "rope_theta": 5000.0, "factor": 4.0})),
    llama("llama-rope-llama3", dict(rope_parameters=LLAMA3_ROPE, num_key_value_heads=2, head_dim=16)),
    llama("llama-rope-llama3-old", dict(rope_parameters=LLAMA3_ROPE, num_key_value_heads=2, head_dim=16),
          old_spelling=True),
    llama("llama-rope-linear-old", dict(rope_parameters={"rope_type": "linear", "rope_theta": 5000.0, "factor": 4.0}),
          old_spelling=True, dtype=torch.float16),
    llama("llama-rope-dynamic-old", dict(rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0},
                                         max_position_embeddings=40, num_key_value_heads=2), old_spelling=True),
    llama("llama-sharded-bf16", dict(num_key_value_heads=3), dtype=torch.bfloat16, max_shard_size="20KB"),
    *(Recipe(*one[:3], **(one[3] if len(one) > 3 else {})) for one in FAMILY_RECIPES),
]


def recipe(name):
    return next(one for one in RECIPES if one.name == name)


def _config(family, values):
    if family in ("gpt2", "gpt_bigcode"):
        values = {**values, "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
    return transformers.AutoConfig.for_model(family, **values)


def _randomise(model, seed):
    """Weights of a size that keeps activations near 1; biases and norms away from 0 and 1, so that all of them count."""
    random = torch.Generator().manual_seed(seed)
    # A large embedding that is also the output head would make every token predict itself.
    embedding_size = 0.3 if model.config.tie_word_embeddings else 1.0
    gemma = model.config.model_type.startswith("gemma")
    if gemma:  # the model multiplies by it
        embedding_size /= math.sqrt(model.config.hidden_size)
    done = set()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.data_ptr() in done:
                continue  # tied
            done.add(weight.data_ptr())
            values = torch.randn(weight.shape, generator=random)
            if "norm" in name or ".ln_" in name:
                stored_as_one = name.endswith("weight") and not gemma  # Gemma stores the weight minus 1
                weight.copy_((1 if stored_as_one else 0) + 0.2 * values)
            elif weight.dim() == 1:
                weight.copy_(0.2 * values)
            elif ("embed" in name and "embed_out" not in name) or ".wte" in name or ".wpe" in name:
                weight.copy_(embedding_size * values)
            else:
                conv1d = model.config.model_type == "gpt2" and "lm_head" not in name  # stored [in, out]
                weight.copy_(values / math.sqrt(weight.shape[0 if conv1d else -1]))
        for name, values in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                values.copy_(0.2 * torch.randn(values.shape, generator=random))


def eager_maps(model, ids):
    """Attention maps of every layer, [heads, n, n] each."""
    with torch.inference_mode():
        return [layer[0] for layer in model(ids, output_attentions=True, use_cache=False).attentions]


def sharpen(model, seed, tokens=64):
    """Scales the scores of each layer until its heads attend sharply; a layer changes what later ones see."""
    random = torch.Generator().manual_seed(seed + 1)
    tokens = min(tokens, model.config.max_position_embeddings)
    ids = torch.randint(model.config.vocab_size, (1, tokens), generator=random)
    for _ in range(60):
        found = [normalised_entropy(maps) for maps in eager_maps(model, ids)]
        blunt = [layer for layer, entropy in enumerate(found) if entropy > EVENEST - 0.05]
        if not blunt:
            break
        for layer in blunt:
            scale_query_and_key(model, layer, math.sqrt(1.25))
    for layer, maps in enumerate(eager_maps(model, ids)):
        found = normalised_entropy(maps)
        assert SHARPEST <= found <= EVENEST, f"layer {layer}: mean normalised entropy {found:.3f}"


def _write_old_spelling(folder):
    """config.json with rope_theta and rope_scaling, as transformers 4 wrote it."""
    path = pathlib.Path(folder) / "config.json"
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config, indent=2))


def _name_head_as_transformers_5(folder):
    """transformers 5's own name of GPT-NeoX's head. It writes the old one, but for a model that it read with the new."""
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    if "embed_out.weight" in tensors:
        tensors["lm_head.weight"] = tensors.pop("embed_out.weight")
    safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})


LAYOUTS = {
    "santacoder": santacoder.store,
    "santacoder-joined": lambda folder: santacoder.store(folder, joined=True),
    "neox-lm-head": _name_head_as_transformers_5,
}


def make(one, folder, seed=0):
    """Builds and saves one recipe. Returns the folder."""
    config = _config(one.family, one.config)
    config._attn_implementation = "eager"
    model = apply_alibi_once(transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation="eager", experts_implementation="eager").eval())
    _randomise(model, seed)
    sharpen(model, seed)
    save(one, model, folder)
    return pathlib.Path(folder)


def save(one, model, folder):
    """Saves a model in the recipe's type and layout."""
    model.to(one.dtype).save_pretrained(folder, max_shard_size=one.max_shard_size)
    if one.old_spelling:
        _write_old_spelling(folder)
    if one.stored_as:
        LAYOUTS[one.stored_as](pathlib.Path(folder))


def load(folder, dtype=torch.float32, implementation="eager"):
    """The saved model, computing in `dtype` with the stored weights."""
    if santacoder.is_santacoder(json.loads((pathlib.Path(folder) / "config.json").read_text())):
        return santacoder.load(pathlib.Path(folder), dtype, implementation).eval()
    return apply_alibi_once(transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation=implementation, experts_implementation="eager").eval())


def shape(kind, positions):
    """Models of a known shape, for measuring and for looking at pictures."""
    if kind == "gpt2-small":
        return gpt2(kind, dict(vocab_size=50257, n_positions=positions, n_embd=768, n_layer=12, n_head=12))
    layers, heads = (int(part) for part in kind.removeprefix("llama-").split("x"))
    return llama(kind, dict(hidden_size=8 * heads, head_dim=8, intermediate_size=16 * heads, num_hidden_layers=layers,
                            num_attention_heads=heads, num_key_value_heads=max(1, heads // 4), vocab_size=512,
                            max_position_embeddings=positions))


def make_shape(kind, folder, positions=1024, seed=0):
    return make(shape(kind, positions), folder, seed)


def main():
    parser = argparse.ArgumentParser(description="Makes one random model.")
    parser.add_argument("kind", help="gpt2-small, llama-LAYERSxHEADS, or one of "
                        + ", ".join(one.name for one in RECIPES))
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--positions", type=int, default=1024, help="largest number of tokens (shapes only)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if any(one.name == options.kind for one in RECIPES):
        make(recipe(options.kind), options.out, options.seed)
    else:
        make_shape(options.kind, options.out, options.positions, options.seed)
    print(options.out)


if __name__ == "__main__":
    sys.exit(main())
