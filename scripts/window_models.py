"""Random models with a tokenizer, for measuring the window and for playing with it at random."""

import json
import pathlib
import random
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

# Name -> (layers, heads, tokens of context). All but "32x32" have the width of GPT-2 small.
SHAPES = {"gpt2-small": (12, 12, 3072), "32x32": (32, 32, 1024), "long": (12, 12, 32768), "5x8": (5, 8, 512)}


def text_of(words, seed=0):
    """Made-up prose without an end of its own: syllables put together, seeded."""
    chance = random.Random(seed)
    syllables = [a + b for a in "bcdfghklmnprstvw" for b in ("a", "e", "i", "o", "u", "an", "er", "is")]
    vocabulary = ["".join(chance.choices(syllables, k=chance.randint(1, 3))) for _ in range(400)]
    return " ".join(chance.choices(vocabulary, k=words)).capitalize() + "."


def add_tokenizer(folder):
    """A byte-level BPE of 500 tokens, trained on the made-up prose."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=500, show_progress=False,
                                             initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([text_of(3000)], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokenizer


def make(name, folder):
    """Makes one of SHAPES in `folder` unless it is there already. Returns the folder."""
    folder = pathlib.Path(folder) / name
    if (folder / "tokenizer.json").exists():
        return folder
    import random_models

    layers, heads, context = SHAPES[name]
    if name == "gpt2-small":
        random_models.make_shape(name, folder, context)
    elif name == "long":
        recipe = random_models.llama(name, dict(
            hidden_size=768, intermediate_size=2048, num_hidden_layers=layers, num_attention_heads=heads,
            num_key_value_heads=heads, vocab_size=512, max_position_embeddings=context))
        random_models.make(recipe, folder)
    else:
        random_models.make_shape(f"llama-{layers}x{heads}", folder, context)
    add_tokenizer(folder)
    return folder


def tokens_of(folder, text):
    import tokenizers

    return len(tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids)


def describe(folder):
    config = json.loads((folder / "config.json").read_text())
    return {key: config[key] for key in config if key in (
        "model_type", "n_layer", "n_head", "n_embd", "n_positions", "num_hidden_layers", "num_attention_heads",
        "hidden_size", "max_position_embeddings", "vocab_size")}
