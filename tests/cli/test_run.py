"""`headscope run`: tokens, generation, sampling, options, prompts."""

import os

import h5py
import pytest

RUN_TYPES = {
    "ids": list, "prompt_tokens": int, "text": str, "pieces": list, "top": list, "kv_bytes_used": list,
    "kv_bytes_allocated": list, "device": str, "dtype": str, "kernel": str, "version": str,
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


def test_end_of_text(headscope, random_models):
    """Without an end-of-text token in the config nothing stops; --ignore-eos is accepted all the same."""
    arguments = ["run", random_models("llama-gqa"), "--ids", "1,2", "--generate", 5]
    assert headscope.json(*arguments)["ids"] == headscope.json(*arguments, "--ignore-eos")["ids"]


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
    ("--save", "everything", 1), ("--save", "logits,,kv", 1),
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
    headscope.refusal("run", tiny, "--ids", "1", "--generate", 32, "--ignore-eos", words=["33", "32", "context"])


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

@pytest.mark.parametrize("option, value, words", [("--device", "cuda", ["cuda", "cpu"]), ("--dtype", "bf16", ["bf16", "f32"]),
                                                  ("--dtype", "f16", ["f16", "f32"])])
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
