"""The Python part of `headscope import`: PyTorch's pickle checkpoints become one safetensors file.

The program holds this text and runs it by itself, in a process of its own:

    python -I -B /dev/fd/3 TORCH_VERSION OUT_FILE tied|untied FILE...

It answers on standard output, one JSON object a line: {"stage", "fraction"} while it works, and at the end {"notes"} or
{"error"}, a sentence for the user. It needs torch and nothing else: no numpy, no safetensors, no transformers.
"""

import ctypes
import errno
import json
import os
import pickle
import re
import shutil
import struct
import sys
import zipfile

WRAPPERS = ("state_dict", "model", "module")
BLOCK = 64 << 20  # bytes written at once


class Refusal(Exception):
    """One sentence for the user."""


def shown(text, limit=120):
    """Untrusted text, fit for a terminal: ASCII only, in double quotes."""
    plain = str(text).encode("unicode_escape").decode().replace('"', '\\"')
    return f'"{plain if len(plain) <= limit else plain[:limit] + "..."}"'


def listed(items, limit=5):
    items = list(items)
    return ", ".join(items[:limit]) + (f" and {len(items) - limit} more" if len(items) > limit else "")


class Answers:
    """The real standard output, kept for answers: whatever libraries print goes to standard error."""

    def __init__(self):
        self._stream = os.fdopen(os.dup(1), "w", encoding="ascii")
        os.dup2(2, 1)

    def send(self, **values):
        print(json.dumps(values), file=self._stream, flush=True)


# ---- reading


def import_torch(version):
    global torch
    try:
        import torch
        found = torch.__version__.split("+")[0]
    except Exception:  # a broken torch fails in many ways
        found = None
    if found != version:
        raise Refusal(f"{shown(sys.executable)} has {'no torch that works' if found is None else 'torch ' + found}, and import "
                      f"needs torch {version}: run ./run.sh, which installs it, or set HEADSCOPE_PYTHON to a Python that "
                      "has it")


def can_be_mapped(file):
    """Whether tensors can stay in the file until they are written. What a zip compresses cannot; torch does not check."""
    if file.read(4) != b"PK\3\4":
        return False
    with zipfile.ZipFile(file) as archive:
        return all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())


def why_not_loaded(error, name):
    text = str(error)
    asked = re.search(r"GLOBAL (\S+) (?:was not an allowed|whose module)", text)
    if asked:
        return (f"{name} asks for {shown(asked[1])} when it is read, which is more than weights, so it is "
                "refused and nothing in it was run; where it comes from, save the state_dict alone")
    if "TorchScript" in text:
        return f"{name} is a TorchScript program, not a checkpoint; save its state_dict where it comes from"
    if isinstance(error, MemoryError) or "allocate memory" in text:
        return f"there is not enough memory to read {name}"
    if isinstance(error, pickle.UnpicklingError):
        return f"{name} is refused by weights-only loading: it holds more than weights, or is damaged; nothing in it was run"
    return f"{name} is damaged or cut short ({type(error).__name__}); download it again"


def load(path):
    try:
        with open(path, "rb") as file:
            # By its descriptor: torch takes no path that is not UTF-8.
            return torch.load(f"/proc/self/fd/{file.fileno()}", map_location="cpu", weights_only=True,
                              mmap=can_be_mapped(file))
    except Exception as error:  # torch answers damage with nearly any type
        raise Refusal(why_not_loaded(error, shown(os.path.basename(path)))) from None


