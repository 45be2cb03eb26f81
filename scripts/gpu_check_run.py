"""The steps of `gpu_check.sh run`, on the machine with the GPU. One JSON file says what came of them; it is written
anew after every step, so that an end in the middle loses one step."""

import datetime
import glob
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

PASSED, FAILED, UNAVAILABLE, TIMED_OUT = "passed", "failed", "UNAVAILABLE", "timed out"
CALL_LIMIT = 570  # seconds of one call of the script, so that it stays below 10 minutes
SKIPPED = 77      # test_gpu's exit code without a GPU
FAMILIES = {"attention": 130, "decode": 130, "tile": 80, "statistics": 60, "divergence": 60, "model": 100}
# At most 20 tiny cases: each memory access is checked.
SANITIZED = "*Determinism*/cuda*:*NoRowsAndNoKeys/cuda*:*Conformance.Holds/dims_of_1"
TOOLS = ("memcheck", "racecheck", "synccheck")
NO_VARIANTS = "none: the bundle has no variants; build headscope_cuda_variants and prepare it again"
# What tells variants of tiles, stages, splits and blocks apart: forward of 4,096 tokens, decoding, tiles, map statistics.
VARIANT_BENCH = ("--only", "attention,decode,tile,statistics", "--quick", "--repeats", "5")
VARIANT_TESTS = "*Determinism*/cuda*:*Conformance.Holds/*:*MapStatisticsOf*/cuda*:*MapCases.Hold/*bf16*"
VARIANT_LIMIT = 60  # seconds of each of a variant's steps
DEFAULT = "default"


class Report:
    """gpu-check.json. Steps of an earlier part of the same commit stay."""

    def __init__(self, out, commit):
        self.path = out / "gpu-check.json"
        self.begun = time.monotonic()
        self.content = {"commit": commit, "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                        "device": None, "variants": NO_VARIANTS, "steps": []}
        if self.path.exists():
            earlier = json.loads(self.path.read_text())
            if earlier["commit"] == commit:
                self.content["steps"] = earlier["steps"]
                self.content["variants"] = earlier["variants"]

    def add(self, name, status, seconds, summary):
        steps = self.content["steps"]
        steps[:] = [step for step in steps if step["name"] != name]
        steps.append({"name": name, "status": status, "seconds": round(seconds, 1), "summary": summary})
        self.write()
        print(f"{name}: {status}: {summary}", flush=True)

    def write(self):
        beside = self.path.with_suffix(".new")
        beside.write_text(json.dumps(self.content, indent=1) + "\n")
        beside.replace(self.path)

    def add_variant(self, name, rows):
        """A library's minimums in milliseconds, {row: ms}: each row of the table names the fastest so far."""
        if not isinstance(self.content["variants"], dict):
            self.content["variants"] = {"rows": []}
        table = self.content["variants"]["rows"]
        for row in table:
            row["ms"].pop(name, None)
        for title, milliseconds in rows.items():
            row = next((row for row in table if row["row"] == title), None)
            if row is None:
                row = {"row": title, "ms": {}}
                table.append(row)
            row["ms"][name] = milliseconds
        table[:] = [row for row in table if row["ms"]]
        for row in table:
            row["fastest"] = min(row["ms"], key=row["ms"].get)
        self.write()

    def passed(self, name):
        return any(step["name"] == name and step["status"] == PASSED for step in self.content["steps"])

    def seconds_left(self):
        return CALL_LIMIT - (time.monotonic() - self.begun)

    def exit_code(self):
        """0: all passed; 1: something failed or took too long; 2: nothing did, but something was UNAVAILABLE."""
        found = {step["status"] for step in self.content["steps"]}
        return 1 if found & {FAILED, TIMED_OUT} else 2 if UNAVAILABLE in found else 0


class Ended:
    """A process that has ended by itself, or (code None) because its time was over."""

    def __init__(self, code, output, seconds):
        self.code, self.output, self.seconds = code, output, seconds

    def last_line(self):
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return lines[-1][:300] if lines else f"exit code {self.code}, no output"


def run_process(command, environment, limit, log):
    """Output of both kinds goes to `log`. At the limit the process and its children are killed."""
    begin = time.monotonic()
    with open(log, "wb") as file:
        try:
            process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=file,
                                       stderr=subprocess.STDOUT, env=environment, start_new_session=True)
        except OSError as error:
            return Ended(127, str(error), 0)
        try:
            code = process.wait(timeout=max(1, limit))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            code = None
    return Ended(code, pathlib.Path(log).read_text(errors="replace"), time.monotonic() - begin)


