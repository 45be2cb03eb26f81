"""What `headscope run --save ... --out F.h5` writes, as h5py reads it."""

import h5py
import numpy as np
import pytest

EVERYTHING = "logits,attention,stats,q,k,v,lse,kv"
STATISTICS = ("entropy", "distance", "sink", "max", "argmax", "distance_variance", "window")
ENTROPIES = {  # published means over the first 32 rows
    0: [1.3912, 1.7947, 1.0659, 1.2477, 0.9320, 0.9319, 1.1862, 1.4536],
    2: [0.6997, 1.1253, 0.8915, 1.3230, 1.5838, 1.7965, 1.6899, 1.4916],
    4: [1.7437, 1.4532, 1.7362, 1.8728, 1.8711, 1.7616, 1.3986, 1.4437],
}


@pytest.fixture(scope="module")
def saved(headscope, stories, tmp_path_factory):
    """Everything of the published run of 60 tokens."""
    path = tmp_path_factory.mktemp("run") / "f.h5"
    run = headscope.json("run", stories, "--prompt", "Zoo", "--generate", 56, "--save", EVERYTHING, "--out", path)
    with h5py.File(path) as file:
        yield file, run


def same_file(one, other):
    """Every dataset of two files, to the bit."""
    with h5py.File(one) as a, h5py.File(other) as b:
        names = []
        a.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        for name in names:
            assert (a[name][()] == b[name][()]).all() or np.array_equal(a[name][()], b[name][()], equal_nan=True), name
        return names


@pytest.mark.parametrize("budget", ["0", "10kB", "20kB"])
@pytest.mark.parametrize("family", ["llama-gqa", "deepseek2-lite", "gpt2-odd-mlp"])
def test_a_memory_budget_changes_nothing(headscope, random_models, tmp_path, family, budget):
    words = ["run", random_models(family), "--ids", ",".join(str(i % 50 + 1) for i in range(50)), "--generate", 6,
             "--chunk", 20, "--zero", "0:1", "--save", EVERYTHING, "--out"]
    assert "made again" not in headscope.text(*words, tmp_path / "all.h5")
    assert "layers are kept" in headscope.text(*words, tmp_path / "limited.h5", "--memory-budget", budget)
    assert {"q/layer_000", "attention/layer_001"} <= set(same_file(tmp_path / "all.h5", tmp_path / "limited.h5"))


def as_text(value):
    return value.decode() if isinstance(value, bytes) else value


def test_names_shapes_and_types(saved):
    file, _ = saved
    n, layers = 60, 5
    expected = {"tokens/ids": ((n,), "<i8"), "logits": ((n, 512), "<f4"), "kv/bytes_used": ((layers,), "<u8"),
                "kv/bytes_allocated": ((layers,), "<u8")}
    expected |= {f"stats/{name}": ((layers, 8, n), "<f4") for name in STATISTICS}
    for layer in range(layers):
        key = f"layer_{layer:03}"
        expected |= {f"attention/{key}": ((8, n, n), "<f4"), f"q/{key}": ((8, n, 8), "<f4"),
                     f"k/{key}": ((4, n, 8), "<f4"), f"v/{key}": ((4, n, 8), "<f4"), f"lse/{key}": ((8, n), "<f4")}
    for name, (shape, dtype) in expected.items():
        assert file[name].shape == shape and file[name].dtype == np.dtype(dtype), name
    found = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    assert sorted(found) == sorted([*expected, "tokens/text"])


def test_attributes(saved, headscope):
    file, run = saved
    assert {name: as_text(file.attrs[name]) for name in ("model", "family", "variant", "device", "dtype", "interventions")} == {
        "model": "stories260K", "family": "llama", "variant": "GQA-4", "device": "cpu", "dtype": "f32", "interventions": ""}
    assert as_text(file.attrs["linear"]) == run["linear"]
    assert as_text(file.attrs["kernel"]) == run["kernel"] and as_text(file.attrs["version"]) == run["version"]
    assert file["stats/sink"].attrs["sink_tokens"] == 1
    for group in ("k", "v"):
        attributes = file[group].attrs
        assert attributes["kv_owner"].tolist() == [0, 1, 2, 3, 4]
        assert [as_text(text) for text in attributes["stored"]] == ["keys_and_values"] * 5
        assert attributes["keys_rotated"].tolist() == [1] * 5 and attributes["rotate_on_read"].tolist() == [0] * 5


def test_tokens(saved):
    file, run = saved
    assert file["tokens/ids"][()].tolist() == run["ids"]
    assert h5py.check_string_dtype(file["tokens/text"].dtype).encoding == "utf-8"
    assert [as_text(text) for text in file["tokens/text"][()]] == run["pieces"]
    assert h5py.check_string_dtype(file["tokens/text"].dtype).length is None


def test_a_character_in_parts_is_spelled_in_bytes(headscope, stories, tmp_path):
    headscope.text("run", stories, "--prompt", "\U0001f600", "--out", tmp_path / "f.h5")
    with h5py.File(tmp_path / "f.h5") as file:
        texts = [as_text(text) for text in file["tokens/text"][()]]
    assert texts[-4:] == ["<0xF0>", "<0x9F>", "<0x98>", "<0x80>"]


def test_rows_sum_to_1_and_look_back_only(saved):
    file, _ = saved
    for maps in file["attention"].values():
        values = maps[()].astype(np.float64)
        assert np.isfinite(values).all() and (values >= 0).all()
        assert np.abs(values.sum(-1) - 1).max() < 1e-5
        assert (np.triu(values, 1) == 0).all()


