"""The tokenizers the oracle compares on: real ones, and small ones that use every supported part of the format."""

import copy
import json

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3_PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                  r"|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K_PATTERN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
                 r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
                 r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK_PATTERN = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
                    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
# Patterns on which Oniguruma and PCRE2 read the same text differently unless it is translated.
OTHER_PATTERNS = [r"\s", r"\S+", r"[^\S\r\n]+", r"\d+", r"\D", r"^.", r".$", r"^", r"$", r"\v", r"\p{Han}+", r"\p{Greek}",
                  r"\p{^L}+", r"\P{N}+", r"\p{Common}+", r"[\p{Hiragana}\p{Katakana}]+", r"(?i)k|s", r"(?<=a)b|(?<!a) ",
                  r"\x41|\x{1F600}|\u00e9", r"x*", r"a{2,3}?|b{2,}", r"(\p{L})(\p{N})", r"\p{M}+", r"[一-龥ぁ-ん]+", r"\p{Cc}",
                  r"\p{P}\p{S}*", r"(?:\p{L}\p{M}*)++", r"\A.|.\z"]


def train(corpus, vocab_size, pre_tokenizer, alphabet=()):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=list(alphabet), show_progress=False)
    tokenizer.train([str(corpus)], trainer)
    return json.loads(tokenizer.to_str())


def special(content, id, **flags):
    token = {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
             "special": True}
    return {**token, **flags}


