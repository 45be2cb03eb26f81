"""`headscope run`: tokens, generation, sampling, options, prompts."""

import json
import math
import os
import resource
import shutil
import struct

import h5py
import numpy
import pytest
import safetensors
import sharing_models

RUN_TYPES = {
    "ids": list, "prompt_tokens": int, "text": str, "pieces": list, "top": list, "kv_bytes_used": list,
    "kv_bytes_allocated": list, "device": str, "dtype": str, "kernel": str, "linear": str, "version": str,
}
PUBLISHED = [int(i) for i in """1 410 469 347 286 261 376 298 315 421 395 317 426 338 401 396 267 337 410 408 419 292 411
322 265 282 295 433 426 385 328 432 358 394 261 370 432 352 266 268 388 426 338 391 266 267 337 335 312 432 398 358 279
292 416 439 413 391 267 337""".split()]


def test_published_continuation(headscope, stories):
    found = headscope.json("run", stories, "--prompt", "Zoo", "--generate", 56)
    for name, kind in RUN_TYPES.items():
        assert type(found[name]) is kind, f"{name} is {found[name]!r}"
    assert found["ids"] == PUBLISHED and found["prompt_tokens"] == 4
    assert found["text"].startswith("Zoo was a little girl named") and len(found["pieces"]) == 60
    assert found["kv_bytes_used"] == [60 * 256] * 5
    assert all(allocated >= 60 * 256 and allocated % 256 == 0 for allocated in found["kv_bytes_allocated"])
    assert found["device"] == "cpu" and found["dtype"] == "f32" and found["kernel"]


def test_the_likeliest_first_token(headscope, stories):
    found = headscope.json("run", stories, "--ids", "1", "--top", 3)
    assert len(found["top"]) == 3
    first = found["top"][0]
    assert set(first) >= {"id", "text", "probability"} and first["id"] == 403 and first["text"].strip() == "Once"
    assert 0 < found["top"][2]["probability"] <= found["top"][1]["probability"] <= first["probability"] <= 1
    assert headscope.json("run", stories, "--ids", "1", "--top", 0)["top"] == []
    everything = headscope.json("run", stories, "--ids", "1", "--top", 9999)["top"]
    assert len(everything) == 512 and abs(sum(one["probability"] for one in everything) - 1) < 1e-6


def test_text_output_says_the_same(headscope, stories):
    text = headscope.text("run", stories, "--prompt", "Zoo", "--generate", 8)
    for fact in ("Zoo was a", "4 prompt + 8 generated", "cpu, f32", "next token"):
        assert fact in text, fact


def test_chosen_threads_change_nothing(headscope, stories):
    one, two = (headscope.json("run", stories, "--prompt", "Zoo", "--generate", 20, "--threads", n) for n in (1, 2))
    assert one["ids"] == two["ids"]


def test_who_multiplies_is_said_and_can_be_chosen(headscope, stories, tmp_path):
    """Both ways give the same numbers but for rounding."""
    words = ("run", stories, "--prompt", "Zoo was a little girl named Lily", "--save", "logits", "--out")
    logits = {}
    for way in ("own", "libtorch"):
        found = headscope.json(*words, tmp_path / f"{way}.h5", "--linear", way)
        assert found["linear"] == "libtorch" if way == "libtorch" else found["linear"].startswith("cpu/")
        with h5py.File(tmp_path / f"{way}.h5") as file:
            assert file.attrs["linear"] == found["linear"]
            logits[way] = file["logits"][()]
    assert len(logits["own"]) > 8, "few tokens go through our kernels in any case"
    assert abs(logits["own"] - logits["libtorch"]).max() < 1e-4
    assert headscope.json("run", stories, "--ids", "1", "--dtype", "bf16")["linear"].startswith("cpu/")
    headscope.refusal("verify", "--linear", "own", code=1, words=["MODEL"])


def test_chunks_change_nothing(headscope, stories):
    whole, pieces = (headscope.json("run", stories, "--prompt", "Zoo was a little girl", "--generate", 20, *options)
                     for options in ((), ("--chunk", 3)))
    assert whole["ids"] == pieces["ids"]
    assert abs(whole["top"][0]["probability"] - pieces["top"][0]["probability"]) < 1e-5


