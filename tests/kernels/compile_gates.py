"""What ptxas told of the CUDA kernels while they were built: prints each kernel's registers and shared memory, and fails
for one that keeps anything in local memory. Also fails for a kernel in the sources without __launch_bounds__, which
states its register cap.

    compile_gates.py --sources FOLDER OBJECT...     each OBJECT's log is OBJECT.ptxas (cmake/keep_ptxas_log.sh)"""

import argparse
import pathlib
import re
import subprocess
import sys

FUNCTION = re.compile(
    r"Function properties for (?P<name>\S+)\n"
    r" +(?P<frame>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads\n"
    r"(?:ptxas info +: Used (?P<registers>\d+) registers(?P<rest>[^\n]*))?")
# A kernel's text of the source, from __global__ to its parameters.
KERNEL = re.compile(r"^(?![ \t]*(?:#|//)).*\b__global__\b(?P<declaration>[^;{]*)", re.MULTILINE)


def functions(log):
    """One dict for each kernel, and each device function that was not inlined, of each architecture."""
    for part in re.split(r"(?=ptxas info +: Compiling entry function )", log):
        target = re.search(r"for '(\w+)'", part.partition("\n")[0])
        for found in FUNCTION.finditer(part):
            shared = re.search(r"(\d+) bytes smem", found["rest"] or "")
            yield {"name": found["name"], "target": target[1] if target else "?", "registers": found["registers"],
                   "shared": int(shared[1]) if shared else 0,
                   "local": {key: int(found[key]) for key in ("frame", "stores", "loads")}}


def readable(names):
    """The names as the sources have them, where c++filt is at hand."""
    try:
        done = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True)
    except OSError:
        return names
    return [re.sub(r"^void |\(anonymous namespace\)::", "", line).partition("(")[0] for line in done.stdout.splitlines()]


def without_launch_bounds(folder):
    for path in sorted(folder.glob("*")):
        if path.suffix not in (".cu", ".cuh", ".h"):
            continue
        text = path.read_text(encoding="utf-8")
        for found in KERNEL.finditer(text):
            if "__launch_bounds__" not in found["declaration"]:
                yield f"{path.name}:{text.count(chr(10), 0, found.start()) + 1}: a kernel without __launch_bounds__"


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--sources", type=pathlib.Path, required=True)
    options.add_argument("objects", nargs="+", type=pathlib.Path)
    options = options.parse_args()
    problems = list(without_launch_bounds(options.sources))
    found = []
    for path in options.objects:
        log = path.with_name(path.name + ".ptxas")
        if log.exists():
            found += functions(log.read_text(encoding="utf-8"))
        else:
            problems.append(f"there is no {log}: build again")
    for function, name in zip(found, readable([f["name"] for f in found])):
        print(f"{function['registers'] or '-':>4} registers {function['shared']:>6} B shared  {function['target']}  {name}")
        if any(function["local"].values()):
            local = function["local"]
            problems.append(f"{name} ({function['target']}) keeps data in local memory: stack frame {local['frame']} B, "
                            f"spill stores {local['stores']} B, spill loads {local['loads']} B")
    for problem in problems:
        print(f"FAILED: {problem}")
    if not found and not problems:
        print("[  SKIPPED ] the CUDA library has no kernels")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