def torch_folder():
    """LibTorch's folder, without loading it: HEADSCOPE_TORCH, or that of a Python's torch; None without."""
    if os.environ.get("HEADSCOPE_TORCH"):
        return pathlib.Path(os.environ["HEADSCOPE_TORCH"])
    find = "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
    for python in ("python3", "python"):
        if not shutil.which(python):
            continue
        found = subprocess.run([python, "-c", find], capture_output=True, text=True, check=False).stdout.strip()
        if found:
            return pathlib.Path(found)
    return None


def environment_of(bundle):
    """The bundle's libraries first, then LibTorch's and those that it needs, then where the caller looks."""
    folders, torch = [str(bundle)], torch_folder()
    if torch is not None:
        folders += [str(torch / "lib"), *sorted(glob.glob(str(torch.parent / "nvidia" / "*" / "lib")))]
    if os.environ.get("LD_LIBRARY_PATH"):
        folders.append(os.environ["LD_LIBRARY_PATH"])  # where containers may have the driver
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(folders)}


def device_facts():
    """Name, driver and clocks, as the driver's tool says them; None without the tool or a device."""
    fields = ["name", "driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.limit", "memory.total"]
    if not shutil.which("nvidia-smi"):
        return None
    done = subprocess.run(["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"],
                          capture_output=True, text=True, check=False, timeout=60)
    values = done.stdout.splitlines()[0].split(", ") if done.returncode == 0 and done.stdout else []
    return dict(zip(fields, values)) if len(values) == len(fields) else None


def conformance_result(ended):
    """Status and summary of a run of GoogleTest."""
    counts = {what: int(count) for what, count in re.findall(r"^\[  (PASSED|SKIPPED|FAILED) +\] (\d+) tests?", ended.output,
                                                             re.MULTILINE)}
    names = re.findall(r"^\[  FAILED  \] (\S+?),? ", ended.output, re.MULTILINE)
    summary = ", ".join(f"{count} {what.lower()}" for what, count in counts.items()) or ended.last_line()
    if names:
        summary += "; first: " + names[0]
    return (PASSED if ended.code == 0 and counts.get("PASSED", 0) > 0 else FAILED), summary


def bench_result(ended, file):
    if ended.code != 0:
        return FAILED, ended.last_line()
    rows = json.loads(file.read_text())["rows"]
    timed = [row for row in rows if "skipped" not in row]
    if not timed:
        return UNAVAILABLE, rows[0]["skipped"] if rows else "nothing was measured"
    missed = [f"{row['operation']}, {row['shape']}: {row['target']['found']:.3g} of {row['target']['wanted']:.3g}"
              for row in timed if not row.get("target", {"met": True})["met"]]
    aims = sum("target" in row for row in timed)
    return PASSED, f"{len(timed)} rows, {aims - len(missed)} of {aims} targets met" + "".join("; missed " + m for m in missed)


def minimums(file):
    """{operation and shape: our fastest round in ms} of a benchmark's JSON."""
    rows = json.loads(file.read_text())["rows"]
    return {f"{row['operation']}, {row['shape']}": row["ours_ms"]["min"] for row in rows if "ours_ms" in row}


def sanitizer_result(ended):
    """A tool that did not get as far as the tests was refused by the machine: neither passed nor failed."""
    if "[==========] Running" not in ended.output:
        return UNAVAILABLE, ended.last_line()
    found = re.search(r"(?:ERROR|RACECHECK) SUMMARY: .*", ended.output)
    clean = found is not None and re.search(r"SUMMARY: 0 ", found.group(0)) is not None
    status, summary = conformance_result(ended)
    return (PASSED if clean and status == PASSED else FAILED), f"{summary}; {found.group(0) if found else 'no summary'}"