def test_alibi_is_rounded_or_exact_and_says_so(headscope, random_models, stories, tmp_path):
    folder = random_models("falcon-alibi")
    words = ("run", folder, "--ids", ",".join(str(i) for i in range(1, 150)))
    rounded = headscope.json(*words, "--save", "kv", "--out", tmp_path / "rounded.h5")
    exact = headscope.json(*words, "--save", "kv", "--out", tmp_path / "exact.h5", "--exact-alibi")
    assert (rounded["alibi"], exact["alibi"]) == ("bf16", "exact")
    assert rounded["top"][0]["probability"] != exact["top"][0]["probability"]
    for name in ("rounded", "exact"):
        with h5py.File(tmp_path / f"{name}.h5") as file:
            assert file.attrs["alibi"] == {"rounded": "bf16"}.get(name, name)
    assert "ALiBi bf16" in headscope.text(*words) and "ALiBi exact" in headscope.text(*words, "--exact-alibi")
    headscope.text("verify", folder, "--exact-alibi")
    for options, word in ((("--exact-alibi",), "ALiBi exact"), ((), "ALiBi bf16")):
        picture = tmp_path / f"{len(options)}.svg"
        assert word in headscope.text("render", *words[1:], "--out", picture, "--summary", *options)
        assert word in picture.read_text()
    plain = headscope.json("run", stories, "--prompt", "Zoo")
    assert "alibi" not in plain and "ALiBi" not in headscope.text("run", stories, "--prompt", "Zoo")
    for command in (("run", stories, "--prompt", "Zoo"), ("verify", stories),
                    ("render", stories, "--prompt", "Zoo", "--out", tmp_path / "x.svg")):
        headscope.refusal(*command, "--exact-alibi", words=["stories260K", "no ALiBi"])
    headscope.refusal("verify", "--exact-alibi", code=1, words=["MODEL"])


def test_end_of_text(headscope, random_models, tmp_path):
    """The third token that the model generates is made its end-of-text token: generation stops there, or goes on."""
    folder = tmp_path / "with-eos"
    shutil.copytree(random_models("llama-gqa"), folder)
    arguments = ["run", folder, "--ids", "1,2", "--generate", 6]
    free = headscope.json(*arguments)["ids"]
    config = json.loads((folder / "config.json").read_text())
    config["eos_token_id"] = free[4]
    (folder / "config.json").write_text(json.dumps(config))
    stop = free.index(free[4], 2)
    assert headscope.json(*arguments)["ids"] == free[:stop + 1]
    assert headscope.json(*arguments, "--ignore-eos")["ids"] == free


def test_logits_say_their_positions(headscope, stories, tmp_path):
    out = tmp_path / "out.h5"
    save = ["run", stories, "--ids", "1,2,3,4", "--save", "logits", "--out", out]
    headscope.text(*save)
    with h5py.File(out) as file:
        whole = file["logits"][:]
        assert whole.shape == (4, 512) and file["logits"].attrs["first_position"] == 0
    headscope.text(*save, "--logits", "1:3")
    with h5py.File(out) as file:
        assert file["logits"].attrs["first_position"] == 1
        numpy.testing.assert_allclose(file["logits"][:], whole[1:3], atol=1e-5)
    headscope.text(*save, "--logits", "last")
    with h5py.File(out) as file:
        assert file["logits"].attrs["first_position"] == 3
        numpy.testing.assert_allclose(file["logits"][:], whole[3:], atol=1e-5)
    headscope.refusal(*save, "--logits", "100:200", words=["100", "positions 0 to 3"])


def test_memory_that_runs_out_is_one_sentence(headscope, random_models, tmp_path):
    """A model with an embedding of 3 GiB (a file with holes) where only 2 GB may be had."""
    source, folder = random_models("llama-gqa"), tmp_path / "huge"
    folder.mkdir()
    config = json.loads((source / "config.json").read_text())
    vocabulary = config["vocab_size"] = (3 << 30) // (4 * config["hidden_size"])
    (folder / "config.json").write_text(json.dumps(config))
    header, offset = {}, 0
    with safetensors.safe_open(source / "model.safetensors", "np") as file:
        for name in file.keys():
            shape = file.get_slice(name).get_shape()
            if "embed_tokens" in name or "lm_head" in name:
                shape = [vocabulary, shape[1]]
            size = 4 * math.prod(shape)
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
            offset += size
    text = json.dumps(header).encode()
    with open(folder / "model.safetensors", "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        out.truncate(8 + len(text) + offset)
    headscope.refusal("run", folder, "--ids", "1", words=["memory"],
                      preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2_000_000_000, 2_000_000_000)))


