"""`headscope verify MODEL`: what it looks at, what it knows of published models, and what it says when something differs."""

import json
import shutil

import numpy as np
import pytest
import tiny_checkpoint

FACTS = ("published model", "parameters = published", "KV bytes = published", "token ids = published")
MAPS = ("attention rows sum to 1", "log-sum-exp = reference", "weights = reference", "statistics = reference")


def failed(headscope, *arguments):
    """(sentence, [check]) of a verify that must fail: standard output stays empty, the table is on standard error."""
    done = headscope.run("verify", *arguments, "--json", "--quiet")
    assert done.returncode == 2 and done.stdout == b"", (done.returncode, done.stdout)
    sentence, _, table = done.stderr.decode().partition("\n")
    return sentence, json.loads(table)


def facts(checks):
    return {one["check"]: one for one in checks}


def copy_of(stories, folder, **config):
    """The trained model, to be changed: its folder and its tensors."""
    folder.mkdir(parents=True)
    for file in stories.iterdir():
        shutil.copyfile(file, folder / file.name)
    values = {**json.loads((folder / "config.json").read_text()), **config}
    (folder / "config.json").write_text(json.dumps(values))
    return folder


def test_a_published_model(headscope, stories):
    found = facts(headscope.json("verify", stories))
    assert all(one["passed"] for one in found.values())
    assert set(FACTS) | set(MAPS) | {"cached = uncached", "token by token = at once"} <= set(found)
    assert "stories260K" in found["published model"]["detail"]
    assert found["parameters = published"]["detail"] == "260,032 in the file, 260,032 published"
    assert "320 numbers a token" in found["KV bytes = published"]["detail"]


def test_the_last_line_says_what_was_proved(headscope, stories, tiny):
    last = headscope.text("verify", stories).splitlines()[-1]
    proved, _, missing = last.partition("; not proved: ")
    assert proved.startswith("proved: ") and "published for stories260K, and so are token ids" in proved
    assert "weights are those its author trained" in missing and "longer texts" in missing and "token ids" not in missing
    last = headscope.text("verify", tiny).splitlines()[-1]
    assert "published for" not in last and "nothing is built in for this shape" in last.partition("not proved: ")[2]
    assert "none was given" in headscope.text("verify").splitlines()[-1]


def test_a_shape_that_nobody_published(headscope, tiny):
    found = facts(headscope.json("verify", tiny))
    assert found["published model"]["passed"] and "no published facts for this shape" in found["published model"]["detail"]
    assert not set(FACTS[1:]) & set(found)


def test_a_name_is_a_claim(headscope, tmp_path):
    sentence, checks = failed(headscope, tiny_checkpoint.write(tmp_path / "gpt2"))
    assert sentence == f"headscope: 1 of {len(checks)} checks failed: published model"
    detail = facts(checks)["published model"]["detail"]
    assert "its name says gpt2" in detail and "layers 1 (published 12)" in detail and "width 8 (published 768)" in detail
    assert [one["check"] for one in checks if not one["passed"]] == ["published model"]


def test_the_table_of_a_failure_is_text_without_json(headscope, tmp_path):
    done = headscope.run("verify", tiny_checkpoint.write(tmp_path / "Pythia-70M"), "--quiet")
    assert done.returncode == 2 and done.stdout == b""
    lines = done.stderr.decode().splitlines()
    assert lines[0].startswith("headscope: 1 of ") and lines[-1].startswith("FAILED  published model: its name says pythia-70m")
    assert sum(line.startswith("ok ") for line in lines) == len(lines) - 2


@pytest.mark.parametrize("place", ["models--openai-community--gpt2/snapshots/0123abcd", "models/gpt2-medium"])
def test_names_of_the_cache_and_of_other_cases(headscope, tmp_path, place):
    _, checks = failed(headscope, tiny_checkpoint.write(tmp_path / place))
    assert f"its name says {'gpt2-medium' if 'medium' in place else 'gpt2'}," in facts(checks)["published model"]["detail"]


def test_the_name_of_an_h5_file(headscope, tiny, tmp_path):
    headscope.text("pack", tiny, tmp_path / "falcon-7b.h5")
    _, checks = failed(headscope, tmp_path / "falcon-7b.h5")
    assert "its name says falcon-7b" in facts(checks)["published model"]["detail"]


def test_the_shape_counts_more_than_the_name(headscope, stories, tmp_path):
    found = facts(headscope.json("verify", copy_of(stories, tmp_path / "whatever")))
    assert "the shape of stories260K" in found["published model"]["detail"]
    _, checks = failed(headscope, copy_of(stories, tmp_path / "gpt2"))
    assert facts(checks)["published model"]["detail"].endswith("it has the shape of stories260K")


def test_where_a_config_came_from_is_no_claim(headscope, tmp_path):
    folder = tiny_checkpoint.write(tmp_path / "mine")
    for origin, words in (("openai-community/gpt2", "made from gpt2, but family llama (published gpt2)"),
                          ("gpt2", "made from gpt2"), ("someone/else", "family llama"), (7, "family llama")):
        (folder / "config.json").write_text(json.dumps({**tiny_checkpoint.CONFIG, "_name_or_path": origin}))
        detail = facts(headscope.json("verify", folder))["published model"]["detail"]
        assert "no published facts for this shape" in detail and words in detail, detail


