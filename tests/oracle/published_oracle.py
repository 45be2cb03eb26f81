"""The token ids that `headscope verify` holds published: the Python `tokenizers` package gives the same from the same files.

Exit codes: 0 equal, 1 not equal, 77 skipped because the real data is absent.
"""

import argparse
import ast
import pathlib
import sys
import tempfile

from tokenizers import Tokenizer

import tokenizer_zoo


def entries(path):
    """(tokenizer, text, ids) of each IDS(...) line."""
    for part in path.read_text(encoding="utf-8").split("\nIDS")[1:]:
        name, text, *ids = ast.literal_eval(part.strip())
        yield name, text, ids


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--table", required=True, type=pathlib.Path)
    arguments.add_argument("--real-data", required=True, type=pathlib.Path)
    options = arguments.parse_args()
    data = options.real_data
    files = {"gpt2": data / "tokenizers/gpt2-vocab.bpe", "gpt-neox-20b": data / "tokenizers/gpt-neox-20b-tokenizer.json",
             "stories260K": data / "stories260K/tokenizer.json"}
    for needed in files.values():
        if not needed.exists():
            print(f"SKIPPED: {needed} is absent")
            return 77
    with tempfile.TemporaryDirectory() as name:
        gpt2, _, _ = tokenizer_zoo.gpt2(files["gpt2"], pathlib.Path(name))
    tokenizers = {name: gpt2 if name == "gpt2" else Tokenizer.from_file(str(path)) for name, path in files.items()}
    counts, wrong = dict.fromkeys(tokenizers, 0), 0
    for name, text, ids in entries(options.table):
        counts[name] += 1
        expected = tokenizers[name].encode(text).ids
        if ids != expected:
            wrong += 1
            print(f"{name}: {text!r}:\n    found    {ids}\n    expected {expected}")
    print(f"texts: {counts}, {wrong} differ")
    return 1 if wrong or min(counts.values()) < 4 else 0


if __name__ == "__main__":
    sys.exit(main())
