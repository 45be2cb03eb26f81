"""Broken model folders and configs: one sentence each; and odd ones that must load.

The ids are rows of the project's list of bad inputs: B1 is "no config.json" and so on."""

import ctypes
import json
import os
import socket

import pytest
import tiny_checkpoint
from tiny_checkpoint import CONFIG, EMBEDDING, LAYER, QUERY

LIMIT = 20  # seconds; a refusal takes a fraction of one


def config(folder, **changes):
    """The sound folder with keys of config.json replaced; None removes one."""
    values = {key: value for key, value in {**CONFIG, **changes}.items() if value is not None}
    tiny_checkpoint.write(folder)
    (folder / "config.json").write_text(json.dumps(values))
    return folder


def config_text(folder, text):
    tiny_checkpoint.write(folder)
    (folder / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def literal(folder, key, text):
    """The sound folder with one value of config.json given as JSON text."""
    return config_text(folder, json.dumps({**CONFIG, key: "@"}).replace('"@"', text))


def arrays(folder, change):
    """The sound folder with its tensors changed by a function."""
    values = tiny_checkpoint.tensors()
    change(values)
    return tiny_checkpoint.write(folder, arrays=values)


def replace(name, change):
    def apply(values):
        values[name] = change(values[name])
    return apply


def index_naming(folder, shard):
    """A sharded folder whose index names `shard` for one tensor."""
    _, index = tiny_checkpoint.split()
    index["weight_map"][QUERY] = shard
    return tiny_checkpoint.write_sharded(folder, index=index)


def without_weights(folder, name, content):
    tiny_checkpoint.write(folder)
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(content)
    return folder


def weights_are(folder, make):
    """The sound folder with model.safetensors made by `make(path)`."""
    tiny_checkpoint.write(folder)
    (folder / "model.safetensors").unlink()
    make(folder / "model.safetensors")
    return folder


def make_socket(path):
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path may have about 100 bytes
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


def empty_folder(folder):
    folder.mkdir()
    return folder


def file_instead(folder):
    folder.write_text("hello")
    return folder


def missing_shard(folder):
    tiny_checkpoint.write_sharded(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    return folder


def shard_lacks(folder):
    shards, _ = tiny_checkpoint.split()
    del shards["model-00001-of-00002.safetensors"][QUERY]
    return tiny_checkpoint.write_sharded(folder, shards=shards)


def in_two_shards(folder):
    shards, _ = tiny_checkpoint.split()
    shards["model-00002-of-00002.safetensors"][QUERY] = shards["model-00001-of-00002.safetensors"][QUERY]
    return tiny_checkpoint.write_sharded(folder, shards=shards)


def sparse_config(folder):
    tiny_checkpoint.write(folder)
    os.truncate(folder / "config.json", 200 << 20)
    return folder


REFUSED = {
    "B1-no-config": (lambda f: without_weights(f, "a", b"") and ((f / "config.json").unlink() or f), ["config.json"]),
    "B1-empty-folder": (empty_folder, ["empty folder", "config.json"]),
    "B1-file": (file_instead, ["not a model", "folder"]),
    "B1-missing": (lambda f: f, ["No such file"]),
    "B1-long-path": (lambda f: "x/" * 2500, ["too long"]),
    "B1-long-name": (lambda f: f.parent / ("x" * 300), ["too long"]),
    "B2-empty": (lambda f: config_text(f, ""), ["config.json", "empty"]),
    "B2-200-MB": (sparse_config, ["config.json", "too large", "16.0 MiB"]),
    "B2-utf-16": (lambda f: config_text(f, json.dumps(CONFIG).encode("utf-16")), ["UTF-16"]),
    "B2-comment": (lambda f: config_text(f, "{ // the model\n" + json.dumps(CONFIG)[1:]), ["not valid JSON", "byte"]),
    "B2-trailing-comma": (lambda f: config_text(f, json.dumps(CONFIG)[:-1] + ",}"), ["not valid JSON", "byte"]),
    "B2-list": (lambda f: config_text(f, "[]"), ["object"]),
    "B2-deep": (lambda f: literal(f, "x", "[" * 100_000 + "]" * 100_000), ["too deep"]),
    "B2-key-twice": (lambda f: config_text(f, json.dumps(CONFIG)[:-1] + ',"vocab_size":11}'), ["duplicate key", "vocab_size"]),
    "B3-four-missing": (lambda f: config(f, num_attention_heads=None, hidden_size=None, num_hidden_layers=None, vocab_size=None),
                        ["num_attention_heads", "hidden_size", "num_hidden_layers", "vocab_size"]),
    **{f"B4-heads-{text}": (lambda f, text=text: literal(f, "num_attention_heads", text), ["num_attention_heads", shown])
       for text, shown in {"0": "0", "-1": "-1", "1.5": "1.5", '"12"': '"12"', "2147483648": "2147483648",
                           "true": "true"}.items()},
    "B4-heads-null": (lambda f: literal(f, "num_attention_heads", "null"), ["missing", "num_attention_heads"]),
    "B5-hidden-50-heads-8": (lambda f: config(f, hidden_size=50, num_attention_heads=8), ["num_attention_heads", "50"]),
    "B7-odd-head-dim": (lambda f: config(f, head_dim=5), ["head_dim", "even", "5"]),
    "B7-odd-implied-head-dim": (lambda f: config(f, hidden_size=10), ["hidden_size", "even", "5"]),
    "B8-kv-heads-3-of-8": (lambda f: config(f, hidden_size=16, num_attention_heads=8, num_key_value_heads=3),
                           ["num_key_value_heads", "must divide", "3"]),
    "B8-kv-heads-16-of-8": (lambda f: config(f, hidden_size=16, num_attention_heads=8, num_key_value_heads=16),
                            ["num_key_value_heads", "must divide", "16"]),
    "B8-kv-heads-0": (lambda f: config(f, num_key_value_heads=0), ["num_key_value_heads", "0"]),
    "B9-layers-10^9": (lambda f: config(f, num_hidden_layers=10**9), ["num_hidden_layers", "1000000000"]),
    "B9-vocab-2^40": (lambda f: config(f, vocab_size=2**40), ["vocab_size", str(2**40)]),
    "B9-context-2^40": (lambda f: config(f, max_position_embeddings=2**40), ["max_position_embeddings", str(2**40)]),
    "B10-embedding-too-small": (lambda f: config(f, vocab_size=12), ["embed_tokens", "[12, 8]", "[11, 8]"]),
    "B11-no-lm-head": (lambda f: arrays(f, lambda a: a.pop("lm_head.weight")), ["lm_head", "missing"]),
    **{f"B12-rope-theta-{text}": (lambda f, text=text: literal(f, "rope_theta", text), words)
       for text, words in {"0": ["rope_theta"], "-1": ["rope_theta", "-1"], "NaN": ["config.json", "JSON"],
                           "1e400": ["config.json", "too large"], '"x"': ["rope_theta"]}.items()},
    "B12-rope-parameters": (lambda f: config(f, rope_theta=None, rope_parameters={"rope_type": "default", "rope_theta": -2}),
                            ["rope_parameters", "rope_theta", "-2"]),
    "B12-unknown-scaling": (lambda f: config(f, rope_scaling={"rope_type": "magic", "factor": 2}), ["rope_type", "magic", "llama3"]),
    "B12-scaling-without-factor": (lambda f: config(f, rope_scaling={"rope_type": "linear"}), ["factor"]),
    "B12-eps-0": (lambda f: config(f, rms_norm_eps=0), ["rms_norm_eps", "0"]),
    "B12-eps-negative": (lambda f: config(f, rms_norm_eps=-1e-5), ["rms_norm_eps"]),
    "B12-unknown-activation": (lambda f: config(f, hidden_act="softplus2"), ["hidden_act", "softplus2", "silu"]),
    "B13-no-model-type": (lambda f: config(f, model_type=None, architectures=None), ["model_type", "supported", "gpt2", "llama"]),
    "B13-llada2-moe": (lambda f: config(f, model_type="llada2_moe"), ["llada2_moe", "not supported", "gpt2", "llama", "--tensors"]),
    "B13-qwen3-5": (lambda f: config(f, model_type="qwen3_5", text_config={"layer_types": ["linear_attention"]}),
                    ["qwen3_5", "not supported", "text_config", "llama"]),
    "B13-nested-gemma3": (lambda f: config(f, model_type="gemma3", text_config=CONFIG),
                          ["gemma3", "not supported", "text_config", "gemma3_text"]),
    "B13-unsupported-architecture": (lambda f: config(f, model_type=None, architectures=["MixtralForCausalLM"]),
                                     ["MixtralForCausalLM", "not supported"]),
    "B13-quantised": (lambda f: config(f, quantization_config={"quant_method": "gptq", "bits": 4}), ["quantised", "gptq"]),
    "B15-missing": (lambda f: arrays(f, lambda a: a.pop(QUERY)), [QUERY, "missing", "[8, 8]"]),
    "B15-wrong-shape": (lambda f: arrays(f, replace(QUERY, lambda a: a[:6])), [QUERY, "[8, 8]", "[6, 8]"]),
    "B15-transposed": (lambda f: arrays(f, replace(LAYER + "mlp.up_proj.weight", lambda a: a.T.copy())),
                       ["up_proj", "[12, 8]", "[8, 12]", "transposed"]),
    "B15-same-count": (lambda f: arrays(f, replace(QUERY, lambda a: a.reshape(4, 16))), [QUERY, "[8, 8]", "[4, 16]"]),
    "B15-all-missing": (lambda f: arrays(f, lambda a: [a.pop(name) for name in list(a)[1:]]), ["11 tensors", "and 1 more"]),
    **{f"B16-shard-{name!r}": (lambda f, name=name: index_naming(f, name), ["plain file name"])
       for name in ["../x.safetensors", "/etc/passwd", "a/b.safetensors", "", "x\0y.safetensors", "C:\\x.safetensors",
                    "nul", "..", "."]},
    "B16-not-a-string": (lambda f: index_naming(f, 1), ["plain file name"]),
    "B17-missing-shard": (missing_shard, ["model-00002-of-00002.safetensors", "missing"]),
    "B17-shard-lacks-tensor": (shard_lacks, [QUERY, "model-00001-of-00002.safetensors", "lacks"]),
    "B17-tensor-in-two-shards": (in_two_shards, [QUERY, "two shards"]),
    "B17-no-weight-map": (lambda f: tiny_checkpoint.write_sharded(f, index={"metadata": {}}), ["weight_map"]),
    "B17-empty-weight-map": (lambda f: tiny_checkpoint.write_sharded(f, index={"weight_map": {}}), ["weight_map"]),
    "B19-link-to-itself": (lambda f: weights_are(f, lambda p: p.symlink_to(p)), ["model.safetensors", "symbolic links"]),
    "B19-link-to-nothing": (lambda f: weights_are(f, lambda p: p.symlink_to("gone")), ["model.safetensors", "No such file"]),
    "B19-folder": (lambda f: weights_are(f, lambda p: p.mkdir()), ["not a regular file", "folder"]),
    "B19-link-to-folder": (lambda f: weights_are(f, lambda p: p.symlink_to("/")), ["not a regular file", "folder"]),
    "B19-pipe": (lambda f: weights_are(f, os.mkfifo), ["not a regular file", "pipe"]),
    "B19-socket": (lambda f: weights_are(f, make_socket), ["not a regular file", "socket"]),
    "B19-dev-zero": (lambda f: weights_are(f, lambda p: p.symlink_to("/dev/zero")), ["not a regular file", "device"]),
    "B19-proc-self-mem": (lambda f: weights_are(f, lambda p: p.symlink_to("/proc/self/mem")), ["model.safetensors"]),
    "B20-only-bin": (lambda f: without_weights(f, "pytorch_model.bin", b"PK\x03\x04" + b"\0" * 60), ["pytorch_model.bin", "headscope import DIR OUT"]),
    "B20-renamed-pickle": (lambda f: without_weights(f, "model.safetensors", b"\x80\x02}q\0." + b"\0" * 60), ["pickle", "headscope import DIR OUT"]),
    "B20-other-name": (lambda f: without_weights(f, "weights.safetensors", tiny_checkpoint.safetensors_file({})),
                       ["weights.safetensors", "model.safetensors"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_info_refuses(headscope, tmp_path, case):
    make, words = REFUSED[case]
    headscope.refusal("info", make(tmp_path / "model"), limit=LIMIT, words=words)


def symlinked_cache(folder):
    """As the Hugging Face cache lays it out: every file a link to ../../blobs/<hash>."""
    blobs = tiny_checkpoint.write(folder / "blobs")
    snapshot = folder / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    for file in blobs.iterdir():
        (snapshot / file.name).symlink_to(f"../../blobs/{file.name}")
    return snapshot


def with_file(folder, name, content):
    tiny_checkpoint.write(folder)
    (folder / name).write_bytes(content)
    return folder


def both_kinds(folder):
    tiny_checkpoint.write_sharded(folder)
    return tiny_checkpoint.write(folder)


def wrong_total(folder):
    _, index = tiny_checkpoint.split()
    index["metadata"]["total_size"] = 1
    return tiny_checkpoint.write_sharded(folder, index=index)


def extra(values):
    values["model.extra.weight"] = values[QUERY]


def padded(values):
    values[EMBEDDING] = values[EMBEDDING].repeat(2, axis=0)


LOADS = {  # words of a note, if one is due
    "B2-byte-order-mark": (lambda f: config_text(f, b"\xef\xbb\xbf" + json.dumps(CONFIG).encode()), []),
    "B6-explicit-head-dim": (lambda f: tiny_checkpoint.write(
        f, {**CONFIG, "hidden_size": 28, "num_attention_heads": 3, "head_dim": 8}), []),
    "B8-no-kv-heads": (lambda f: tiny_checkpoint.write(f, {k: v for k, v in CONFIG.items() if k != "num_key_value_heads"}), []),
    "B10-padded-embedding": (lambda f: arrays(f, padded), ["padded", "embed_tokens", "22 rows", "11"]),
    "B6-hidden-1792-heads-24": (lambda f: tiny_checkpoint.write(
        f, {**CONFIG, "hidden_size": 1792, "num_attention_heads": 24, "num_key_value_heads": 8, "head_dim": 128}), []),
    "B11-tied-but-stored": (lambda f: config(f, tie_word_embeddings=True), ["lm_head", "used"]),
    "B14-custom-code": (lambda f: config(f, auto_map={"AutoModel": "code.Model"}), ["custom code is never run"]),
    "B14-code-in-the-folder": (lambda f: with_file(f, "modeling_llama.py", b"raise SystemExit(1)"),
                               ["modeling_llama.py", "custom code is never run"]),
    "B15-extra": (lambda f: arrays(f, extra), ["model.extra.weight", "not used"]),
    "B17-wrong-total": (wrong_total, ["total_size", "1"]),
    "B18-symlinks": (symlinked_cache, []),
    "B20-both": (both_kinds, ["model.safetensors is used", "index.json is ignored"]),
    "B20-bin-too": (lambda f: with_file(f, "pytorch_model.bin", b"PK\x03\x04"), ["pytorch_model.bin is ignored"]),
    "B21-spaces": (lambda f: tiny_checkpoint.write(f / "a b  c"), []),
    "B21-emoji": (lambda f: tiny_checkpoint.write(f / "модель \U0001f600"), []),
    "B21-255-bytes": (lambda f: tiny_checkpoint.write(f / ("x" * 255)), []),
    "B21-percent": (lambda f: tiny_checkpoint.write(f / "%n%s%n"), []),
    "sharded": (tiny_checkpoint.write_sharded, []),
}


@pytest.mark.parametrize("case", LOADS)
def test_loads(headscope, tmp_path, case):
    make, words = LOADS[case]
    folder = make(tmp_path / "model")
    done = headscope.run("run", folder, "--ids", "1,5", "--json", limit=LIMIT)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ids"] == [1, 5]
    notes = [line for line in done.stderr.decode().splitlines()
             if "no tokenizer" not in line and "running on the CPU" not in line]
    assert all(line.startswith("note: ") for line in notes) and bool(notes) == bool(words), notes
    for word in words:
        assert word.lower() in " ".join(notes).lower()
    assert headscope.run("run", folder, "--ids", "1", "--quiet").stderr == b""


def test_B21_folder_name_that_is_not_utf_8(headscope, tmp_path):
    folder = os.fsencode(tmp_path) + b"/mod\xffel"
    os.rename(tiny_checkpoint.write(tmp_path / "model"), folder)
    found = headscope.json("info", folder)
    assert found["family"] == "llama" and "mod" in found["model"]
    os.remove(folder + b"/config.json")
    headscope.refusal("info", folder, words=["mod\\xffel"])


def may_not_read_everything():
    """Takes from root, in a child, the right to read files whatever their mode (capabilities 1 and 2)."""
    for capability in (1, 2):
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; others do not have it


def test_B22_unreadable_file(headscope, tmp_path):
    folder = tiny_checkpoint.write(tmp_path / "model")
    (folder / "config.json").chmod(0)
    headscope.refusal("info", folder, words=["config.json", "Permission denied"], preexec_fn=may_not_read_everything)


def with_tokenizer(folder, letters, added=()):
    """The sound folder, 11 ids, with a tokenizer of some letters and what is added behind them."""
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    content = {"version": "1.0", "model": {"type": "BPE", "vocab": {letter: i for i, letter in enumerate(letters)}, "merges": []},
               "added_tokens": [{**special, "id": len(letters) + i, "content": text, **flags} for i, (text, flags) in enumerate(added)]}
    return with_file(folder, "tokenizer.json", json.dumps(content).encode())


@pytest.mark.parametrize("letters, added", [("abcdefghijkl", ()), ("abcdefghijk", [("<x>", {"special": False})]),
                                            ("abcdefghijklmnop", [("<x>", {})])])
def test_B10_tokenizer_larger_than_the_embedding(headscope, tmp_path, letters, added):
    folder = with_tokenizer(tmp_path / "model", letters, added)
    headscope.refusal("run", folder, "--prompt", "a", words=[f"ids up to {len(letters) + len(added) - 1}", "11 rows"])


def test_B10_special_tokens_without_a_row_are_refused_where_they_are_used(headscope, tmp_path):
    """As in Gemma 3's text models, whose tokenizer has a token for images."""
    folder = with_tokenizer(tmp_path / "model", "abcdefghijk", [("<image>", {})])
    done = headscope.run("run", folder, "--prompt", "abc", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["ids"] == [0, 1, 2]
    assert b"special tokens with ids up to 11, but the embedding has 11 rows" in done.stderr
    headscope.refusal("run", folder, "--prompt", "a<image>b", words=["11"])


BROWSABLE = {
    "unknown": {"model_type": "llada2_moe"},
    "nested": {"model_type": "qwen3_5", "text_config": {"model_type": "qwen3_5_text"}},
    "nameless": {"model_type": None, "architectures": None},
    "quantised": {"quantization_config": {"quant_method": "gptq", "bits": 4}},
    "senseless": {"num_attention_heads": -1},
}


@pytest.mark.parametrize("case", BROWSABLE)
def test_B13_tensors_of_what_cannot_be_opened_are_listed(headscope, tmp_path, case):
    folder = config(tmp_path / "model", **BROWSABLE[case])
    expected = tiny_checkpoint.shapes(CONFIG)
    assert {one["name"]: one["shape"] for one in headscope.json("info", folder, "--tensors")} == expected
    text = headscope.text("info", folder, "--tensors")
    assert all(name in text for name in expected)
    headscope.refusal("info", folder)
    headscope.refusal("run", folder, "--ids", "1")


def test_B13_quantised_tensors_are_listed(headscope, tmp_path):
    """As GPTQ and fp8 checkpoints have them: types that no forward pass here takes."""
    types = {"I32": 4, "F8_E4M3": 1, "F8_E5M2": 1, "U8": 1, "I8": 1, "BF16": 2, "F16": 2}
    header, end = {}, 0
    for name, size in types.items():
        header[f"model.{name}.qweight"] = {"dtype": name, "shape": [3, 2], "data_offsets": [end, end + 6 * size]}
        end += 6 * size
    folder = tiny_checkpoint.write(tmp_path / "model", {**CONFIG, "quantization_config": {"quant_method": "fp8"}},
                                   weights=tiny_checkpoint.safetensors_file(header, bytes(end)))
    found = headscope.json("info", folder, "--tensors")
    assert {one["dtype"]: one["bytes"] for one in found} == {name: 6 * size for name, size in types.items()}
    headscope.refusal("info", folder, words=["quantised", "fp8", "F32, F16 or BF16", "--tensors"])


def test_a_broken_tokenizer_leaves_ids_usable(headscope, tmp_path):
    folder = with_file(tmp_path / "model", "tokenizer.json", b"{")
    assert headscope.json("run", folder, "--ids", "1,2")["ids"] == [1, 2]
    headscope.refusal("run", folder, "--prompt", "x", words=["tokenizer", "--ids"])
