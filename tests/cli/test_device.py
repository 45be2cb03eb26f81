"""--device: the CUDA library is looked for, opened, and each reason why it cannot be used has its sentence. A library
that stands in for it (tests/unit/cuda_stand_in.cpp) finds whatever HEADSCOPE_STAND_IN says."""

import ctypes
import json
import re
import shutil
import subprocess

import pytest

FILE = "libheadscope_cuda.so"
NOTE = "note: running on the CPU: "


@pytest.fixture
def stand_in(request):
    path = request.config.getoption("--cuda-stand-in")
    if path is None:
        pytest.skip("--cuda-stand-in is not given")
    return path


@pytest.fixture
def library(request):
    path = request.config.getoption("--cuda-library")
    if path is None:
        pytest.skip("this build has no CUDA library")
    return path


def has_driver():
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


@pytest.fixture
def no_driver():
    if has_driver():
        pytest.skip("this machine has an NVIDIA driver")


def finding(stand_in, state):
    return {"HEADSCOPE_CUDA_LIBRARY": stand_in, "HEADSCOPE_STAND_IN": state}


REASONS = {
    "no_driver": "there is no NVIDIA driver on this machine",
    "driver_too_old": "it knows CUDA 12.4, and CUDA 13.0 is needed",
    "no_device": "finds no GPU",
    "device_too_old": "compute capability 7.5, and 8.0 is needed",
    "failed": "the NVIDIA driver does not work: \"cudaErrorSystemDriverMismatch",
    "usable": "the CUDA library has no attention kernels",
}


@pytest.mark.parametrize("state", REASONS)
def test_cuda_that_cannot_be_had_is_refused_with_the_reason(headscope, tiny, stand_in, state):
    headscope.refusal("info", tiny, "--device", "cuda", env=finding(stand_in, state),
                      words=["--device cuda is not available: ", REASONS[state], "; use --device cpu"])


@pytest.mark.parametrize("command", ["run", "verify", "bench"])
def test_every_command_refuses(headscope, tiny, stand_in, command):
    arguments = [tiny, "--ids", "1"] if command == "run" else []
    headscope.refusal(command, *arguments, "--device", "cuda", env=finding(stand_in, "no_device"),
                      words=[REASONS["no_device"]])


@pytest.mark.parametrize("state", REASONS)
def test_auto_takes_the_cpu_and_says_why(headscope, tiny, stand_in, state):
    done = headscope.run("run", tiny, "--ids", "1", "--json", env=finding(stand_in, state))
    assert done.returncode == 0 and b'"device": "cpu"' in done.stdout
    notes = [line for line in done.stderr.decode().splitlines() if line.startswith(NOTE)]
    if state == "no_driver":  # nobody expects a GPU there
        assert notes == []
    else:
        assert len(notes) == 1 and REASONS[state] in notes[0]


@pytest.mark.parametrize("arguments", [["run", "--ids", "1", "--quiet"], ["run", "--ids", "1", "--device", "cpu"], ["info"]])
def test_nothing_is_said_to_who_did_not_ask(headscope, tiny, stand_in, arguments):
    done = headscope.run(arguments[0], tiny, *arguments[1:], env=finding(stand_in, "usable"))
    assert done.returncode == 0 and NOTE.encode() not in done.stderr


def test_without_a_driver_nothing_is_looked_for(headscope, tiny, no_driver):
    headscope.refusal("run", tiny, "--ids", "1", "--device", "cuda", words=[REASONS["no_driver"]])
    assert headscope.run("run", tiny, "--ids", "1", "--quiet").returncode == 0


