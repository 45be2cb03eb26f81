"""`headscope import`: pickle checkpoints become safetensors folders, and a pickle that would run something does not."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
import zipfile

import pytest
import tiny_checkpoint
import torch
from test_pack import stored_tensors
from test_signals import interrupt, require_stopped

INDEX = "pytorch_model.bin.index.json"


def states():
    """The tiny llama's tensors as torch has them."""
    return {name: torch.from_numpy(array) for name, array in tiny_checkpoint.tensors().items()}


def pickled(folder, state=None, name="pytorch_model.bin", config=None, **options):
    """A folder with a config and one checkpoint that torch saved."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config or tiny_checkpoint.CONFIG))
    torch.save(states() if state is None else state, folder / name, **options)
    return folder


def sharded(folder):
    """Two shards and their index, as transformers 4 wrote them."""
    state, (_, index) = states(), tiny_checkpoint.split()
    weight_map = {name: shard.replace("model-", "pytorch_model-").replace(".safetensors", ".bin")
                  for name, shard in index["weight_map"].items()}
    for shard in set(weight_map.values()):
        pickled(folder, {name: state[name] for name in state if weight_map[name] == shard}, shard)
    (folder / INDEX).write_text(json.dumps({**index, "weight_map": weight_map}))
    return folder


def logits(headscope, model, file):
    import h5py

    headscope.text("run", model, "--ids", "1,5,2,7,3", "--generate", 4, "--save", "logits", "--logits", "all", "--out", file)
    with h5py.File(file) as saved:
        return saved["tokens/ids"][()].tolist(), saved["logits"][()].tobytes()


def nothing_left(folder, *names):
    """Whether the folder holds these entries only: no OUT, and no temporary."""
    return sorted(os.listdir(folder)) == sorted(names)


class Runs:
    """Unpickled without care, it makes a file."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


# ---- what is imported


SAVED = {
    "zip": lambda folder: pickled(folder),
    "before-1.6": lambda folder: pickled(folder, _use_new_zipfile_serialization=False),
    "sharded": sharded,
    "parameters": lambda folder: pickled(folder, {name: torch.nn.Parameter(value) for name, value in states().items()}),
    "state_dict": lambda folder: pickled(folder, {"state_dict": states(), "epoch": 3}),
    "model-state_dict": lambda folder: pickled(folder, {"model": {"state_dict": states()}, "optimizer": {"lr": 1.0}}),
    "other-name": lambda folder: pickled(folder, name="weights.pt"),
}


@pytest.mark.parametrize("case", SAVED)
def test_the_model_is_the_same(headscope, tiny, tmp_path, case):
    found = headscope.json("import", SAVED[case](tmp_path / "pickled"), tmp_path / "out")
    assert found["out"] == str(tmp_path / "out") and found["tensors"] == len(states())
    assert found["parameters"] == sum(value.numel() for value in states().values())
    assert bool(found["notes"]) == ("state_dict" in case)
    assert stored_tensors(tmp_path / "out") == stored_tensors(tiny)
    assert logits(headscope, tmp_path / "out", tmp_path / "a.h5") == logits(headscope, tiny, tmp_path / "b.h5")


@pytest.mark.parametrize("name", ["gpt2-gelu-untied-f16", "llama-sharded-bf16"])
def test_models_of_transformers(headscope, random_models, tmp_path, name):
    import random_models as module

    original = random_models(name)
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "config.json").write_bytes((original / "config.json").read_bytes())
    torch.save(module.load(original).to(module.recipe(name).dtype).state_dict(), tmp_path / "pickled" / "pytorch_model.bin")
    assert "wrote" in headscope.text("import", tmp_path / "pickled", tmp_path / "out")
    assert logits(headscope, tmp_path / "out", tmp_path / "a.h5") == logits(headscope, original, tmp_path / "b.h5")


