"""scripts/gpu_check.sh without a GPU: what it packs, and what it says of a machine that has none. Programs that stand in
for a GPU's show the order of steps, limits, and which tool counts as what.

    test_gpu_check.py --build BUILD [--suite PROGRAM]     BUILD has test_gpu, headscope and headscope_cuda"""

import argparse
import ctypes
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SCRIPT = ROOT / "scripts" / "gpu_check.sh"
sys.path.insert(0, str(ROOT / "scripts"))
import gpu_check_run as steps  # noqa: E402

ALL_STEPS = ["conformance", "models", *(f"bench.{family}" for family in steps.FAMILIES),
             *(f"sanitizer.{tool}" for tool in steps.TOOLS)]
OPTIONS = argparse.Namespace()


def call(script, *arguments, **more):
    return subprocess.run(["sh", script, *map(str, arguments)], capture_output=True, text=True, check=False, **more)


def statuses(out):
    return {step["name"]: step["status"] for step in json.loads((out / "gpu-check.json").read_text())["steps"]}


def has_driver():
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)


class Bundle(Folder):
    """The real programs."""

    def test_packs_and_says_that_there_is_no_device(self):
        bundle, out = self.folder / "bundle", self.folder / "out"
        packed = call(SCRIPT, "prepare", bundle, "--build", OPTIONS.build)
        if "those of 90-real alone" in packed.stderr:
            self.skipTest(packed.stderr.strip())
        self.assertEqual(packed.returncode, 0, packed.stderr)
        self.assertRegex(packed.stdout, r"\d+\.\d MiB, kernels for 90-real")
        names = {file.name for file in bundle.iterdir()}
        self.assertLessEqual({"test_gpu", "test_gpu_models", "headscope", "libheadscope_cuda.so", "gpu_check.sh", "commit"}, names)
        self.assertTrue(any(name.startswith("libhdf5") for name in names))
        self.assertFalse(any("torch" in name or name.startswith(("libc.so", "libcuda.so")) for name in names), names)
        self.assertLess(sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file()), 64 << 20)
        if has_driver():
            self.skipTest("this machine has an NVIDIA driver")
        done = call(bundle / "gpu_check.sh", "run", bundle, out)
        self.assertEqual(done.returncode, 2, done.stderr + done.stdout)
        found = json.loads((out / "gpu-check.json").read_text())
        self.assertIsNone(found["device"])
        self.assertEqual(found["no_device"], "there is no NVIDIA driver on this machine")
        self.assertEqual(found["commit"], (bundle / "commit").read_text().strip())
        self.assertEqual([step["name"] for step in found["steps"]], steps.names_of(None, steps.variants_of(bundle)))
        for step in found["steps"]:
            self.assertEqual((step["status"], step["summary"]), ("UNAVAILABLE", found["no_device"]))

    def test_refuses_what_is_not_built(self):
        self.assertIn("is no build", call(SCRIPT, "prepare", self.folder / "b", "--build", self.folder).stderr)
        (self.folder / "CMakeCache.txt").write_text("HEADSCOPE_CUDA_ARCHITECTURES:STRING=90-real\n")
        self.assertIn("is not built", call(SCRIPT, "prepare", self.folder / "b", "--build", self.folder).stderr)
        (self.folder / "CMakeCache.txt").write_text("HEADSCOPE_CUDA_ARCHITECTURES:STRING=80-real;90-real\n")
        self.assertIn("90-real alone", call(SCRIPT, "prepare", self.folder / "b", "--build", self.folder).stderr)
        self.assertIn("is no bundle", call(SCRIPT, "run", self.folder, self.folder / "out").stderr)


