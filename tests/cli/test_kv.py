"""`headscope kv`: the formula for checkpoints, bare configs and published models, what-ifs, and the plots."""

import csv
import json
import xml.etree.ElementTree

import png
import pytest

@pytest.fixture(scope="module")
def stories(stories_shape):
    """Its shape is enough here, so that nothing is left out where the trained model is absent."""
    return stories_shape


KEYS = {
    "model": str, "batch": int, "context": int, "dtype": str, "bytes": int, "bytes_per_token": int, "variant": str,
    "counterfactual": bool, "of": str, "equation": str, "total_equation": str, "parameters": int,
    "weights_bytes": int, "scratch_bytes": int, "scratch_equation": str, "source": str,
}


def one(headscope, *arguments):
    found = headscope.json("kv", *arguments)
    assert len(found) == 1
    return found[0]


def test_by_formula(headscope, stories):
    found = headscope.json("kv", stories, "--batch", "1,8", "--context", "100,1k,128k")
    assert [(row["batch"], row["context"]) for row in found] == [
        (b, c) for b in (1, 8) for c in (100, 1024, 128 * 1024)]
    for row in found:
        assert {name: type(row[name]) for name in KEYS} == KEYS
        assert row["bytes_per_token"] == 1280 and row["bytes"] == row["batch"] * row["context"] * 1280
        assert row["what_if"] is None and row["counterfactual"] is False and row["variant"] == "GQA-4"
        assert row["weights_bytes"] == 260_032 * 4 and row["parameters"] == 260_032
        # 2 x 64 residual and norm, and 512 logits, which are more than 2 x 172 in the MLP and 8 x 16 in attention
        assert row["scratch_bytes"] == row["batch"] * (2 * 64 + 512) * 4
    assert headscope.json("kv", stories, "--context", "100", "--dtype", "bf16")[0]["bytes"] == 64_000
    assert f"checkpoint {stories}" in headscope.text("kv", stories)
    # With several batches and contexts the equation has the largest.
    text = headscope.text("kv", stories, "--batch", "8,1", "--context", "100,1k", "--what-if", "mqa")
    assert "10,485,760 B = 8 sequences x 1,280 B a token x 1,024 tokens" in text
    assert "2,621,440 B = 8 sequences x 320 B a token x 1,024 tokens" in text
    text = headscope.text("kv", stories)
    for words in ("2 x 5 layers x 4 KV heads x 8 x 4 B", "1,310,720", "1.25 MiB = 1.31 MB",
                  "1 sequence x 1,280 B a token x 1,024 tokens", "KiB, MiB, GiB are 1,024", "kB, MB, GB are 1,000",
                  "By formula; f32", "batch x (2 x 64 residual and norm + 512 logits) x 4 B"):
        assert words in text, words


def test_several_models(headscope, stories, tiny):
    found = headscope.json("kv", stories, tiny, "gpt2", "--context", "10")
    assert [row["model"] for row in found] == ["stories260K", "tiny", "gpt2"]
    assert [row["bytes"] for row in found] == [12_800, 10 * 2 * 4 * 4, 10 * 36_864 * 2]


@pytest.mark.parametrize("option, value", [
    ("--batch", "0"), ("--batch", "x"), ("--batch", "1,,2"), ("--context", "-1"),
    ("--context", "9999999999999999999"), ("--context", "1e3"), ("--context", "1m")])
def test_refuses_bad_lists(headscope, tiny, option, value):
    headscope.refusal("kv", tiny, f"{option}={value}", code=1, words=[option])