def test_published_entropies(headscope, stories, tmp_path, saved):
    first = ",".join(str(i) for i in saved[1]["ids"][:32])
    headscope.text("run", stories, "--ids", first, "--save", "stats", "--out", tmp_path / "f.h5")
    with h5py.File(tmp_path / "f.h5") as file:
        for layer, expected in ENTROPIES.items():
            found = file["stats/entropy"][layer].mean(-1)
            assert np.abs(found - expected).max() < 1.1e-4, (layer, found)


def test_logits_predict_the_generated_tokens(saved):
    file, run = saved
    logits = file["logits"][()]
    assert np.isfinite(logits).all()
    assert logits[3:-1].argmax(-1).tolist() == run["ids"][4:]


def test_published_logits(headscope, stories, tmp_path):
    headscope.text("run", stories, "--ids", "1", "--save", "logits", "--out", tmp_path / "f.h5")
    with h5py.File(tmp_path / "f.h5") as file:
        logits = file["logits"][()]
    assert logits.shape == (1, 512) and logits.argmax() == 403 and abs(logits[0, 403] - 17.02352) < 2e-4
    assert np.abs(logits[0, :5] - [-6.22291, 8.40434, -6.22374, -6.22254, -6.22195]).max() < 2e-4


def test_kv_bytes(saved):
    file, run = saved
    assert file["kv/bytes_used"][()].tolist() == [60 * 256] * 5 == run["kv_bytes_used"]
    assert file["kv/bytes_allocated"][()].tolist() == run["kv_bytes_allocated"]


def test_statistics_agree_with_the_saved_maps(saved):
    from attention_numbers import row_statistics

    file, _ = saved
    allowed = {"entropy": 1e-4, "max": 1e-5, "argmax": 0, "distance": 1e-3, "distance_variance": 2e-2, "sink": 1e-5,
               "window": 1e-5}
    for layer in range(5):
        for name, expected in row_statistics(file[f"attention/layer_{layer:03}"][()]).items():
            worst = np.abs(file[f"stats/{name}"][layer] - expected).max()
            assert worst <= allowed[name], (layer, name, worst)


def test_only_what_is_asked_for(headscope, stories, tmp_path):
    headscope.text("run", stories, "--prompt", "Zoo", "--save", "qk", "--out", tmp_path / "f.h5")
    with h5py.File(tmp_path / "f.h5") as file:
        assert sorted(file) == ["k", "q", "tokens", "v"] and len(file["v"]) == 0 and len(file["q"]) == 5
    headscope.text("run", stories, "--prompt", "Zoo", "--out", tmp_path / "f.h5")
    with h5py.File(tmp_path / "f.h5") as file:
        assert sorted(file) == ["tokens"]


@pytest.mark.parametrize("option, begin, end", [("last", 3, 4), ("all", 0, 4), ("1:3", 1, 3), ("2:100", 2, 4)])
def test_logits_of_some_positions(headscope, stories, tmp_path, option, begin, end):
    def logits(*options):
        headscope.text("run", stories, "--prompt", "Zoo", "--save", "logits", "--out", tmp_path / "f.h5", *options)
        with h5py.File(tmp_path / "f.h5") as file:
            return file["logits"][()]

    # Fewer rows at once may go through another matrix product: equal up to rounding.
    np.testing.assert_allclose(logits("--logits", option), logits()[begin:end], atol=1e-4)


def test_threads_change_nothing(headscope, stories, tmp_path):
    maps = []
    for threads in (1, 2):
        headscope.text("run", stories, "--prompt", "Zoo was here", "--save", "attention", "--threads", threads, "--out",
                       tmp_path / "f.h5")
        with h5py.File(tmp_path / "f.h5") as file:
            maps.append(np.stack([file["attention"][name][()] for name in file["attention"]]))
    np.testing.assert_allclose(maps[0], maps[1], atol=2e-5)


def test_zeroed_heads_are_recorded(headscope, stories, tmp_path):
    headscope.text("run", stories, "--prompt", "Zoo", "--zero", "2:5", "--zero", "1:0", "--out", tmp_path / "f.h5")
    with h5py.File(tmp_path / "f.h5") as file:
        assert as_text(file.attrs["interventions"]) == "zero 2:5, zero 1:0"


def test_without_a_tokenizer_texts_are_empty(headscope, tiny, tmp_path):
    headscope.text("run", tiny, "--ids", "1,2", "--out", tmp_path / "f.h5")
    with h5py.File(tmp_path / "f.h5") as file:
        assert [as_text(text) for text in file["tokens/text"][()]] == ["", ""]


def test_save_needs_a_file(headscope, tiny):
    headscope.refusal("run", tiny, "--ids", "1", "--save", "kv", code=1, words=["--save", "--out"])


def test_targets_that_cannot_be_written(headscope, tiny, tmp_path):
    (tmp_path / "folder").mkdir()
    headscope.refusal("run", tiny, "--ids", "1", "--out", tmp_path / "folder", words=["folder"])
    headscope.refusal("run", tiny, "--ids", "1", "--out", tmp_path / "gone" / "f.h5", words=["gone"])
    headscope.refusal("run", tiny, "--ids", "1", "--out", tmp_path / ("x" * 256), words=["too long"])
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_a_bad_target_is_refused_before_the_work(headscope, tmp_path):
    """The model is not there either: the target is looked at first."""
    headscope.refusal("run", tmp_path / "no-model", "--ids", "1", "--out", tmp_path / "gone" / "f.h5", words=["gone"])


def test_a_full_disk_leaves_the_old_file(headscope, stories, tmp_path):
    import resource

    def small_files():
        import signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    path = tmp_path / "f.h5"
    path.write_text("old")
    headscope.refusal("run", stories, "--prompt", "Zoo", "--save", EVERYTHING, "--out", path, preexec_fn=small_files,
                      words=["f.h5"])
    assert path.read_text() == "old" and [entry.name for entry in tmp_path.iterdir()] == ["f.h5"]