class BundleOfVariants(Folder):
    """Programs that stand in for those of a build."""

    def test_variants_are_packed_where_there_are_any(self):
        program, build, bundle = shutil.which("true"), self.folder / "build", self.folder / "bundle"
        for place in ("tests/kernels/test_gpu", "tests/run/test_gpu_models", "app/cli/headscope", "lib/libheadscope_cuda.so"):
            (build / place).parent.mkdir(parents=True)
            shutil.copy(program, build / place)
        (build / "CMakeCache.txt").write_text("HEADSCOPE_CUDA_ARCHITECTURES:STRING=90-real\nHEADSCOPE_TORCH:PATH=/none\n")
        packed = call(SCRIPT, "prepare", bundle, "--build", build)
        self.assertIn(" 0 variants,", packed.stdout, packed.stderr)
        self.assertEqual(steps.variants_of(bundle), [])
        (build / "lib" / "variants").mkdir()
        shutil.copy(program, build / "lib" / "variants" / "one.so")
        self.assertIn(" 1 variants,", call(SCRIPT, "prepare", bundle, "--build", build).stdout)
        self.assertEqual(steps.variants_of(bundle), ["one"])
        shutil.copy(program, build / "lib" / "variants" / "old.so")
        os.utime(build / "lib" / "variants" / "old.so", (0, 0))
        packed = call(SCRIPT, "prepare", bundle, "--build", build)
        self.assertIn("older than libheadscope_cuda.so: old;", packed.stdout, packed.stderr)
        self.assertIn(" 1 variants,", packed.stdout)
        self.assertEqual(steps.variants_of(bundle), ["one"])


SUITE = "echo 'device: Stand-in'; echo '[==========] Running 3 tests'; echo '[  PASSED  ] 3 tests.'; "
# "one row" takes as many ms as its library's file says.
BENCH = """while [ "$1" != --out ]; do shift; done
ms=$(cat "${HEADSCOPE_CUDA_LIBRARY:-/dev/null}")
echo '{"rows": [{"operation": "one row", "shape": "MQA", "target": {"found": 0.5, "wanted": 0.8, "met": false},
                "ours_ms": {"min": '${ms:-9}'}},
               {"operation": "other", "shape": "MQA"}]}' > "$2"
"""