def test_one_file_and_what_stands_beside_it(headscope, stories, tmp_path):
    folder = pickled(tmp_path / "pickled", name="weights.pt")
    torch.save({"lr": 1.0}, folder / "training_args.bin")
    for name in ("tokenizer.json", "config.json"):
        (folder / name).write_bytes((stories / name).read_bytes())
    (folder / "secret.txt").write_text("stays")
    headscope.refusal("import", folder, tmp_path / "out", words=["several", "weights.pt", "training_args.bin"])
    headscope.text("import", folder / "weights.pt", tmp_path / "out")
    assert nothing_left(tmp_path / "out", "config.json", "tokenizer.json", "model.safetensors")
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (stories / "tokenizer.json").read_bytes()


def test_without_a_config(headscope, tmp_path):
    (pickled(tmp_path / "pickled") / "config.json").unlink()
    done = headscope.run("import", tmp_path / "pickled", tmp_path / "out")
    assert done.returncode == 0 and b"note: there is no config.json" in done.stderr
    assert headscope.run("import", tmp_path / "pickled", tmp_path / "quiet", "--quiet").stderr == b""


def test_tied_weights_are_written_once(headscope, tmp_path):
    state = states()
    state["lm_head.weight"] = state[tiny_checkpoint.EMBEDDING]
    tied = {**tiny_checkpoint.CONFIG, "tie_word_embeddings": True}
    found = headscope.json("import", pickled(tmp_path / "tied", state, config=tied), tmp_path / "out")
    assert len(found["notes"]) == 1 and all(name in found["notes"][0] for name in ("lm_head", "embed_tokens"))
    assert found["tensors"] == len(state) - 1 and "lm_head.weight" not in stored_tensors(tmp_path / "out")
    assert headscope.json("run", tmp_path / "out", "--ids", "1,2")["ids"] == [1, 2]
    # Layers that share a weight get one each: no reader would look for it elsewhere.
    names = [name for name in state if name.endswith("k_proj.weight")]
    other = next(name for name in state if name.endswith("v_proj.weight"))
    shared = {**state, other: state[names[0]]}
    headscope.text("import", pickled(tmp_path / "shared", shared, config=tied), tmp_path / "each")
    assert stored_tensors(tmp_path / "each")[other] == stored_tensors(tmp_path / "each")[names[0]]
    # A config that says they are two gets two.
    headscope.text("import", pickled(tmp_path / "untied", state), tmp_path / "both")
    stored = stored_tensors(tmp_path / "both")
    assert stored["lm_head.weight"] == stored[tiny_checkpoint.EMBEDDING]
    assert headscope.json("run", tmp_path / "both", "--ids", "1,2")["ids"] == [1, 2]


def test_views_types_and_odd_shapes(headscope, tmp_path):
    """Storage that is shared in part, transposed or repeated; every type that has a place, and those that have none."""
    base = torch.arange(24, dtype=torch.float32)
    state = {
        "front": base[:12], "back": base[8:], "transposed": base.reshape(4, 6).T, "every-second": base[::2],
        "repeated": torch.tensor([7.0]).expand(5), "scalar": torch.tensor(1.5), "empty": torch.zeros(0, 3),
        "empty-too": torch.zeros(0, 3), "f64": base.double() / 3, "f8": base.to(torch.float8_e4m3fn),
        "bf16": base.bfloat16(), "f16": base.half(), "i64": torch.tensor([2**40, -1]), "bool": torch.tensor([True, False, True]),
        "u8": torch.tensor([1, 2, 255], dtype=torch.uint8), "\u0438\u043c\u044f \"x\"\x1b": base[:1],
    }
    notes = headscope.json("import", pickled(tmp_path / "pickled", {**state, "step": 5, 7: base}), tmp_path / "out")["notes"]
    assert len(notes) == 3 and '"step", "7"' in notes[0] and "float64" in notes[1] and "float8" in notes[2]
    stored = stored_tensors(tmp_path / "out")
    assert stored.keys() == state.keys()
    names = {torch.int64: "I64", torch.bool: "BOOL", torch.uint8: "U8", torch.bfloat16: "BF16", torch.float16: "F16"}
    for name, value in state.items():
        expected = value if value.dtype in names else value.float()
        dtype, shape, content = stored[name]
        assert dtype == names.get(value.dtype, "F32") and shape == list(value.shape), name
        assert content == expected.contiguous().view(-1).view(torch.uint8).numpy().tobytes(), name