@pytest.fixture
def installed(headscope, stand_in, tmp_path):
    """The program alone in bin/, on a machine whose driver is a library of that name."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "driver").mkdir()
    shutil.copy(headscope.path, tmp_path / "bin")
    shutil.copy(stand_in, tmp_path / "driver" / "libcuda.so.1")
    return type(headscope)(tmp_path / "bin" / "headscope"), {"LD_LIBRARY_PATH": str(tmp_path / "driver"),
                                                             "HEADSCOPE_STAND_IN": "usable"}


def test_library_is_found_beside_the_program_or_in_lib(installed, tiny, stand_in, tmp_path):
    program, env = installed
    cuda = ["info", tiny, "--device", "cuda"]
    sentence = program.refusal(*cuda, env=env, words=[f"{FILE} is not in ", "HEADSCOPE_CUDA_LIBRARY", "use --device cpu"])
    for folder in (tmp_path / "bin", tmp_path / "lib", tmp_path.parent / "lib"):
        assert f'"{folder}"' in sentence
    (tmp_path / "lib").mkdir()
    for folder in ("lib", "bin"):
        shutil.copy(stand_in, tmp_path / folder / FILE)
        program.refusal(*cuda, env=env, words=[REASONS["usable"]])
        (tmp_path / folder / FILE).write_text("not a library")
        program.refusal(*cuda, env=env, words=["could not be loaded", f"/{folder}/{FILE}"])
        (tmp_path / folder / FILE).unlink()


def test_damaged_library(headscope, tiny, library, tmp_path):
    """Cut short anywhere, it is refused; the program does not die of it."""
    whole = open(library, "rb").read()
    path = tmp_path / FILE
    for size, reason in ((0, "could not be loaded"), (4096, "is cut short"), (len(whole) // 2, "is cut short")):
        path.write_bytes(whole[:size])
        headscope.refusal("info", tiny, "--device", "cuda", env={"HEADSCOPE_CUDA_LIBRARY": str(path)},
                          words=[reason, FILE])


def test_library_that_was_built(headscope, tiny, library):
    """It is loaded whole, LibTorch's part included, and asked."""
    sentence = headscope.refusal("info", tiny, "--device", "cuda", env={"HEADSCOPE_CUDA_LIBRARY": library},
                                 words=["--device cuda is not available: "])
    assert any(reason in sentence for reason in REASONS.values()) or "NVIDIA" in sentence
    if not has_driver():
        assert REASONS["no_driver"] in sentence


def test_driver_that_is_none(installed, tiny, library):
    """A file of the driver's name without its functions: an error, not the end of the process."""
    if has_driver():
        pytest.skip("this machine has an NVIDIA driver")
    program, env = installed
    program.refusal("info", tiny, "--device", "cuda", env={**env, "HEADSCOPE_CUDA_LIBRARY": library}, words=["driver"])


def test_device(headscope, tiny, library):
    """A GPU gives what the CPU gives."""
    arguments = ["run", tiny, "--ids", "1,2,3,4,5,6,7", "--generate", "8", "--ignore-eos", "--top", "3", "--json"]
    there = headscope.run(*arguments, "--device", "cuda")
    if there.returncode == 2 and b"is not available" in there.stderr:
        pytest.skip(there.stderr.decode().strip())
    assert there.returncode == 0, there.stderr
    found, expected = json.loads(there.stdout), json.loads(headscope.run(*arguments, "--device", "cpu").stdout)
    assert found["device"] == "cuda" and found["kernel"].startswith("cuda")
    for key in ("ids", "kv_bytes_used", "kv_bytes_allocated"):
        assert found[key] == expected[key]
    for one, other in zip(found["top"], expected["top"]):
        assert one["id"] == other["id"] and abs(one["probability"] - other["probability"]) < 1e-4


def test_program_itself_needs_nothing_of_cuda(headscope):
    tables = subprocess.run(["readelf", "-d", headscope.path], capture_output=True, text=True, check=True).stdout
    needed = re.findall(r"\(NEEDED\)\s+Shared library: \[(.*)\]", tables)
    assert "libtorch_cpu.so" in needed
    assert [name for name in needed if re.search("cuda|cublas|cudnn|nccl", name)] == []


def test_library_gives_one_name_away(library):
    """It is opened RTLD_GLOBAL: a CUDA runtime of its own that others could see would stand in for LibTorch's."""
    table = subprocess.run(["readelf", "--dyn-syms", "-W", library], capture_output=True, text=True, check=True).stdout
    defined = re.findall(r"(?:GLOBAL|WEAK|UNIQUE)\s+\w+\s+(?!UND)\S+\s+(\S+)", table)
    assert defined == ["headscope_cuda_library"]
