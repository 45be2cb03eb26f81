#!/usr/bin/env python3
"""Measures loading and speed of real sizes: Pythia-410M's and Llama-3.2-1B's shapes, random bf16 weights, f32 and bf16.

    python scripts/measure_load.py --headscope ./headscope

The checkpoints are written to a temporary folder (3.3 GB) and are in the page cache when they are loaded. Loading is
timed by HeadScope itself; memory is the whole process's (VmRSS, and VmHWM as its peak), nothing subtracted, while it
waits for a prompt behind the load and at the end of a run. Prefill and decode are timed in turn, f32 and bf16, in fresh
processes; the minimum and the median are kept. A stop is a SIGINT at several places of the load, timed until the
process is gone. Writes docs/measurements/real-sizes.json and .md.
"""

import argparse
import datetime
import json
import math
import os
import pathlib
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import random_checkpoint
from loading import memory_after_loading, wait_until_read
from measure_forward import describe_commit, describe_machine, run_process

ROOT = pathlib.Path(__file__).resolve().parent.parent
DTYPES = ("f32", "bf16")
LARGEST_SHARE = 1.15


def run(options, model, dtype, ids, generate=0):
    """What a run reports, and its peak bytes."""
    _, peak, out = run_process([options.headscope, "run", str(model), "--json", "--quiet", "--top", "1", "--dtype", dtype,
                                "--threads", str(options.threads), "--ids", ",".join(map(str, ids)), "--generate",
                                str(generate), "--ignore-eos"])
    report = json.loads(out)
    assert report["dtype"] == dtype
    return report, peak


def stop_seconds(options, model, dtype, part, size):
    """From SIGINT, sent when a part of the file is read, until the process is gone."""
    process = subprocess.Popen([options.headscope, "run", str(model), "--ids", "1", "--dtype", dtype],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until_read(process, int(part * size))
    begin = time.perf_counter()
    process.send_signal(signal.SIGINT)
    code = process.wait()
    seconds = time.perf_counter() - begin
    if code != 130:
        sys.exit(f"exit code {code} after a SIGINT at {part} of the file")
    return seconds


def measure_model(options, name, folder):
    # In a process of its own: until a child becomes the program, the system counts this one's peak memory as the child's.
    subprocess.run([sys.executable, str(ROOT / "scripts/random_checkpoint.py"), name, str(folder)], check=True,
                   stdout=subprocess.DEVNULL)
    size = sum(2 * math.prod(shape) for shape in random_checkpoint.shapes_of(random_checkpoint.CONFIGS[name]).values())
    numbers_of = random.Random(1)
    ids = [numbers_of.randrange(50000) for _ in range(options.tokens)]
    one = {dtype: {"weights": size * (2 if dtype == "f32" else 1), "load": [], "prefill": [], "decode": [], "peak": 0}
           for dtype in DTYPES}
    for number in range(-1, options.rounds):  # the first round only warms up
        for dtype, found in one.items():
            prompt, peak = run(options, folder, dtype, ids)
            generated, _ = run(options, folder, dtype, ids[:1], options.generate)
            if number < 0:
                continue
            found["load"] += [prompt["seconds"]["load"], generated["seconds"]["load"]]
            found["prefill"].append(options.tokens / prompt["seconds"]["prompt"])
            found["decode"].append(options.generate / generated["seconds"]["generate"])
            found["peak"] = max(found["peak"], peak)
            print(f"{name} {dtype}: load {found['load'][-1]:.2f} s, prefill {found['prefill'][-1]:.0f}, decode "
                  f"{found['decode'][-1]:.1f} tokens/s", file=sys.stderr)
    for dtype, found in one.items():
        command = [options.headscope, "run", str(folder), "--dtype", dtype]
        found["resident"], found["load_peak"] = memory_after_loading(command, size)
        found["stop"] = [stop_seconds(options, folder, dtype, part, size) for part in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9)]
    return one


