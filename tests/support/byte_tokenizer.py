"""A tokenizer of single bytes, 256 tokens, so that random models can run text. Needs tokenizers."""

import pathlib

from tokenizers import Tokenizer, decoders, models, pre_tokenizers


def write(folder):
    """Writes tokenizer.json: byte b is token b in the order of the byte-level alphabet."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(pathlib.Path(folder) / "tokenizer.json"))
    return folder
