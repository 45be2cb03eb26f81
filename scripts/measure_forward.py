#!/usr/bin/env python3
"""Measures a forward of 2,048 tokens on a random model of GPT-2-small's shape, beside transformers' SDPA forward.

    python scripts/measure_forward.py --headscope ./headscope

Both are measured in turn in one run, with the same number of threads. HeadScope runs in a fresh process each time and
reports the seconds of its forward itself, which include all row statistics and thumbnails of every head; transformers
stays loaded and warm, and computes the last position's logits only (logits_to_keep=1, inference mode, f32). Peak
memory is that of HeadScope's whole process. Writes docs/measurements/forward-2048.json and .md.
"""

import argparse
import datetime
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LARGEST_RATIO, LARGEST_MEMORY, SLOWEST_INFO = 1.5, 2_500_000_000, 0.6


def work_as_transformers(model_folder, threads):
    """A process of its own: one line of token ids in, the seconds of one forward out."""
    import torch
    import transformers

    torch.set_num_threads(threads)
    model = transformers.AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32,
                                                              attn_implementation="sdpa").eval()
    print(json.dumps({"torch": torch.__version__, "transformers": transformers.__version__}), flush=True)
    for line in sys.stdin:
        ids = torch.tensor([json.loads(line)])
        with torch.inference_mode():
            begin = time.perf_counter()
            model(ids, use_cache=False, logits_to_keep=1)
            print(time.perf_counter() - begin, flush=True)


class Transformers:
    def __init__(self, model, threads):
        self.process = subprocess.Popen([sys.executable, __file__, "--worker", str(model), "--threads", str(threads)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.versions = json.loads(self.process.stdout.readline())

    def forward(self, ids):
        self.process.stdin.write(json.dumps(ids) + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def run_process(command):
    """(seconds, peak resident bytes, standard output) of a child. This process stays small on purpose: until the
    child becomes the program, the system counts our memory as its own."""
    with tempfile.TemporaryFile() as out:
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stdin=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"exit code {process.returncode} of {' '.join(command)[:200]}")
        out.seek(0)
        return seconds, usage.ru_maxrss * 1024, out.read()


def spread(values):
    return {"min": min(values), "median": statistics.median(values), "all": values}


def measure(options, model, threads):
    ids = [random.Random(1).randrange(50257) for _ in range(options.tokens)]
    run = [options.headscope, "run", str(model), "--json", "--quiet", "--top", "1", "--threads", str(threads), "--ids"]
    other = Transformers(model, threads)
    forwards, baseline, processes, startups, peaks, infos = [], [], [], [], [], []
    load = os.getloadavg()[0]
    for number in range(-1, options.rounds):  # the first round only warms up
        startup, _, _ = run_process([*run, str(ids[0])])
        seconds, peak, out = run_process([*run, ",".join(map(str, ids))])
        reference = other.forward(ids)
        info, _, _ = run_process([options.headscope, "info", str(model), "--json", "--quiet"])
        if number < 0:
            continue
        report = json.loads(out)
        forwards.append(report["seconds"]["prompt"])
        baseline.append(reference)
        processes.append(seconds)
        startups.append(startup)
        peaks.append(peak)
        infos.append(info)
        print(f"round {number + 1}: headscope {forwards[-1]:.3f} s, transformers {reference:.3f} s, peak "
              f"{peak / 1e9:.2f} GB, info {info:.3f} s", file=sys.stderr)
    other.close()
    return {
        "tokens": options.tokens, "rounds": options.rounds, "threads": threads,
        "headscope_forward_seconds": spread(forwards), "transformers_forward_seconds": spread(baseline),
        "ratio_of_minimums": min(forwards) / min(baseline), "headscope_process_seconds": spread(processes),
        "headscope_process_seconds_of_one_token": spread(startups), "headscope_peak_bytes": max(peaks),
        "info_seconds": spread(infos), "kernel": report["kernel"], "load_average_at_start": load,
        "versions": {"headscope": report["version"], **other.versions},
    }


def describe_machine():
    with open("/proc/cpuinfo") as file:
        models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return {"cpu": models[0] if models else "unknown", "cores": os.cpu_count()}


def describe_commit():
    def git(*arguments):
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "app", "core", "kernels")
    return git("rev-parse", "--short", "HEAD") + (" with changes" if changed else "")


def as_markdown(result):
    ours, theirs = result["headscope_forward_seconds"], result["transformers_forward_seconds"]
    machine, versions, info = result["machine"], result["versions"], result["info_seconds"]
    return f"""# A forward of {result['tokens']:,} tokens, GPT-2-small's shape

Made by `scripts/measure_forward.py`: random weights, f32, {result['threads']} threads for both, {result['rounds']} rounds in
turn. HeadScope's forward includes the statistics and thumbnails of every head and starts in a fresh process;
transformers {versions['transformers']} (torch {versions['torch']}) runs SDPA, warm, and computes the last position's logits only.

{machine['cpu']}, {machine['cores']} cores, load average {result['load_average_at_start']:.1f} at the start; {result['date']},
commit {result['commit']}, HeadScope {versions['headscope']}, kernel {result['kernel']}.

| | minimum | median | wanted |
| --- | --- | --- | --- |
| HeadScope, forward | {ours['min']:.3f} s | {ours['median']:.3f} s | |
| transformers SDPA, forward | {theirs['min']:.3f} s | {theirs['median']:.3f} s | |
| ratio | {result['ratio_of_minimums']:.2f} | {ours['median'] / theirs['median']:.2f} | at most {LARGEST_RATIO} |
| HeadScope, whole process | {result['headscope_process_seconds']['min']:.2f} s | {result['headscope_process_seconds']['median']:.2f} s | |
| HeadScope, whole process, 1 token | {result['headscope_process_seconds_of_one_token']['min']:.2f} s | {result['headscope_process_seconds_of_one_token']['median']:.2f} s | |
| HeadScope, peak memory | | {result['headscope_peak_bytes'] / 1e9:.2f} GB (largest) | below {LARGEST_MEMORY / 1e9} GB |
| `info --json` on the same folder | {info['min']:.3f} s | {info['median']:.3f} s | below {SLOWEST_INFO} s |
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--headscope", default=str(ROOT / "headscope"))
    parser.add_argument("--model", type=pathlib.Path, help="use this model instead of making one")
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "measurements")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return work_as_transformers(options.worker, options.threads)
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or pathlib.Path(folder) / "model"
        if not options.model:
            subprocess.run([sys.executable, str(ROOT / "tests/support/random_models.py"), "gpt2-small", str(model),
                            "--positions", str(options.tokens)], check=True, stdout=subprocess.DEVNULL)
        result = measure(options, model, options.threads)
    result |= {"machine": describe_machine(), "date": datetime.date.today().isoformat(), "commit": describe_commit()}
    options.out.mkdir(parents=True, exist_ok=True)
    name = options.out / f"forward-{options.tokens}"
    name.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    name.with_suffix(".md").write_text(as_markdown(result))
    print(as_markdown(result))
    met = (result["ratio_of_minimums"] <= LARGEST_RATIO and result["headscope_peak_bytes"] < LARGEST_MEMORY
           and result["info_seconds"]["min"] < SLOWEST_INFO)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