class Steps:
    def __init__(self, bundle, out, report, part=None):
        self.bundle, self.out, self.report, self.part = bundle, out, report, part
        self.environment = environment_of(bundle)

    def step(self, name, command, limit, result, **environment):
        """Runs it unless the call's time is over. Returns whether it passed."""
        limit = min(limit, self.report.seconds_left())
        if limit < 5:
            self.report.add(name, TIMED_OUT, 0, "there was no time left in this call" + self.advice(name))
            return False
        ended = run_process(command, {**self.environment, **environment}, limit, self.out / f"{name}.log")
        if ended.code is None:
            self.report.add(name, TIMED_OUT, ended.seconds, f"stopped after {limit:.0f} s")
            return False
        status, summary = result(ended)
        self.report.add(name, status, ended.seconds, summary)
        return status == PASSED

    def advice(self, name):
        own = next((part for part in (1, 3, 4, 2) if name in names_of(part, variants_of(self.bundle))), self.part)
        if self.part != own:
            return f"; run part {own} alone"
        return "; run it again: what has not passed comes first" if own == 4 else ""

    def conformance(self):
        self.step("conformance", [self.bundle / "test_gpu"], 400, conformance_result)
        self.step("models", [self.bundle / "test_gpu_models"], 150, conformance_result)

    def benchmarks(self):
        for family, limit in FAMILIES.items():
            file = self.out / f"bench-{family}.json"
            file.unlink(missing_ok=True)
            command = [self.bundle / "headscope", "bench", "--device", "cuda", "--only", family, "--out", file, "--quiet"]
            self.step(f"bench.{family}", command, limit, lambda ended, file=file: bench_result(ended, file))

    def variants(self):
        """Benchmarks the library and each of its variants, but for those that do not pass a short conformance. Those that
        have no figures of this commit yet come first; others keep theirs where there is no time for new ones."""
        names = variants_of(self.bundle)
        if not names:
            return
        measured = {name for name in (DEFAULT, *names) if self.report.passed(f"variant.{name}.bench")}
        for name in sorted((DEFAULT, *names), key=lambda name: name in measured):
            if name in measured and self.report.seconds_left() < 2 * VARIANT_LIMIT:
                return
            library = self.bundle / (f"variants/{name}.so" if name != DEFAULT else "libheadscope_cuda.so")
            chosen = {"HEADSCOPE_CUDA_LIBRARY": str(library)}
            self.report.add_variant(name, {})
            suite = [self.bundle / "test_gpu", f"--gtest_filter={VARIANT_TESTS}"]
            if not self.step(f"variant.{name}.conformance", suite, VARIANT_LIMIT, conformance_result, **chosen):
                continue
            file = self.out / f"bench-variant-{name}.json"
            file.unlink(missing_ok=True)
            command = [self.bundle / "headscope", "bench", "--device", "cuda", *VARIANT_BENCH, "--out", file, "--quiet"]
            if self.step(f"variant.{name}.bench", command, VARIANT_LIMIT,
                         lambda ended, file=file: bench_result(ended, file), **chosen):
                self.report.add_variant(name, minimums(file))

    def sanitizers(self):
        tool = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
        for name in TOOLS:
            if tool is None:
                self.report.add(f"sanitizer.{name}", UNAVAILABLE, 0, "this machine has no compute-sanitizer")
                continue
            command = [tool, "--tool", name, "--error-exitcode", 99, self.bundle / "test_gpu",
                       f"--gtest_filter={SANITIZED}"]
            self.step(f"sanitizer.{name}", command, 180, sanitizer_result)


def variants_of(bundle):
    return sorted(file.stem for file in (bundle / "variants").glob("*.so"))


def names_of(part, variants):
    """The steps of a part, of all without one."""
    of_variants = [f"variant.{name}.{step}" for name in ((DEFAULT, *variants) if variants else ())
                   for step in ("conformance", "bench")]
    benchmarks = [f"bench.{family}" for family in FAMILIES]
    names = {1: ["conformance", "models"], 2: benchmarks + of_variants, 3: [f"sanitizer.{tool}" for tool in TOOLS], 4: of_variants}
    return [name for number in ((part,) if part else (1, 2, 3)) for name in names[number]]


def run(bundle, out, part):
    """All parts in turn, or one. Returns Report.exit_code."""
    bundle = bundle.resolve()
    commit_file = bundle / "commit"
    if not commit_file.exists():
        sys.exit(f"gpu_check: {bundle} is no bundle; gpu_check.sh prepare makes one")
    out.mkdir(parents=True, exist_ok=True)
    report = Report(out, commit_file.read_text().strip())
    steps = Steps(bundle, out, report, part)
    found = run_process([bundle / "test_gpu", "--gtest_list_tests"], steps.environment, 60, out / "device.log")
    if found.code != 0:
        if found.code == SKIPPED:
            why = re.sub(r"^SKIPPED: ", "", found.last_line())
        else:
            why = f"test_gpu does not start: {found.last_line()}"
        report.content["no_device"] = why
        for name in names_of(part, variants_of(bundle)):
            report.add(name, UNAVAILABLE, 0, why)
        return report.exit_code()
    report.content["device"] = device_facts() or {"name": found.output.splitlines()[0].removeprefix("device: ")}
    actions = {1: (steps.conformance,), 2: (steps.benchmarks, steps.variants), 3: (steps.sanitizers,), 4: (steps.variants,)}
    for number in (part,) if part else (1, 2, 3):
        for action in actions[number]:
            action()
            report.content["clocks_at_end"] = (device_facts() or {}).get("clocks.sm")
    report.write()
    return report.exit_code()