def test_published_models_are_found_by_name(headscope):
    gpt3 = one(headscope, "GPT-3", "--dtype", "f16")
    assert gpt3["bytes"] == 4.5 * 2**30 and gpt3["source"] == "published: arxiv.org/abs/2005.14165"
    assert gpt3["weights_bytes"] == 174_604_259_328 * 2
    for name in ("EleutherAI/pythia-160m", "PYTHIA-160M", "pythia-160m-deduped"):
        found = one(headscope, name, "--dtype", "f16")
        assert found["bytes_per_token"] == 36_864 and found["model"] == name.rpartition("/")[2]
    listed = headscope.json("kv", "--list")
    assert len(listed) > 70
    names = [name for row in listed for name in row["names"]]
    for name in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "GPT-3", "pythia-14m", "pythia-12b",
                 "pythia-160m-mlkv-1", "falcon-rw-1b", "falcon-7b", "falcon-40b", "falcon-180B", "Llama-2-70b",
                 "Llama-3.1-8B", "Mistral-7B-v0.1", "Qwen3-32B", "gemma-7b", "gemma-2-27b", "gemma-3-27b", "starcoder",
                 "DeepSeek-V2", "DeepSeek-V3"):
        assert name in names, name
    assert "deepseek-ai/DeepSeek-V3" in headscope.text("kv", "--list")
    # Each is found under the place where it is published, which the text tells.
    sources = [row["source"] for row in listed]
    found = headscope.json("kv", *sources)
    assert [row["source"] for row in found] == [f"published: {source}" for source in sources]
    text = headscope.text("kv", "bigcode/santacoder", "QWEN/qwen2-7b")
    assert "santacoder (MQA)" in text and "published: bigcode/santacoder" in text and "published: Qwen/Qwen2-7B" in text
    # One shape, two contexts.
    found = headscope.json("kv", "Llama-3-8B", "Llama-3.1-8B", "Llama-3.3-70B-Instruct", "Llama-3-70B")
    assert [row["model_context"] for row in found] == [8192, 131072, 131072, 8192]


def test_contexts_beyond_the_model_are_arithmetic(headscope):
    words = "gpt2 has a context of 1,024 tokens"
    assert words in headscope.text("kv", "gpt2", "--context", "1k,2k") and words not in headscope.text("kv", "gpt2")


def test_lists_say_everything_once(headscope, stories):
    found = headscope.json("kv", stories, "--batch", "4,4", "--context", "1k,1024", "--what-if", "mqa,MQA,mla,all")
    labels = [row["model"] for row in found]
    assert len(labels) == len(set(labels)) and {row["batch"] for row in found} == {4}


def test_what_does_not_fit_one_of_several_is_a_note(headscope, stories):
    done = headscope.run("kv", stories, "gpt2", "--what-if", "gqa-6", "--json")
    assert done.returncode == 0 and b"stories260K: GQA-6 does not fit" in done.stderr
    assert [row["model"] for row in json.loads(done.stdout)] == ["stories260K", "gpt2", "gpt2 as GQA-6 (counterfactual)"]
    headscope.refusal("kv", stories, "--what-if", "gqa-6", words=["stories260K", "6 KV heads"])


# kv-variants.md 1.2: MiB at batch 8 and 2,047 positions, 4 bytes a number.
MLKV = {"pythia-160m": 1151.4375, "pythia-160m-gqa-48": 383.8125, "pythia-160m-mlkv-48": 383.8125,
        "pythia-160m-mqa-12": 95.953125, "pythia-160m-mlkv-12": 95.953125, "pythia-160m-mlkv-6": 47.9765625,
        "pythia-160m-mlkv-4": 31.984375, "pythia-160m-mlkv-2": 15.9921875, "pythia-160m-mlkv-1": 7.99609375}


def test_mlkv_memory_table(headscope):
    found = headscope.json("kv", *MLKV, "--batch", "8", "--context", "2047", "--dtype", "f32")
    assert {row["model"]: row["bytes"] / 2**20 for row in found} == MLKV