def unwrapped(loaded, name, notes):
    """The dict that holds the tensors: {"state_dict": {...}} and the like are opened."""
    while isinstance(loaded, dict) and not any(isinstance(value, torch.Tensor) for value in loaded.values()):
        key = next((key for key in WRAPPERS if isinstance(loaded.get(key), dict)), None)
        if key is None:
            break
        others = [shown(other) for other in loaded if other != key]
        if others:
            notes.append(f"{name}: the tensors are those of {shown(key)}; left out: {listed(others)}")
        loaded = loaded.pop(key)
    if not isinstance(loaded, dict) or not any(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise Refusal(f"{name} holds no tensors by name, at the top or in {', '.join(WRAPPERS)}; expected a state_dict")
    return loaded


def tensors_of(path, notes):
    name = shown(os.path.basename(path))
    loaded = unwrapped(load(path), name, notes)
    tensors = {key: value for key, value in loaded.items() if isinstance(key, str) and isinstance(value, torch.Tensor)}
    others = [shown(key) for key in loaded if key not in tensors]
    if others:
        notes.append(f"{name}: what is no tensor with a name is left out: {listed(others)}")
    return tensors


def read_all(paths, answers, notes):
    """{name: tensor} of all files, in their order."""
    found, file_of = {}, {}
    for number, path in enumerate(paths):
        answers.send(stage="reading", fraction=number / len(paths))
        for name, tensor in tensors_of(path, notes).items():
            if name in found:
                raise Refusal(f"tensor {shown(name)} is in two files: {shown(os.path.basename(file_of[name]))} and "
                              f"{shown(os.path.basename(path))}")
            require_plain(name, tensor)
            found[name], file_of[name] = tensor.detach(), path
    return found


# ---- what is written


def require_plain(name, tensor):
    try:
        name.encode()
    except UnicodeEncodeError:
        raise Refusal(f"the tensor name {shown(name)} is not text") from None
    if name == "__metadata__":
        raise Refusal("a tensor is called \"__metadata__\", a name that safetensors files keep for themselves")
    plain = type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.layout == torch.strided
    if not plain or tensor.is_quantized or tensor.is_nested or tensor.device.type != "cpu" or tensor.is_complex():
        raise Refusal(f"tensor {shown(name)} is sparse, quantised, complex or otherwise not plain numbers ({tensor.dtype}, "
                      f"{tensor.layout}), which cannot be imported")


def safetensors_types():
    return {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.int32: "I32",
            torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL", torch.uint16: "U16",
            torch.uint32: "U32", torch.uint64: "U64"}


def written_types(tensors, notes):
    """{name: dtype in the file}: other floating types become F32."""
    types, converted = {}, {}
    for name, tensor in tensors.items():
        types[name] = torch.float32 if tensor.is_floating_point() and tensor.dtype not in safetensors_types() else tensor.dtype
        if types[name] not in safetensors_types():
            raise Refusal(f"tensor {shown(name)} has the type {tensor.dtype}, which cannot be imported")
        if types[name] != tensor.dtype:
            converted.setdefault(str(tensor.dtype).removeprefix("torch."), []).append(shown(name))
    for dtype, names in converted.items():
        notes.append(f"written as F32 instead of {dtype}: {listed(names)}")
    return types


HEADS = ("lm_head.weight", "embed_out.weight")


def without_copies(tensors, notes):
    """An output head that is the embedding is not written again; whatever else is one tensor under two names becomes two,
    because a reader knows this pair alone."""
    def place(tensor):
        return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype

    others = {place(tensor): name for name, tensor in tensors.items() if name not in HEADS and tensor.numel() > 0}
    tied = {name: others[place(tensors[name])] for name in HEADS if name in tensors and place(tensors[name]) in others}
    if tied:
        notes.append("tied weights are written once: " + listed([f"{shown(a)} as {shown(b)}" for a, b in tied.items()]))
    return {name: tensor for name, tensor in tensors.items() if name not in tied}


def header_of(tensors, types, order):
    """(the file up to its data, bytes of the data)"""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name in order:
        size = tensors[name].numel() * types[name].itemsize
        header[name] = {"dtype": safetensors_types()[types[name]], "shape": list(tensors[name].shape),
                        "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, end


def write_tensor(file, tensor, dtype):
    """Its bytes, without numpy. Yields what each block wrote."""
    values = tensor.to(dtype).contiguous()
    size = values.numel() * values.element_size()
    if size == 0:
        return
    bytes_of = memoryview((ctypes.c_char * size).from_address(values.data_ptr())).cast("B")
    for begin in range(0, size, BLOCK):
        yield file.write(bytes_of[begin:begin + BLOCK])


def write_all(tensors, types, path, answers):
    # Large elements first: every tensor then begins at a multiple of its element's size.
    order = sorted(tensors, key=lambda name: -types[name].itemsize)
    beginning, total = header_of(tensors, types, order)
    free, done = shutil.disk_usage(os.path.dirname(path)).free, 0
    if len(beginning) + total > free:
        raise Refusal(f"there is not enough room: the tensors need {len(beginning) + total:,} bytes, and {free:,} are free")
    with open(path, "xb") as file:
        file.write(beginning)
        for name in order:
            for written in write_tensor(file, tensors[name], types[name]):
                done += written
                answers.send(stage="writing", fraction=done / total)
        file.flush()
        os.fsync(file.fileno())


def convert(arguments, answers):
    version, out, ties, *paths = arguments
    notes = []
    import_torch(version)
    tensors = read_all(paths, answers, notes)
    if ties == "tied":
        tensors = without_copies(tensors, notes)
    write_all(tensors, written_types(tensors, notes), out, answers)
    return notes


def main():
    answers = Answers()
    try:
        answers.send(notes=convert(sys.argv[1:], answers))
    except Refusal as refusal:
        answers.send(error=str(refusal))
    except OSError as error:
        answers.send(error=f"the tensors could not be written: {os.strerror(error.errno or errno.EIO)}")
    except Exception as error:
        memory = isinstance(error, MemoryError) or "allocate memory" in str(error)
        answers.send(error="there is not enough memory to write the tensors" if memory
                     else f"the tensors could not be written: {type(error).__name__}, {shown(error)}")


main()