def test_a_compressed_archive_is_not_read_as_if_it_were_stored(headscope, tiny, tmp_path):
    folder = pickled(tmp_path / "pickled")
    with zipfile.ZipFile(folder / "pytorch_model.bin") as archive:
        records = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    with zipfile.ZipFile(folder / "pytorch_model.bin", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in records:
            archive.writestr(name, content)
    headscope.text("import", folder, tmp_path / "out")
    assert stored_tensors(tmp_path / "out") == stored_tensors(tiny)


def test_folder_names_that_are_not_utf_8(headscope, tmp_path):
    source, out = os.fsencode(tmp_path) + b"/\xff in", os.fsencode(tmp_path) + b"/\xff out"
    os.rename(pickled(tmp_path / "pickled"), source)
    headscope.json("import", source, out)
    assert headscope.json("run", out, "--ids", "1")["ids"] == [1]


# ---- what is refused


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}, None])
def test_a_pickle_that_would_run_something_is_refused(headscope, tmp_path, options):
    trap = Runs(f"touch '{tmp_path}/it-ran'")
    folder = pickled(tmp_path / "pickled", {**states(), "trap": trap}, **(options or {}))
    if options is None:
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(trap))
    sentence = headscope.refusal("import", folder, tmp_path / "out",
                                 words=["pytorch_model.bin", "refused", "nothing in it was run"],
                                 env={"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"})
    assert options is None or "posix.system" in sentence
    assert nothing_left(tmp_path, "pickled")
    # The trap is a real one.
    with open(folder / "pytorch_model.bin", "rb") as file:
        pickle.load(file) if options is None else torch.load(file, weights_only=False)
    assert (tmp_path / "it-ran").exists()


def change(content):
    """A maker of a folder whose checkpoint's bytes are `content(of the sound one)`."""
    def make(folder):
        file = pickled(folder) / "pytorch_model.bin"
        file.write_bytes(content(file.read_bytes()))
        return folder
    return make


def without(name):
    def make(folder):
        (sharded(folder) / name).unlink()
        return folder
    return make


def index_naming(shard):
    def make(folder):
        index = json.loads((sharded(folder) / INDEX).read_text())
        index["weight_map"][tiny_checkpoint.QUERY] = shard
        (folder / INDEX).write_text(json.dumps(index))
        return folder
    return make


def in_two_shards(folder):
    second = sharded(folder) / "pytorch_model-00002-of-00002.bin"
    torch.save({**torch.load(second), tiny_checkpoint.QUERY: torch.zeros(8, 8)}, second)
    return folder