def read_safetensors(path):
    raw = path.read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:8 + size])
    header.pop("__metadata__", None)
    data = raw[8 + size:]
    return {name: np.frombuffer(data[slice(*one["data_offsets"])], "<f4").reshape(one["shape"]) for name, one in header.items()}


@pytest.mark.parametrize("dtype, width", [("f32", 4), ("bf16", 2)])
def test_published_bytes_go_by_the_type_of_the_cache(headscope, stories, dtype, width):
    found = facts(headscope.json("verify", stories, "--dtype", dtype))["KV bytes = published"]
    assert found["passed"] and f"320 numbers a token of {width} bytes" in found["detail"]


def with_biases(stories, folder):
    """The trained model with biases of attention, all 0."""
    copy_of(stories, folder, attention_bias=True)
    arrays = read_safetensors(folder / "model.safetensors")
    for layer in range(5):
        for name, size in (("q", 64), ("k", 32), ("v", 32), ("o", 64)):
            arrays[f"model.layers.{layer}.self_attn.{name}_proj.bias"] = np.zeros(size, np.float32)
    (folder / "model.safetensors").write_bytes(tiny_checkpoint.safetensors_file(*tiny_checkpoint.packed(arrays)))
    return folder


def test_other_parameters_are_another_model(headscope, stories, tmp_path):
    """Biases, which the shape does not tell."""
    folder = with_biases(stories, tmp_path / "m")
    found = facts(headscope.json("verify", folder))
    assert found["published model"] == {"check": "published model", "passed": True, "detail":
                                        "the shape of stories260K, but other parameters 260,992 (published 260,032)"}
    assert not set(FACTS[1:]) & set(found)
    missing = headscope.text("verify", folder).splitlines()[-1].partition("not proved: ")[2]
    assert "anything published (the shape of stories260K, but other parameters)" in missing


def test_other_parameters_than_the_name_claims(headscope, stories, tmp_path):
    _, checks = failed(headscope, with_biases(stories, tmp_path / "stories260K"))
    assert [one["check"] for one in checks if not one["passed"]] == ["published model"]
    assert (facts(checks)["published model"]["detail"]
            == "its name says stories260K, but its shape differs: parameters 260,992 (published 260,032)")


def test_token_ids_that_were_not_published(headscope, stories, tmp_path):
    folder = copy_of(stories, tmp_path / "m")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocab = tokenizer["model"]["vocab"]
    a, b = (next(token for token, id in vocab.items() if id == wanted) for wanted in (469, 347))  # of "Zoo"
    vocab[a], vocab[b] = vocab[b], vocab[a]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    _, checks = failed(headscope, folder)
    assert [one["check"] for one in checks if not one["passed"]] == ["token ids = published"]
    assert '"Zoo" becomes 1, 410, 347, 469, published as 1, 410, 469, 347' in facts(checks)["token ids = published"]["detail"]


def test_without_its_tokenizer(headscope, stories, tmp_path):
    folder = copy_of(stories, tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    found = facts(headscope.json("verify", folder))
    assert set(FACTS[:3]) <= set(found) and FACTS[3] not in found
    assert "token ids" in headscope.text("verify", folder).splitlines()[-1].partition("not proved: ")[2]


def pythia_14m(folder, tokenizer):
    """The smallest Pythia with random weights and its own tokenizer."""
    width, inner, vocab = 128, 512, 50304
    linear = {"attention.query_key_value": (3 * width, width), "attention.dense": (width, width),
              "mlp.dense_h_to_4h": (inner, width), "mlp.dense_4h_to_h": (width, inner)}
    shapes = {"gpt_neox.embed_in.weight": (vocab, width), "embed_out.weight": (vocab, width)}
    norms = ["gpt_neox.final_layer_norm"]
    for i in range(6):
        base = f"gpt_neox.layers.{i}."
        norms += [base + "input_layernorm", base + "post_attention_layernorm"]
        for name, shape in linear.items():
            shapes[f"{base}{name}.weight"], shapes[f"{base}{name}.bias"] = shape, shape[:1]
    shapes |= {f"{name}.{kind}": (width,) for name in norms for kind in ("weight", "bias")}
    random = np.random.default_rng(3)
    arrays = {name: random.standard_normal(shape, np.float32) / 8 for name, shape in shapes.items()}
    config = {"model_type": "gpt_neox", "hidden_size": width, "intermediate_size": inner, "num_hidden_layers": 6,
              "num_attention_heads": 4, "vocab_size": vocab, "max_position_embeddings": 2048, "rotary_pct": 0.25}
    tiny_checkpoint.write(folder, config, arrays)
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    return folder


def test_pythia(headscope, stories, tmp_path):
    folder = pythia_14m(tmp_path / "pythia-14m-deduped", stories.parent / "tokenizers" / "gpt-neox-20b-tokenizer.json")
    try:
        found = facts(headscope.json("verify", folder))
    finally:
        (folder / "model.safetensors").unlink()  # 56 MB
    assert "the shape of pythia-14m" in found["published model"]["detail"]
    assert found["parameters = published"]["detail"] == "14,067,712 in the file, 14,067,712 published"
    assert "1,536 numbers a token" in found["KV bytes = published"]["detail"]
    assert found["token ids = published"]["detail"] == "5 texts have the ids of the tokenizer of gpt-neox-20b"
