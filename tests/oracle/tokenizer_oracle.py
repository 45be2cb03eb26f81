"""Compares HeadScope's tokenizer with the Python `tokenizers` package: ids, decoded text and pieces must be equal.

Exit codes: 0 equal, 1 not equal, 77 skipped because the real data is absent.
"""

import argparse
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import unicodedata

from tokenizers import Tokenizer, normalizers

import tokenizer_texts
import tokenizer_zoo

HEX_BYTES = re.compile(rb"<0x([0-9A-F]{2})>")


def dump(program, path, cases, folder):
    file = folder / "cases.json"
    file.write_text(json.dumps(cases), encoding="utf-8")
    result = subprocess.run([program, str(path), str(file)], capture_output=True, timeout=120)
    if result.returncode != 0:
        raise RuntimeError(f"{path}: exit code {result.returncode}: {result.stderr.decode(errors='replace')}")
    return json.loads(result.stdout)


def random_ids(tokenizer, count, seed):
    """Id lists that no text gives: parts of characters, special tokens, ids without a token."""
    rng = random.Random(seed)
    size = tokenizer.get_vocab_size()
    return [[rng.randrange(size + 3) for _ in range(rng.randrange(0, 12))] for _ in range(count)]


def joined(pieces):
    """The text that pieces give together, with the bytes of divided characters put back."""
    return HEX_BYTES.sub(lambda m: bytes([int(m[1], 16)]), "".join(pieces).encode()).decode(errors="replace")


def same_nfc(text):
    """The package's NFC has tables of about Unicode 9 and leaves newer combining marks in their order (documented)."""
    return normalizers.NFC().normalize_str(text) == unicodedata.normalize("NFC", text)


def stories_pieces(text):
    """<s>, then each text between special tokens with a space before it."""
    parts = re.split("(</?s>|<unk>)", text)
    return "<s>" + "".join(p if i % 2 else " " + p.replace("▁", " ") for i, p in enumerate(parts) if p)


# What the tokenizers of our families are built of; each must be in the zoo.
NEEDED = {
    "normalizer": {"NFC", "Prepend", "Replace String", "Replace Regex", "Sequence"},
    "pre_tokenizer": {"ByteLevel", "Digits", "Metaspace", "Punctuation", "Sequence", "Split String", "Split Regex"},
    "post_processor": {"ByteLevel", "Sequence", "TemplateProcessing"},
    "decoder": {"ByteFallback", "ByteLevel", "Fuse", "Metaspace", "Replace String", "Sequence", "Strip"},
    "model": {"BPE", "ignore_merges", "byte_fallback", "fuse_unk"},
}


def parts(component):
    """Types of a component and of those in it, with the kind of pattern, and the model's switches."""
    if isinstance(component, list):
        return set().union(*map(parts, component))
    if not isinstance(component, dict) or "type" not in component:
        return set()
    kind = next(iter(component.get("pattern", {})), None)
    inner = [value for key, value in component.items() if key != "vocab"]
    return {" ".join(filter(None, [component["type"], kind])), *(key for key, value in component.items() if value is True),
            *(part for value in inner for part in parts(value))}