def test_devices_types_and_numbers_that_cannot_be_had(headscope, stories, tmp_path):
    for command in (["info", stories], ["pack", stories, tmp_path / "x.h5"], ["kv", stories]):
        headscope.refusal(*command, "--device", "cuda", words=["cuda", "--device cpu"])
    headscope.refusal("pack", stories, tmp_path / "x.h5", "--dtype", "bf16", words=["as they are stored", "bf16", "f32"])
    assert not (tmp_path / "x.h5").exists()
    headscope.refusal("kv", stories, "--context", "18014398509481985k", code=1, words=["--context"])


def test_sampling_is_reproducible(headscope, stories):
    def sample(*options):
        return headscope.json("run", stories, "--prompt", "Zoo", "--generate", 25, "--ignore-eos", *options)["ids"]

    first = sample("--temperature", 1.2, "--seed", 1)
    assert sample("--temperature", 1.2, "--seed", 1) == first
    assert sample("--temperature", 1.2, "--seed", 2) != first
    greedy = sample()
    assert first != greedy
    assert sample("--temperature", 1.2, "--top-k", 1) == greedy
    assert sample("--temperature", 1.2, "--top-p", 1e-9) == greedy
    assert sample("--temperature", 0) == greedy


def test_samples_come_from_the_likeliest(headscope, stories, tmp_path):
    """With --top-k 3 every token is among the three largest logits before it, and not always the first of them."""
    headscope.text("run", stories, "--prompt", "Zoo", "--generate", 100, "--temperature", 1.5, "--top-k", 3, "--ignore-eos",
                   "--save", "logits", "--out", tmp_path / "f.h5")
    with h5py.File(tmp_path / "f.h5") as file:
        ids, logits = file["tokens/ids"][()], file["logits"][()]
    ranks = [int((logits[i - 1] > logits[i - 1][ids[i]]).sum()) for i in range(4, 104)]
    assert set(ranks) == {0, 1, 2}, ranks


@pytest.mark.parametrize("option, value, code", [
    ("--temperature", "-1", 1), ("--temperature", "nan", 1), ("--temperature", "inf", 1), ("--top-k", "-1", 1),
    ("--top-p", "0", 1), ("--top-p", "1.5", 1), ("--zero", "1", 1), ("--zero", "a:b", 1), ("--zero", "1:", 1),
    ("--zero", "9:0", 2), ("--zero", "0:99", 2), ("--logits", "x", 1), ("--logits", "3:3", 1), ("--logits", "5:1", 1),
    ("--save", "everything", 1), ("--save", "logits,,kv", 1), ("--chunk", "0", 1), ("--chunk", "-3", 1),
])
def test_options_that_make_no_sense(headscope, tiny, tmp_path, option, value, code):
    headscope.refusal("run", tiny, "--ids", "1,2", "--out", tmp_path / "x.h5", f"{option}={value}", code=code)
    assert not list(tmp_path.iterdir())


def test_zeroed_heads_change_the_result_and_are_recorded(headscope, stories):
    plain = headscope.json("run", stories, "--prompt", "Zoo")
    zeroed = headscope.json("run", stories, "--prompt", "Zoo", "--zero", "2:5", "--zero", "0:0")
    assert zeroed["interventions"] == ["zero 2:5", "zero 0:0"] and plain["interventions"] == []
    assert zeroed["top"] != plain["top"]
    assert "zero 2:5" in headscope.text("run", stories, "--prompt", "Zoo", "--zero", "2:5")


# ---- prompts

def test_context_is_filled_exactly(headscope, tiny):
    ids = ",".join(["1"] * 32)
    assert len(headscope.json("run", tiny, "--ids", ids)["ids"]) == 32
    assert len(headscope.json("run", tiny, "--ids", "1", "--generate", 31, "--ignore-eos")["ids"]) == 32
    headscope.refusal("run", tiny, "--ids", ids + ",1", words=["33", "32", "context"])
    done = headscope.run("run", tiny, "--ids", "1", "--generate", 40, "--ignore-eos", "--json")
    assert done.returncode == 0 and len(json.loads(done.stdout)["ids"]) == 32
    assert b"context of 32 tokens was full" in done.stderr


@pytest.mark.parametrize("ids, code, words", [
    ("-1", 1, ["-1", "token id"]), ("512", 2, ["512", "511"]), ("9223372036854775808", 1, ["9223372036854775808"]),
    ("1,,2", 1, ["empty"]), ("1,", 1, ["empty"]), ("1 2", 1, ["1 2"]), ("x", 1, ["x"]), ("0x10", 1, ["0x10"]),
    ("2147483648", 1, ["2147483648"]), ("2147483647", 2, ["2147483647"]), ("1.0", 1, ["1.0"]), ("+1", 1, ["+1"])])