class StandIns(Folder):
    """A bundle of shell scripts on a machine whose tools are shell scripts."""

    def setUp(self):
        super().setUp()
        self.bundle, self.out, self.tools = (self.folder / name for name in ("bundle", "out", "tools"))
        for folder in (self.bundle, self.tools):
            folder.mkdir()
        (self.bundle / "commit").write_text("abc\n")
        self.program(self.bundle / "test_gpu", SUITE)
        self.program(self.bundle / "test_gpu_models", SUITE)
        self.program(self.bundle / "headscope", BENCH)
        self.program(self.tools / "nvidia-smi", "echo 'Stand-in, 580.1, 1980, 1980, 3201, 700.00, 143771'")

    def program(self, path, text):
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)

    def sanitizer(self, text):
        self.program(self.tools / "compute-sanitizer", text)

    def run_script(self, *arguments):
        environment = {**os.environ, "PATH": f"{self.tools}:{os.environ['PATH']}"}
        return call(SCRIPT, "run", self.bundle, self.out, *arguments, env=environment).returncode

    def test_everything_in_order(self):
        self.sanitizer(SUITE + "echo '========= ERROR SUMMARY: 0 errors'")
        self.assertEqual(self.run_script(), 0)
        self.assertEqual(list(statuses(self.out)), ALL_STEPS)
        self.assertEqual(set(statuses(self.out).values()), {"passed"})
        found = json.loads((self.out / "gpu-check.json").read_text())
        self.assertEqual((found["device"]["name"], found["device"]["driver_version"]), ("Stand-in", "580.1"))
        self.assertTrue(found["variants"].startswith("none"))
        self.assertIn("0 of 1 targets met; missed one row, MQA: 0.5 of 0.8", found["steps"][2]["summary"])

    def with_variants(self, **milliseconds):
        (self.bundle / "variants").mkdir()
        (self.bundle / "libheadscope_cuda.so").write_text("2.5")
        for name, ms in milliseconds.items():
            (self.bundle / "variants" / f"{name}.so").write_text(ms)

    def test_variants_are_compared(self):
        self.with_variants(slow="3.5", swift="1.5")
        self.assertEqual(self.run_script("--part", "2"), 0)
        self.assertEqual(list(statuses(self.out)), steps.names_of(2, ["slow", "swift"]))
        table = json.loads((self.out / "gpu-check.json").read_text())["variants"]
        self.assertEqual(table, {"rows": [{"row": "one row, MQA", "fastest": "swift",
                                           "ms": {"default": 2.5, "slow": 3.5, "swift": 1.5}}]})
        # Again, alone: the table is filled anew, and stays when another part follows.
        (self.bundle / "variants" / "slow.so").write_text("0.5")
        self.assertEqual(self.run_script("--part", "4"), 0)
        self.run_script("--part", "1")
        rows = json.loads((self.out / "gpu-check.json").read_text())["variants"]["rows"]
        self.assertEqual((rows[0]["fastest"], rows[0]["ms"]["slow"]), ("slow", 0.5))

    def test_a_wrong_variant_does_not_win(self):
        self.with_variants(wrong="0.5", right="3.5")
        wrong = 'case "$HEADSCOPE_CUDA_LIBRARY" in *wrong.so) echo "[  FAILED  ] A.b, where"; exit 1;; esac; '
        self.program(self.bundle / "test_gpu", '[ "$1" = --gtest_list_tests ] || { ' + wrong + "true; }; " + SUITE)
        self.assertEqual(self.run_script("--part", "4"), 1)
        self.assertEqual(statuses(self.out)["variant.wrong.conformance"], "failed")
        self.assertNotIn("variant.wrong.bench", statuses(self.out))
        rows = json.loads((self.out / "gpu-check.json").read_text())["variants"]["rows"]
        self.assertEqual((rows[0]["fastest"], sorted(rows[0]["ms"])), ("default", ["default", "right"]))

    def test_a_variant_is_measured_with_its_library_alone(self):
        self.with_variants(one="1")
        self.program(self.bundle / "test_gpu", 'echo "$1 $HEADSCOPE_CUDA_LIBRARY"; ' + SUITE)
        self.run_script("--part", "4")
        log = (self.out / "variant.one.conformance.log").read_text()
        self.assertIn(f"--gtest_filter={steps.VARIANT_TESTS} {self.bundle.resolve()}/variants/one.so", log)

    def test_variants_without_figures_come_first_and_others_keep_theirs(self):
        self.with_variants(late="1.5")
        report = steps.Report(self.folder, "abc")
        for name in (steps.DEFAULT, "late"):
            report.add(f"variant.{name}.bench", "passed" if name == steps.DEFAULT else "timed out", 1, "")
        report.add_variant(steps.DEFAULT, {"one row, MQA": 7.5})
        report.begun -= steps.CALL_LIMIT - steps.VARIANT_LIMIT  # time for one, not for two
        steps.Steps(self.bundle, self.folder, report, 4).variants()
        self.assertEqual(statuses(self.folder), {"variant.default.bench": "passed", "variant.late.conformance": "passed",
                                                 "variant.late.bench": "passed"})
        self.assertEqual(report.content["variants"]["rows"][0]["ms"], {"default": 7.5, "late": 1.5})

    def test_what_had_no_time_says_what_to_do(self):
        self.with_variants(one="1")
        report = steps.Report(self.folder, "abc")
        report.begun -= steps.CALL_LIMIT
        for part, name, advice in ((None, "models", "; run part 1 alone"), (1, "models", ""),
                                   (2, "variant.one.bench", "; run part 4 alone"), (2, "bench.tile", ""),
                                   (4, "variant.one.bench", "; run it again: what has not passed comes first")):
            steps.Steps(self.bundle, self.folder, report, part).step(name, ["true"], 5, steps.conformance_result)
            self.assertEqual(report.content["steps"][-1]["summary"], "there was no time left in this call" + advice)

    def test_the_callers_libraries_are_found_last(self):
        self.program(self.bundle / "test_gpu", 'echo "at $LD_LIBRARY_PATH"; ' + SUITE)
        with unittest.mock.patch.dict(os.environ, LD_LIBRARY_PATH="/of/the/driver:/other"):
            self.run_script("--part", "1")
        self.assertRegex((self.out / "conformance.log").read_text(), rf"at {self.bundle.resolve()}:(.*:)?/of/the/driver:/other\n")

    def test_parts_add_up(self):
        self.sanitizer("echo 'device not supported'; exit 1")
        self.assertEqual(self.run_script("--part", "1"), 0)
        self.assertEqual(list(statuses(self.out)), ["conformance", "models"])
        self.assertEqual(self.run_script("--part", "3"), 2)
        self.assertEqual(statuses(self.out)["conformance"], "passed")
        self.assertEqual(statuses(self.out)["sanitizer.memcheck"], "UNAVAILABLE")

    def test_a_tool_that_is_not_there(self):
        if os.path.exists("/usr/local/cuda/bin/compute-sanitizer"):
            self.skipTest("this machine has it")
        self.run_script("--part", "3")
        self.assertEqual(statuses(self.out)["sanitizer.synccheck"], "UNAVAILABLE")

    def test_a_tool_that_finds_something(self):
        self.sanitizer(SUITE + "echo '========= ERROR SUMMARY: 2 errors'; exit 99")
        self.assertEqual(self.run_script("--part", "3"), 1)
        self.assertEqual(statuses(self.out)["sanitizer.memcheck"], "failed")

    def test_failures(self):
        self.program(self.bundle / "headscope", "echo 'headscope: output of ours and of the library differ' >&2; exit 2")
        wrong = SUITE + "[ \"$1\" ] || { echo '[  FAILED  ] A.b, where'; exit 1; }"
        for suite in ("test_gpu", "test_gpu_models"):
            self.program(self.bundle / suite, wrong)
        self.assertEqual(self.run_script("--part", "1"), 1)
        self.assertEqual(self.run_script("--part", "2"), 1)
        self.assertEqual(set(statuses(self.out).values()), {"failed"})
        found = json.loads((self.out / "gpu-check.json").read_text())["steps"]
        self.assertIn("first: A.b", found[0]["summary"])
        self.assertIn("differ", found[2]["summary"])

    def test_an_empty_run_is_no_pass(self):
        self.program(self.bundle / "test_gpu", "echo 'device: Stand-in'; echo '[==========] Running 0 tests'")
        self.assertEqual(self.run_script("--part", "1"), 1)

    def test_what_takes_too_long_is_stopped(self):
        report = steps.Report(self.folder, "abc")
        one = steps.Steps(self.bundle, self.folder, report)
        one.step("slow", ["sh", "-c", "sleep 60 & sleep 60"], 5, steps.conformance_result)
        report.begun -= steps.CALL_LIMIT
        one.step("later", ["true"], 5, steps.conformance_result)
        self.assertEqual(statuses(self.folder), {"slow": "timed out", "later": "timed out"})
        self.assertEqual(report.exit_code(), 1)