def template(*names_and_ids, after=()):
    def token(name):
        return {"SpecialToken": {"id": name, "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    every = {**dict(names_and_ids), **dict(after)}
    return {"type": "TemplateProcessing",
            "single": [token(n) for n, _ in names_and_ids] + [text] + [token(n) for n, _ in after],
            "pair": [text, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {n: {"id": n, "ids": [i], "tokens": [n]} for n, i in every.items()}}


def sentencepiece_vocab(trained):
    """A Llama-like vocabulary: <unk>, <s>, </s>, 256 bytes, then what was trained."""
    names = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    names += [t for t in trained["model"]["vocab"] if t not in names]
    return {name: i for i, name in enumerate(names)}


def byte_level(trained, pre_tokenizer, **fields):
    return {**copy.deepcopy(trained), "pre_tokenizer": pre_tokenizer,
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}, **fields}


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
PREFIX_SPACE = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def sequence(*parts):
    return {"type": "Sequence", "pretokenizers": list(parts)}


def behind_offsets(template):
    """A template behind what corrects offsets, as Llama 3 and DeepSeek have it."""
    return {"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}, template]}


# DeepSeek LLM, Coder and V2: letters of scripts with cases, signs, and CJK, each with a space before them.
DEEPSEEK_V2_PATTERNS = ["[\r\n]", "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-Ֆ]+",
                        "\\s?[!-/:-~！-／：-～‘-‟　-。]+", "\\s+$", "[一-龥ࠀ-一가-퟿]+"]


def falcon_parts(individual):
    """Falcon's four steps: the last two look at bytes written as letters."""
    return sequence({"type": "Punctuation", "behavior": "Contiguous"}, {**PREFIX_SPACE, "add_prefix_space": False},
                    {"type": "Digits", "individual_digits": individual}, split("[0-9][0-9][0-9]"))


def byte_level_zoo(trained):
    size = len(trained["model"]["vocab"])
    yield "gpt2-like with prefix space", byte_level(trained, PREFIX_SPACE)
    yield "falcon-like", byte_level(trained, falcon_parts(False))
    yield "falcon3-like", byte_level(trained, falcon_parts(True))
    yield "starcoder-like", byte_level(trained, sequence({"type": "Digits", "individual_digits": True},
                                                         {**PREFIX_SPACE, "add_prefix_space": False}))
    end = [special("<s>", size), special("</s>", size + 1)]
    yield "deepseek-v2-like", byte_level(
        trained, sequence(*map(split, DEEPSEEK_V2_PATTERNS), {"type": "Digits", "individual_digits": True}, BYTES),
        normalizer={"type": "Sequence", "normalizers": []}, added_tokens=end, post_processor=behind_offsets(template(("<s>", size))))
    yield "opt-like", byte_level(trained, {**PREFIX_SPACE, "add_prefix_space": False}, added_tokens=end,
                                 post_processor=template(("</s>", size + 1)))
    for behavior in ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]:
        yield f"punctuation {behavior}", byte_level(trained, sequence({"type": "Punctuation", "behavior": behavior}, BYTES))
    bos = [special("<|begin_of_text|>", size), special("<|eot_id|>", size + 1)]
    llama3 = byte_level(trained, sequence(split(LLAMA3_PATTERN), BYTES), added_tokens=bos,
                        post_processor=behind_offsets(template(("<|begin_of_text|>", size), after=[("<|eot_id|>", size + 1)])))
    llama3["model"]["ignore_merges"] = True
    # A token that merging alone never makes, so that ignore_merges shows.
    llama3["model"]["merges"] = llama3["model"]["merges"][:-40]
    yield "llama3-like", llama3
    yield "o200k-like", byte_level(trained, sequence(split(O200K_PATTERN), BYTES))
    yield "qwen-like", byte_level(trained, sequence(split(LLAMA3_PATTERN.replace("{1,3}", "")), BYTES), normalizer={"type": "NFC"})
    yield "deepseek-like", byte_level(trained, sequence(
        split(r"\p{N}{1,3}"), split("[一-龥ぁ-ん]+"), split(DEEPSEEK_PATTERN), BYTES))
    yield "digits and prefix space", byte_level(trained, sequence(
        {"type": "Digits", "individual_digits": True}, PREFIX_SPACE))
    yield "contiguous digits", byte_level(trained, sequence({"type": "Digits", "individual_digits": False}, BYTES))
    for behavior in ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]:
        for invert in [False, True]:
            yield f"{behavior} {invert}", byte_level(trained, sequence(
                split(r"\s|[aeiou]", behavior, invert), split("t", behavior, invert, "String"), BYTES))
    yield "empty pattern", byte_level(trained, sequence(split("", "Isolated", False, "String"), BYTES))
    for pattern in OTHER_PATTERNS:
        # What is removed shows in the ids whatever the vocabulary is.
        yield f"pattern {pattern}", byte_level(trained, sequence(split(pattern, "Removed"), BYTES),
                                               normalizer={"type": "Replace", "pattern": {"Regex": pattern}, "content": "=$1"}
                                               if pattern == OTHER_PATTERNS[-1] else None)
    flags = [special("<m>", size, rstrip=True, special=False), special("<n>", size + 1, lstrip=True, rstrip=True),
             special("<w>", size + 2, single_word=True), special("yz", size + 3, single_word=True, normalized=True, special=False),
             special("e\u0301", size + 4, normalized=True, special=False), special("   ", size + 5, normalized=True, special=False),
             special("  ", size + 6, special=False), special("<m", size + 7, special=False), special("the", trained["model"]["vocab"]["the"])]
    yield "added tokens", byte_level(trained, PREFIX_SPACE, normalizer={"type": "NFC"}, added_tokens=flags)


def sentencepiece_zoo(trained):
    vocab = sentencepiece_vocab(trained)
    added = [special(name, i) for i, name in enumerate(["<unk>", "<s>", "</s>"])]
    model = {**trained["model"], "vocab": vocab, "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True}
    base = {**trained, "model": model, "added_tokens": added, "post_processor": template(("<s>", 1))}
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    back = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    llama = {"type": "Sequence", "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"},
                                              {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    gemma = {"type": "Sequence", "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}]}
    yield "llama2-like", {**base, "pre_tokenizer": None, "decoder": llama, "normalizer": {
        "type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]}}
    phi3 = [*added[:2], {**added[2], "rstrip": True, "special": False}, special("<|user|>", len(vocab), rstrip=True)]
    yield "phi3-like", {**base, "pre_tokenizer": None, "decoder": llama, "added_tokens": phi3, "normalizer": {
        "type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]}}
    yield "bos and eos", {**base, "pre_tokenizer": None, "decoder": llama, "normalizer": replace,
                          "post_processor": template(("<s>", 1), after=[("</s>", 2)])}
    yield "gemma-like", {**base, "normalizer": replace, "decoder": gemma,
                         "pre_tokenizer": split(" ", "MergedWithPrevious", False, "String")}
    for scheme in ["always", "never", "first"]:
        for cut in [True, False]:
            metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": cut}
            yield f"metaspace {scheme} {cut}", {**base, "normalizer": None, "pre_tokenizer": metaspace, "decoder": metaspace}
            yield f"metaspace and bytes {scheme} {cut}", {
                **base, "normalizer": {"type": "NFC"}, "pre_tokenizer": metaspace,
                "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, metaspace]}}
    plain = {"normalizer": None, "pre_tokenizer": split(r"\s+", "Removed"), "decoder": None}
    no_bytes = {name: i for i, name in enumerate(t for t in vocab if not t.startswith("<0x"))}
    for unk in [None, "<unk>"]:
        for fuse in [True, False]:
            for fallback in [True, False]:
                options = {"vocab": no_bytes, "unk_token": unk, "fuse_unk": fuse, "byte_fallback": fallback}
                yield f"unknown {unk} {fuse} {fallback}", {**base, **plain, "model": {**model, **options}}
    yield "regex replaced on both ways", {
        **base, "pre_tokenizer": None,
        "normalizer": {"type": "Replace", "pattern": {"Regex": r"\s{2,}|[0-9]"}, "content": " $1 "},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"Regex": "[aeiou]+"}, "content": "*"}, {"type": "ByteFallback"},
            # "stop" is not compared: on a token that is used up the Python package panics.
            {"type": "Strip", "content": "*", "start": 1, "stop": 0}]}}


def gpt2(merges_file, folder):
    """GPT-2 as a tokenizer.json and as the older pair of files; ids as real-data/README.md states."""
    lines = merges_file.read_text(encoding="utf-8").splitlines()
    merges = [line for line in lines if line and not line.startswith("#version")]
    printable = [b for b in range(256) if 0x21 <= b <= 0x7E or 0xA1 <= b <= 0xAC or b >= 0xAE]
    others = [b for b in range(256) if b not in printable]
    alphabet = [chr(b) for b in printable] + [chr(256 + i) for i in range(len(others))]
    names = alphabet + [merge.replace(" ", "") for merge in merges] + ["<|endoftext|>"]
    vocab = {name: i for i, name in enumerate(names)}
    pair = folder / "gpt2"
    pair.mkdir()
    (pair / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    (pair / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    tokenizer = Tokenizer(models.BPE.from_file(str(pair / "vocab.json"), str(pair / "merges.txt")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=False)])
    path = folder / "gpt2.json"
    tokenizer.save(str(path))
    return tokenizer, path, pair


def token(content, **flags):
    """A special token as tokenizer_config.json of transformers 4 has it."""
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": True,
            "__type": "AddedToken", **flags}


OPT_CONFIG = {"errors": "replace", "unk_token": token("</s>"), "bos_token": token("</s>"), "eos_token": token("</s>"),
              "pad_token": token("<pad>"), "add_prefix_space": False, "add_bos_token": True,
              "special_tokens_map_file": None, "tokenizer_class": "GPT2Tokenizer"}
TEXT_OPT_CONFIG = {**OPT_CONFIG, "unk_token": "</s>", "bos_token": "</s>", "eos_token": "</s>", "pad_token": "<pad>"}
STRIPPED = token("</s>", lstrip=True, rstrip=True)
DECODER = {"50257": {**token("<fim>"), "special": True}, "50256": {**token("<|endoftext|>"), "special": True},
           "50258": {**token("  ", normalized=False), "special": False}}
THE, AND = token("the", lstrip=True), token("and", rstrip=True, special=True)
EXTRA_TOKENS = [
    {"extra_special_tokens": ["the", AND]},
    {"extra_special_tokens": [THE, "and"]},  # an object in a list is not special by itself
    {"extra_special_tokens": {"image_token": THE, "video": "and"}},
    {"model_specific_special_tokens": {"image_token": THE, "video": "and"}},
    {"model_specific_special_tokens": {"image_token": "the"}, "extra_special_tokens": ["and"]},
    {"extra_special_tokens": {"image_token": "the"}, "additional_special_tokens": ["and"]},
    {"extra_special_tokens": {"bos_token": "the"}, "add_bos_token": True},
    {"additional_special_tokens": ["the"], "extra_special_tokens": ["and"]},  # from here on, tokens that it forgets
    {"model_specific_special_tokens": {"image_token": "the"}, "extra_special_tokens": {"video": "and"}},
    {"image_token": "the", "video_token": AND, "model_specific_special_tokens": {"audio": "ing"}},
]


def pairs(pair, folder):
    """(name, transformers' tokenizer, folder) of vocab.json and merges.txt with a tokenizer_config.json beside them: GPT-2's
    words with OPT's four tokens in front, and GPT-2's own."""
    from transformers import GPT2Tokenizer

    vocab = json.loads((pair / "vocab.json").read_text(encoding="utf-8"))
    opt = {name: i for i, name in enumerate(["<s>", "<pad>", "</s>", "<unk>", *list(vocab)[:-1]])}
    for name, words, config in [
            ("OPT's pair", opt, OPT_CONFIG),
            ("OPT's pair, tokens as text", opt, TEXT_OPT_CONFIG),
            ("OPT's pair without BOS", opt, {**OPT_CONFIG, "add_bos_token": False}),
            ("OPT's pair, spaces taken away", opt, {**OPT_CONFIG, **dict.fromkeys(["unk_token", "bos_token", "eos_token"], STRIPPED)}),
            ("OPT's pair, one token in two forms", opt, {**OPT_CONFIG, "bos_token": STRIPPED}),
            ("OPT's pair, another form in a list", opt, {**OPT_CONFIG, "extra_special_tokens": [STRIPPED]}),
            ("GPT-2's pair, empty config", vocab, {}),
            ("GPT-2's pair with BOS and EOS", vocab, {"add_bos_token": True, "add_eos_token": True}),
            ("GPT-2's pair with a space in front", vocab, {"add_prefix_space": True}),
            ("GPT-2's pair with more tokens", vocab, {"added_tokens_decoder": DECODER, "bos_token": "<fim>",
                                                      "add_bos_token": True, "additional_special_tokens": ["Ġthe"]}),
            *[(f"GPT-2's pair with {' and '.join(config)}", vocab, config) for config in EXTRA_TOKENS]]:
        path = folder / f"pair{len(list(folder.glob('pair*')))}"
        path.mkdir()
        (path / "vocab.json").write_text(json.dumps(words, ensure_ascii=False), encoding="utf-8")
        (path / "merges.txt").symlink_to(pair / "merges.txt")
        (path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
        yield name, GPT2Tokenizer.from_pretrained(path).backend_tokenizer, path


def small_zoo(corpus):
    byte_trained = train(corpus, 900, pre_tokenizers.ByteLevel(add_prefix_space=False), pre_tokenizers.ByteLevel.alphabet())
    yield from byte_level_zoo(byte_trained)
    yield from sentencepiece_zoo(train(corpus, 700, pre_tokenizers.Metaspace()))