def test_ids_that_cannot_be(headscope, stories, ids, code, words):
    headscope.refusal("run", stories, "--ids", ids, code=code, words=words)


def test_a_prompt_is_needed_and_only_one(headscope, stories, tmp_path):
    headscope.refusal("run", stories, code=1, words=["--prompt", "--ids"])
    done = headscope.run("run", stories, "--prompt", "a", "--ids", "1")
    assert done.returncode == 1 and done.stdout == b"" and b"--ids" in done.stderr
    headscope.refusal("run", stories, "--prompt-file", tmp_path / "gone", words=["gone", "No such file"])
    headscope.refusal("run", stories, "--prompt-file", tmp_path, words=["folder"])


def test_empty_prompt_is_the_start_token_alone(headscope, stories):
    """The file's template adds the start token to every text, also to none."""
    assert headscope.json("run", stories, "--prompt", "")["ids"] == [1]


@pytest.mark.parametrize("text", ["   ", "\n", "a  b", "<s>", "</s>", "caf\u00e9 \U0001f600 \u4e2d\u6587", "a\u0301" * 40,
                                  "\u200f\u05d0", "\t"])
def test_odd_prompts_survive(headscope, stories, text):
    tokenizers = pytest.importorskip("tokenizers")
    expected = tokenizers.Tokenizer.from_file(str(stories / "tokenizer.json")).encode(text).ids
    found = headscope.json("run", stories, "--prompt", text)
    assert found["ids"] == expected