class Variants(unittest.TestCase):
    """Those that CMake knows (kernels/cuda/variants.cmake)."""

    def test_they_set_constants_that_exist_to_other_values(self):
        folder = ROOT / "kernels" / "cuda"
        defaults = dict(re.findall(r"^#define (HEADSCOPE_TUNE_\w+) (\d+)$", (folder / "tuning.h").read_text(), re.MULTILINE))
        listed = re.findall(r'^  "(\w+)((?: HEADSCOPE_TUNE_\w+=\d+)+)"$', (folder / "variants.cmake").read_text(), re.MULTILINE)
        self.assertGreater(len(listed), 2)
        for name, definitions in listed:
            for constant, value in (one.split("=") for one in definitions.split()):
                self.assertIn(constant, defaults, name)
                self.assertNotEqual(value, defaults[constant], name)


class Filter(unittest.TestCase):
    def test_sanitizers_get_at_most_20_cases(self):
        if OPTIONS.suite is None:
            self.skipTest("--suite is not given")
        chosen = steps.SANITIZED.replace("cuda", "cpu")
        listed = subprocess.run([OPTIONS.suite, "--gtest_list_tests", f"--gtest_filter={chosen}"], capture_output=True,
                                text=True, check=True).stdout
        cases = [line for line in listed.splitlines() if line.startswith("  ")]
        self.assertIn(len(cases), range(10, 21), listed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--suite", type=pathlib.Path)
    OPTIONS, rest = parser.parse_known_args()
    unittest.main(argv=[sys.argv[0], *rest])