def test_gpt3_and_deepseek_anchors(headscope):
    """4.5 GiB to 48 MiB is MQA at 1,024 tokens; 399.8 GB to 3.12 GB are counterfactuals of a model that needs 7.03."""
    found = headscope.json("kv", "GPT-3", "--what-if", "mqa", "--context", "1k", "--dtype", "f16")
    assert [row["bytes"] for row in found] == [4.5 * 2**30, 48 * 2**20]
    assert [row["counterfactual"] for row in found] == [False, True]
    found = headscope.json("kv", "DeepSeek-V3", "--what-if", "mha,mqa", "--context", "100000", "--dtype", "bf16")
    assert [row["bytes"] for row in found] == [7_027_200_000, 399_769_600_000, 3_123_200_000]
    assert [row["counterfactual"] for row in found] == [False, True, True]
    assert [row["bytes_per_token"] for row in found] == [70_272, 3_997_696, 31_232]
    assert found[0]["assumption"] is None and "values of 128 dimensions" in found[1]["assumption"]
    text = headscope.text("kv", "DeepSeek-V3", "--what-if", "mqa", "--context", "100000", "--dtype", "bf16")
    assert "values of 128 dimensions" in text
    assert "6.54 GiB = 7.03 GB" in text and "2.91 GiB = 3.12 GB" in text


@pytest.mark.parametrize("name, mebibytes", [("gemma-2-2b", [104, 416, 624, 1872]), ("gemma-3-1b", [15, 27, 43, 139]),
                                             ("gemma-3-270m", [10.5, 19.5, 31.5, 103.5])])
def test_hybrid_windows(headscope, name, mebibytes):
    found = headscope.json("kv", name, "--context", "1k,4k,8k,32k", "--dtype", "bf16")
    assert [row["bytes"] / 2**20 for row in found] == mebibytes


def test_what_ifs_are_always_labelled(headscope, stories):
    found = headscope.json("kv", stories, "--what-if", "all,gqa-4,sharedkv-cla-2-mqa", "--context", "1k")
    assert found[0]["model"] == "stories260K" and not found[0]["counterfactual"]
    names = [row["what_if"] for row in found[1:]]
    assert names[:6] == ["MHA", "MQA", "MLKV 1x2", "CLA-2", "SharedKV", "MLA"]
    assert names[-2:] == ["GQA-4", "SharedKV CLA-2 MQA"]
    for row in found[1:]:
        assert row["of"] == "stories260K"
        as_it_is = row["what_if"] == "GQA-4"
        assert row["counterfactual"] is not as_it_is
        assert row["model"] == f"stories260K as {row['what_if']} ({'as it is' if as_it_is else 'counterfactual'})"
    by_name = {row["what_if"]: row["bytes_per_token"] for row in found}
    # 5 layers, 8 query heads and 4 KV heads of 8 dimensions, 4 bytes
    assert by_name["MHA"] == 2 * 5 * 8 * 8 * 4 and by_name["MQA"] == 2 * 5 * 8 * 4 and by_name["CLA-2"] == 2 * 3 * 4 * 8 * 4
    assert by_name["SharedKV"] == 640 and by_name["MLA"] == 5 * (32 + 4) * 4 and by_name["SharedKV CLA-2 MQA"] == 3 * 8 * 4
    assert [row["what_if"] for row in found if row["assumption"]] == ["MLA"]
    text = headscope.text("kv", stories, "--what-if", "mqa")
    assert "stories260K as MQA (counterfactual)" in text and "nobody trained" in text


@pytest.mark.parametrize("scheme, code, words", [
    ("yoco", 1, ["yoco", "sharedkv"]), ("gqa", 1, ["number is missing"]), ("mqa,,mha", 1, ["--what-if"]),
    ("mha-mqa", 1, ["twice"]), ("gqa-3", 2, ["3 KV heads", "8 query heads"]), ("mlkv-9x1", 2, ["5 layers"])])
def test_refuses_what_cannot_be(headscope, stories, scheme, code, words):
    headscope.refusal("kv", stories, "--what-if", scheme, code=code, words=words)


def test_unknown_names_get_near_ones(headscope, tmp_path):
    headscope.refusal("kv", "gpt2-smal", words=["gpt2-smal", "did you mean gpt2-small", "--list"])
    headscope.refusal("kv", "no-such-thing-at-all", words=["no published model", "--list"])
    headscope.refusal("kv", tmp_path / "absent", words=["absent", "no file or folder"])
    headscope.refusal("kv", "other/gpt2", words=["other/gpt2"])
    headscope.refusal("kv", "x" * 5000)
    headscope.refusal("kv", "", words=["no published model"])
    headscope.refusal("kv", code=1, words=["kv needs a MODEL", "--list"])