def empty_process(options):
    """Peak bytes of the program with nothing loaded."""
    return run_process([options.headscope, "info", "--families"])[1]


def as_markdown(result):
    head = f"""# Real sizes: load, memory, speed

Made by `scripts/measure_load.py`: random bf16 checkpoints in the shapes of Pythia-410M and Llama-3.2-1B, loaded as f32
and as bf16, threads: {result['threads']}, {result['rounds']} rounds in turn, each in a fresh process. The files are in the page cache.
Memory is all of the process, nothing subtracted; the program with nothing loaded takes {result['empty_bytes'] / 1e6:.0f} MB, of which about
55 MB are LibTorch's list of operators and most of the rest pages of its file. Loading gives pages that only its start
needed back (about 40 MB), without which Pythia-410M in bf16 would be at weights + 16 %.

{result['machine']['cpu']}, {result['machine']['cores']} cores, shared with other work (load average {result['load_average_at_start']:.1f} at the start): speeds and
load times are far below what an idle one gives, and f32 against bf16 counts more than either. {result['date']}, commit {result['commit']},
HeadScope {result['version']}.

| | weights | load, best / median | resident after loading | peak of loading | peak of a run of {result['tokens']} tokens |
| --- | --- | --- | --- | --- | --- |
"""
    rows = []
    for name, one in result["models"].items():
        for dtype, found in one.items():
            share = [100 * (found[key] / found["weights"] - 1) for key in ("resident", "load_peak", "peak")]
            rows.append(f"| {name}, {dtype} | {found['weights'] / 1e6:,.0f} MB | {min(found['load']):.2f} / "
                        f"{statistics.median(found['load']):.2f} s | {found['resident'] / 1e6:,.0f} MB (+{share[0]:.1f} %) | "
                        f"+{share[1]:.1f} % | +{share[2]:.1f} % |\n")
    rows.append(f"""
Wanted: resident after loading at most weights + 15 %.

| | prefill of {result['tokens']}, best / median | decode, best / median | SIGINT while loading: until the process is gone |
| --- | --- | --- | --- |
""")
    for name, one in result["models"].items():
        for dtype, found in one.items():
            rows.append(f"| {name}, {dtype} | {max(found['prefill']):.0f} / {statistics.median(found['prefill']):.0f} tokens/s | "
                        f"{max(found['decode']):.1f} / {statistics.median(found['decode']):.1f} tokens/s | "
                        f"{statistics.median(found['stop']):.2f} s, at most {max(found['stop']):.2f} s |\n")
        ratio = [max(one["bf16"][key]) / max(one["f32"][key]) for key in ("prefill", "decode")]
        rows.append(f"| {name}, bf16 to f32 | {ratio[0]:.2f} | {ratio[1]:.2f} | |\n")
    return head + "".join(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--headscope", default=str(ROOT / "headscope"))
    parser.add_argument("--models", nargs="+", default=list(random_checkpoint.CONFIGS), choices=random_checkpoint.CONFIGS)
    parser.add_argument("--tokens", type=int, default=512, help="of the prompt")
    parser.add_argument("--generate", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "measurements")
    options = parser.parse_args()
    result = {"tokens": options.tokens, "rounds": options.rounds, "threads": options.threads,
              "load_average_at_start": os.getloadavg()[0], "empty_bytes": empty_process(options), "models": {}}
    for name in options.models:
        with tempfile.TemporaryDirectory() as folder:
            result["models"][name] = measure_model(options, name, pathlib.Path(folder) / name)
    version = subprocess.run([options.headscope, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
    result |= {"machine": describe_machine(), "date": datetime.date.today().isoformat(), "commit": describe_commit(),
               "version": version}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "real-sizes.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "real-sizes.md").write_text(as_markdown(result))
    print(as_markdown(result))
    met = all(found["resident"] <= LARGEST_SHARE * found["weights"]
              for one in result["models"].values() for found in one.values())
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