REFUSED = {
    "missing": (lambda f: f, ["No such file", "pytorch_model.bin"]),
    "no-pickle": (lambda f: f.mkdir() or f, ["no PyTorch checkpoint", "pytorch_model.bin"]),
    "safetensors-folder": (lambda f: tiny_checkpoint.write(f), ["needs no import", "safetensors already"]),
    "cut-in-half": (change(lambda b: b[:len(b) // 2]), ["pytorch_model.bin", "damaged or cut short"]),
    "last-byte-gone": (change(lambda b: b[:-1]), ["damaged or cut short"]),
    "cut-old-format": (lambda f: cut(pickled(f, _use_new_zipfile_serialization=False)), ["pytorch_model.bin", "damaged"]),
    "empty-file": (change(lambda b: b""), ["file is empty"]),
    "html": (change(lambda b: b"<!DOCTYPE html>" + b), ["web page"]),
    "git-lfs": (change(lambda b: b"version https://git-lfs.github.com/spec/v1\n"), ["git lfs pull"]),
    "safetensors": (lambda f: tiny_checkpoint.write(f) / "model.safetensors", ["safetensors already"]),
    "config-too-large": (lambda f: os.truncate(pickled(f) / "config.json", 1 << 30) or f, ["config.json", "too large"]),
    "folder-instead": (lambda f: (f / "pytorch_model.bin").mkdir(parents=True) or f, ["not a regular file"]),
    "missing-shard": (without("pytorch_model-00002-of-00002.bin"), ["pytorch_model-00002-of-00002.bin", "No such file"]),
    "shard-elsewhere": (index_naming("../x.bin"), ["plain file name", ".bin"]),
    "in-two-shards": (in_two_shards, [tiny_checkpoint.QUERY, "two files"]),
    "no-tensors": (lambda f: pickled(f, {"lr": 1.0}), ["no tensors", "state_dict"]),
    "a-tensor-alone": (lambda f: pickled(f, torch.zeros(3)), ["no tensors"]),
    "sparse": (lambda f: pickled(f, {"a\x1b": torch.eye(3).to_sparse()}), ['"a\\x1b"', "sparse"]),
    "complex": (lambda f: pickled(f, {"a": torch.zeros(3, dtype=torch.complex64)}), ["complex64"]),
    "keeps-a-name": (lambda f: pickled(f, {"__metadata__": torch.zeros(3)}), ["__metadata__"]),
    "more-than-the-disk": (lambda f: pickled(f, {"a": torch.zeros(1).expand(1 << 50)}), ["not enough room", "free"]),
}


def cut(folder):
    file = folder / "pytorch_model.bin"
    os.truncate(file, file.stat().st_size - 100)
    return folder


@pytest.mark.parametrize("case", REFUSED)
def test_refused(headscope, tmp_path, case):
    make, words = REFUSED[case]
    source = make(tmp_path / "pickled")
    headscope.refusal("import", source, tmp_path / "out", words=words)
    assert nothing_left(tmp_path, *(["pickled"] if case != "missing" else []))


def test_out_must_be_free(headscope, tmp_path):
    folder = pickled(tmp_path / "pickled")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("old")
    headscope.refusal("import", folder, tmp_path / "out", words=["out", "not an empty folder"])
    headscope.refusal("import", folder, folder, words=["not an empty folder"])
    headscope.refusal("import", folder, tmp_path / "gone" / "out", words=["gone"])
    assert nothing_left(tmp_path / "out", "mine")
    (tmp_path / "out" / "mine").unlink()
    headscope.text("import", folder, f"{tmp_path}/out/")
    assert nothing_left(tmp_path / "out", "config.json", "model.safetensors")
    assert nothing_left(tmp_path, "pickled", "out")


def test_the_reader_names_the_command(headscope, tmp_path):
    headscope.refusal("info", pickled(tmp_path / "pickled"), words=["pytorch_model.bin", "`headscope import DIR OUT`"])
    headscope.refusal("info", sharded(tmp_path / "sharded"), words=["`headscope import DIR OUT`"])
    headscope.refusal("info", pickled(tmp_path / "old", _use_new_zipfile_serialization=False), words=["`headscope import DIR OUT`"])
    headscope.refusal("info", tmp_path / "pickled" / "pytorch_model.bin", words=["`headscope import DIR OUT`"])


# ---- the other process


def script(path, text):
    """A program in Python's place."""
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("text, words", [
    (None, ["HEADSCOPE_PYTHON", "No such file", "torch 2."]),
    ("#!/bin/sh\nexit 3\n", ["exit code 3", "no result"]),
    ("#!/bin/sh\nprintf 'first\\nlib\\033 is gone\\n' >&2; kill -SEGV $$\n", ["signal 11", "lib\\x1b is gone"]),
    ("#!/bin/sh\necho hello\n", ["JSON"]),
    ("#!/bin/sh\necho 5\n", ["not a JSON object"]),
    ("#!/nowhere\n", ["could not be started"]),
    (f"#!/bin/sh\nshift 3\nexec {sys.executable} -c \"import sys; sys.modules['torch'] = None; exec(open('/dev/fd/3').read())\" \"$@\"\n",
     ["no torch that works", "needs torch 2.", "./run.sh", "HEADSCOPE_PYTHON"]),
    (f"#!/bin/sh\nshift 3\nexec {sys.executable} -c \"import sys, types; sys.modules['torch'] = types.SimpleNamespace(__version__='1.0+x');"
     "exec(open('/dev/fd/3').read())\" \"$@\"\n", ["has torch 1.0", "needs torch 2."]),
])
def test_no_usable_python(headscope, tmp_path, text, words):
    folder = pickled(tmp_path / "pickled")
    python = str(tmp_path / "gone") if text is None else script(tmp_path / "python", text)
    headscope.refusal("import", folder, tmp_path / "out", words=words, env={"HEADSCOPE_PYTHON": python})
    assert nothing_left(tmp_path, "pickled", *([] if text is None else ["python"]))


def test_torch_alone_is_enough(headscope, tiny, tmp_path):
    """run.sh installs no numpy and no safetensors."""
    python = script(tmp_path / "python", f"#!/bin/sh\nshift 3\nexec {sys.executable} -I -c \"import sys; sys.modules.update("
                    "numpy=None, safetensors=None, transformers=None); exec(open('/dev/fd/3').read())\" \"$@\"\n")
    headscope.text("import", pickled(tmp_path / "pickled"), tmp_path / "out", env={"HEADSCOPE_PYTHON": python})
    assert stored_tensors(tmp_path / "out") == stored_tensors(tiny)


def test_there_is_no_network_and_nothing_of_ours_to_load(headscope, tmp_path):
    """What the Python part finds around it, written down by a program in Python's place."""
    python = script(tmp_path / "python", f"""#!{sys.executable}
import json, os, socket, sys
found = dict(os.environ) | {{"arguments": sys.argv[1:3]}}
try:
    socket.socket()
    found["socket"] = "made"
except OSError as error:
    found["socket"] = error.strerror
open({str(tmp_path / "found")!r}, "w").write(json.dumps(found))
""")
    headscope.refusal("import", pickled(tmp_path / "pickled"), tmp_path / "out",
                      env={"HEADSCOPE_PYTHON": python, "PYTHONPATH": "/x", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"})
    found = json.loads((tmp_path / "found").read_text())
    assert found["socket"] == "Permission denied" and found["HF_HUB_OFFLINE"] == "1" and found["arguments"] == ["-I", "-B"]
    assert "PYTHONPATH" not in found and "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD" not in found


def test_a_module_in_the_working_folder_is_not_taken(headscope, tmp_path):
    (tmp_path / "torch.py").write_text(f"open({str(tmp_path / 'it-ran')!r}, 'w')")
    headscope.text("import", pickled(tmp_path / "pickled"), tmp_path / "out", cwd=tmp_path)
    assert not (tmp_path / "it-ran").exists()


def test_closed_standard_streams(headscope, tmp_path):
    folder = pickled(tmp_path / "pickled")
    done = subprocess.run(["sh", "-c", '"$0" "$@" <&- 2>&-', *headscope.command("import", folder, tmp_path / "out")],
                          stdout=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == 0 and (tmp_path / "out" / "model.safetensors").exists()


def children_of(process):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


def name_of(process):
    """Of a program that runs; empty when it has ended."""
    found = subprocess.run(["ps", "-o", "stat=,comm=", "-p", str(process)], capture_output=True, text=True, check=False)
    state, _, name = found.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else name.strip()


def require_soon(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def long_import(folder):
    """A small file whose tensors are large: they repeat one number."""
    return pickled(folder, {f"tensor.{i}": torch.zeros(1).expand(10_000_000 + i) for i in range(100)})


def has_begun(folder):
    return any(file.stat().st_size > 1_000_000 for file in folder.glob("out.tmp-*/model.safetensors"))


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_nothing(headscope, tmp_path, number, code):
    long_import(tmp_path / "pickled")
    result = interrupt(headscope, number, ["import", tmp_path / "pickled", tmp_path / "out"], 0, lambda: has_begun(tmp_path))
    require_stopped(result, code)
    assert result[-1] < 5  # the Python part is not waited for
    assert nothing_left(tmp_path, "pickled")


def test_the_python_part_ends_with_us(headscope, tmp_path):
    """Killed, we can clean up nothing; but what we started does not go on."""
    python = script(tmp_path / "python", "#!/bin/sh\nexec sleep 60\n")
    process = subprocess.Popen(headscope.command("import", pickled(tmp_path / "pickled"), tmp_path / "out"),
                               stderr=subprocess.DEVNULL, env={**os.environ, "HEADSCOPE_PYTHON": python})
    try:
        require_soon(lambda: [name_of(child) for child in children_of(process.pid)] == ["sleep"])
        (child,) = children_of(process.pid)
    finally:
        process.kill()
        process.wait()
    require_soon(lambda: name_of(child) != "sleep")
    assert not (tmp_path / "out").exists()