CONFIG = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 172, "num_hidden_layers": 5,
          "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 512, "max_position_embeddings": 512,
          "tie_word_embeddings": True}


def test_bare_configs(headscope, tmp_path):
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "other.json").write_text(json.dumps(CONFIG | {"quantization_config": {"quant_method": "fp8"}}))
    found = headscope.json("kv", folder, folder / "config.json", tmp_path / "other.json", "--context", "1k")
    assert [row["model"] for row in found] == ["my-model", "my-model", "other"]
    for row in found:
        assert row["bytes"] == 1280 * 1024 and row["parameters"] == 260_032
        assert row["source"].startswith("config ")
    assert b"quantization_config is ignored" in headscope.run("kv", tmp_path / "other.json").stderr
    (folder / "config.json").write_text("[1]")
    headscope.refusal("kv", folder, words=["JSON object"])
    (folder / "config.json").write_text(json.dumps(CONFIG | {"num_key_value_heads": 3}))
    headscope.refusal("kv", folder, words=["num_key_value_heads"])


def test_numbers_that_do_not_fit(headscope):
    headscope.refusal("kv", "GPT-3", "--batch", "1048576k", "--context", "1048576k", words=["2^63"])


def test_plots(headscope, tmp_path):
    for ending in ("svg", "png", "csv"):
        out = tmp_path / f"kv.{ending}"
        text = headscope.text("kv", "gpt2", "Llama-3-8B", "--what-if", "mqa", "--batch", "1,8,64", "--out", out,
                              "--size", "900x600", "--theme", "light")
        assert f"wrote {out}" in text and out.stat().st_size > 0
    assert png.read(tmp_path / "kv.png").shape[:2] == (600, 900)
    texts = [node.text for node in xml.etree.ElementTree.parse(tmp_path / "kv.svg").iter() if node.text]
    assert "KV memory against batch" in texts and "gpt2 as MQA (counterfactual)" in texts
    with open(tmp_path / "kv.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 3
    assert rows[5]["model"] == "gpt2 as MQA (counterfactual)" and rows[5]["kv (bytes)"] == str(2 * 3072 * 1024 * 64)
    assert rows[5]["counterfactual"] == "yes" and {row["assumption"] for row in rows} == {""}
    headscope.text("kv", "gpt2", "--what-if", "mla", "--out", tmp_path / "mla.csv")
    with open(tmp_path / "mla.csv", newline="") as file:
        assert ["four heads (256)" in row["assumption"] for row in csv.DictReader(file)] == [False, True]


@pytest.mark.parametrize("arguments, title", [
    (["--context", "1k,8k"], "KV memory against context"), ([], "KV memory of one token"),
    (["--batch", "1,8", "--context", "1k,8k"], "KV memory against batch"),
    (["--batch", "1,8", "--context", "1k,8k", "--plot", "context"], "KV memory against context"),
    (["--batch", "1,8", "--plot", "token"], "KV memory of one token")])
def test_the_plot_follows_the_lists(headscope, tmp_path, arguments, title):
    headscope.text("kv", "gpt2", *arguments, "--out", tmp_path / "kv.svg")
    assert f">{title}<" in (tmp_path / "kv.svg").read_text()


def test_refuses_plots_before_work(headscope, tmp_path):
    out = tmp_path / "kv.svg"
    headscope.refusal("kv", "gpt2", "--out", out, "--plot", "batch", code=1, words=["several batches"])
    headscope.refusal("kv", "gpt2", "--out", out, "--plot", "context", code=1, words=["several contexts"])
    headscope.refusal("kv", "gpt2", "--plot", "token", code=1, words=["--out"])
    headscope.refusal("kv", "gpt2", "--out", tmp_path / "kv.pdf", words=[".svg"])
    headscope.refusal("kv", "gpt2", "--out", tmp_path / "absent" / "kv.svg", words=["absent"])
    headscope.refusal("kv", "gpt2", "--out", out, "--size", "12", code=1, words=["--size"])
    headscope.refusal("kv", "nothing-known", "--out", out)
    assert not out.exists()