class Comparison:
    def __init__(self, program, folder, texts):
        self.program, self.folder, self.texts = program, folder, texts
        self.checks, self.failures, self.left_out = 0, [], set()

    def equal(self, what, found, expected):
        self.checks += 1
        if found != expected:
            self.failures.append(f"{what}:\n    found    {found!r:.400}\n    expected {expected!r:.400}")

    def run(self, name, tokenizer, path, normalised=None):
        """`normalised` tells what the joined pieces of a text must be, for tokenizers that lose nothing."""
        ids = random_ids(tokenizer, 60, 7)
        result = dump(self.program, path, {"texts": self.texts, "ids": ids}, self.folder)
        self.equal(f"{name}: cases", (len(result["texts"]), len(result["ids"])), (len(self.texts), len(ids)))
        expected = tokenizer.encode_batch(self.texts)
        plain = tokenizer.encode_batch(self.texts, add_special_tokens=False)
        uses_nfc = "NFC" in str(tokenizer.normalizer)
        for text, found, with_special, without in zip(self.texts, result["texts"], expected, plain):
            if normalised and "<0x" not in text:
                self.equal(f"{name}: pieces of {text!r:.200}", joined(found["pieces"]), normalised(text))
            if uses_nfc and not same_nfc(text):
                self.left_out.add(text)
                continue
            self.equal(f"{name}: ids of {text!r:.200}", found["ids"], with_special.ids)
            self.equal(f"{name}: plain ids of {text!r:.200}", found["plain"], without.ids)
            self.decoded(name, tokenizer, found)
        for found in result["ids"]:
            self.decoded(name, tokenizer, found)

    def decoded(self, name, tokenizer, found):
        ids = found["ids"]
        self.equal(f"{name}: decoded {ids}", found["decoded"], tokenizer.decode(ids, skip_special_tokens=True))
        self.equal(f"{name}: decoded with special {ids}", found["decoded_with_special"],
                   tokenizer.decode(ids, skip_special_tokens=False))
        self.equal(f"{name}: number of pieces of {ids}", len(found["pieces"]), len(ids))


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--dump", required=True)
    arguments.add_argument("--real-data", required=True, type=pathlib.Path)
    options = arguments.parse_args()
    data = options.real_data
    stories = data / "stories260K/tokenizer.json"
    neox = data / "tokenizers/gpt-neox-20b-tokenizer.json"
    merges = data / "tokenizers/gpt2-vocab.bpe"
    corpus = data / "corpora/tinyshakespeare.txt"
    for needed in (stories, neox, merges, corpus):
        if not needed.exists():
            print(f"SKIPPED: {needed} is absent")
            return 77

    texts = list(dict.fromkeys(tokenizer_texts.HAND_WRITTEN + list(tokenizer_texts.random_texts(300, 1))
                               + list(tokenizer_texts.corpus_texts(corpus, 40, 2))))
    few_texts = list(dict.fromkeys(tokenizer_texts.HAND_WRITTEN + list(tokenizer_texts.random_texts(160, 3))))
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        comparison = Comparison(options.dump, folder, few_texts)
        found = {field: set() for field in NEEDED}
        for index, (label, content) in enumerate(tokenizer_zoo.small_zoo(corpus)):
            path = folder / f"zoo{index}.json"
            path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
            comparison.run(label, Tokenizer.from_str(json.dumps(content)), path)
            for field in found:
                found[field] |= parts(content[field])
        for field, needed in NEEDED.items():
            comparison.equal(f"{field}s that the zoo lacks", needed - found[field], set())
        comparison.texts = texts + list(tokenizer_texts.every_character()) + list(tokenizer_texts.decomposed_characters())
        for label, content in tokenizer_zoo.small_zoo(corpus):
            if label in ("falcon-like", "punctuation Removed"):  # which characters are punctuation and digits
                path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
                comparison.run(f"{label}, every character", Tokenizer.from_str(json.dumps(content)), path)
        gpt2, gpt2_json, gpt2_pair = tokenizer_zoo.gpt2(merges, folder)
        comparison.run("GPT-2", gpt2, gpt2_json, str)
        comparison.run("GPT-2's vocab.json and merges.txt", gpt2, gpt2_pair, str)
        every_text, comparison.texts = comparison.texts, few_texts
        for label, tokenizer, path in tokenizer_zoo.pairs(gpt2_pair, folder):
            comparison.run(label, tokenizer, path)
        comparison.texts = every_text
        comparison.run("GPT-NeoX", Tokenizer.from_file(str(neox)), neox,
                       lambda text: unicodedata.normalize("NFC", text))
        comparison.run("stories260K", Tokenizer.from_file(str(stories)), stories, stories_pieces)

    # Only texts that list many characters have such marks side by side; more would hide something.
    comparison.equal("texts left out", len(comparison.left_out) <= 8, True)
    for failure in comparison.failures[:20]:
        print(failure)
    print(f"{comparison.checks} comparisons on {len(comparison.texts)} texts, "
          f"{len(comparison.left_out)} texts left out, {len(comparison.failures)} differ")
    return 1 if comparison.failures else 0


if __name__ == "__main__":
    sys.exit(main())