def test_prompt_file_and_standard_input(headscope, stories, tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_text("Zoo")
    assert headscope.json("run", stories, "--prompt-file", file)["ids"] == [1, 410, 469, 347]
    with open(file) as stream:
        assert headscope.json("run", stories, "--prompt-file", "-", stdin=stream)["ids"] == [1, 410, 469, 347]


@pytest.mark.parametrize("content", [b"a\xffb", b"\xc3\x28", b"\xc0\xaf", b"\xed\xa0\x80", b"abc\xe2\x82"],
                         ids=["stray", "cut", "overlong", "surrogate", "end"])
def test_prompts_that_are_not_utf_8(headscope, stories, tmp_path, content):
    (tmp_path / "prompt").write_bytes(content)
    headscope.refusal("run", stories, "--prompt-file", tmp_path / "prompt", words=["UTF-8"])
    headscope.refusal("run", stories, "--prompt", content, words=["UTF-8"])


def test_nul_in_a_prompt_is_a_character(headscope, stories, tmp_path):
    (tmp_path / "prompt").write_bytes(b"a\0b")
    done = headscope.run("run", stories, "--prompt-file", tmp_path / "prompt", "--json")
    if done.returncode == 0:
        tokenizers = pytest.importorskip("tokenizers")
        expected = tokenizers.Tokenizer.from_file(str(stories / "tokenizer.json")).encode("a\0b").ids
        assert headscope.json("run", stories, "--prompt-file", tmp_path / "prompt")["ids"] == expected
    else:
        headscope.refusal("run", stories, "--prompt-file", tmp_path / "prompt", words=["NUL"])


def test_prompts_too_long(headscope, stories, tmp_path):
    (tmp_path / "prompt").write_bytes(b"a" * ((1 << 20) + 1))
    headscope.refusal("run", stories, "--prompt-file", tmp_path / "prompt", words=["1 MB"])
    (tmp_path / "prompt").write_bytes(b"a" * (1 << 20))
    headscope.refusal("run", stories, "--prompt-file", tmp_path / "prompt", words=["512", "context"])
    with open("/dev/zero", "rb") as zeros:
        headscope.refusal("run", stories, "--prompt-file", "-", stdin=zeros, words=["1 MB"])


def test_text_needs_a_tokenizer(headscope, tiny):
    headscope.refusal("run", tiny, "--prompt", "x", words=["tokenizer", "--ids"])


# ---- devices, types, environment

@pytest.mark.parametrize("option, value, words", [("--device", "cuda", ["cuda", "cpu"]),
                                                  ("--dtype", "f16", ["f16", "f32", "bf16"])])
def test_what_cannot_be_had_is_refused_by_name(headscope, tiny, option, value, words):
    headscope.refusal("run", tiny, "--ids", "1", option, value, words=words)


@pytest.mark.parametrize("locale", ["de_DE.UTF-8", "tr_TR.UTF-8", "C", "en_US.ISO-8859-1"])
def test_locale_changes_nothing(headscope, stories, tmp_path, locale):
    env = {"LC_ALL": locale, "LANG": locale}
    runs = [headscope.json("run", stories, "--prompt", "Zoo", **more) for more in ({"env": env}, {})]
    for run in runs:
        run.pop("seconds", None)
    assert runs[0] == runs[1]
    assert "260,032" in headscope.text("info", stories, env=env)
    headscope.text("render", stories, "--out", tmp_path / "a.csv", env=env)
    headscope.text("render", stories, "--out", tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_home_is_not_needed(headscope, stories, tmp_path):
    for home in (None, "/nonexistent", "/dev/null"):
        headscope.text("run", stories, "--prompt", "Zoo", env={"HOME": home})


def test_model_named_from_within(headscope, stories):
    assert headscope.json("info", ".", cwd=stories)["model"] == stories.name
    assert headscope.json("info", str(stories) + "/")["model"] == stories.name


def test_quiet_says_nothing_beside_the_result(headscope, tiny):
    arguments = ["run", tiny, "--ids", "1"]
    loud, quiet = headscope.run(*arguments), headscope.run(*arguments, "--quiet")
    assert b"note: no tokenizer" in loud.stderr and quiet.stderr == b"" and quiet.stdout == loud.stdout


def test_nothing_is_written_into_the_model(headscope, stories):
    before = sorted(os.listdir(stories))
    headscope.text("run", stories, "--prompt", "Zoo")
    assert sorted(os.listdir(stories)) == before


def test_mla_runs_in_both_forms(headscope, random_models, stories, tmp_path):
    """Log-sum-exps and outputs come from expanded keys and values, maps from latents: both must tell the same."""
    folder = random_models("deepseek3")
    runs = {}
    for form in ("absorbed", "naive"):
        out = tmp_path / f"{form}.h5"
        words = ("run", folder, "--ids", ",".join(str(i * 13 % 140 + 2) for i in range(37)), "--generate", 9, "--ignore-eos",
                 "--mla", form)
        said = headscope.json(*words, "--save", "logits,attention,lse", "--out", out)
        assert said["mla"] == form and f"MLA {form}" in headscope.text(*words)
        with h5py.File(out) as file:
            assert file.attrs["mla"] == form
            runs[form] = (said, file["logits"][()], [file[f"{part}/layer_{layer:03}"][()] for layer in range(3)
                                                     for part in ("attention", "lse")])
    (absorbed, expected, maps), (naive, found, other) = runs["absorbed"], runs["naive"]
    assert naive["ids"] == absorbed["ids"] and naive["kv_bytes_used"] == absorbed["kv_bytes_used"] == [28 * 4 * 46] * 3
    assert not numpy.array_equal(found, expected)  # other sums, so other bits
    assert numpy.abs(found - expected).max() <= 1e-4 * numpy.ptp(expected)
    assert max(numpy.abs(one - two).max() for one, two in zip(maps, other)) <= 2e-5
    headscope.refusal("run", stories, "--prompt", "Zoo", "--mla", "naive", words=["stories260K", "no layer has latents"])
    assert "mla" not in headscope.json("run", stories, "--prompt", "Zoo")


def test_rooms_of_windows_are_explained(headscope, tmp_path):
    for name, said in (("sliding GQA-2", True), ("GQA-2", False)):
        sharing_models.make(next(one for one in sharing_models.SCHEMES if one.name == name), tmp_path / name, 1)
        text = headscope.text("run", tmp_path / name, "--ids", "1,2,3")
        assert ("a sliding window keeps its tokens and has room for those written at once" in text) == said


def test_a_memory_budget_is_a_size(headscope, random_models, tmp_path):
    folder = random_models("llama-gqa")
    for words in (("run", folder, "--ids", "1,2"), ("verify", folder),
                  ("render", folder, "--ids", "1,2", "--out", tmp_path / "x.svg")):
        for wrong in ("much", "1", "-1MB", ""):
            headscope.refusal(*words, "--memory-budget", wrong, code=1, words=["--memory-budget", "2GiB"])
        headscope.text(*words, "--memory-budget", "0")
    headscope.refusal("verify", "--memory-budget", "1MB", code=1, words=["MODEL"])
