"""What scripts/gpu_check.sh does. Python's own library alone: the machine with the GPU has nothing else of ours."""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import gpu_check_run  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
LARGEST_BUNDLE = 64 << 20  # bytes
PROGRAMS = {"test_gpu": "tests/kernels/test_gpu", "test_gpu_models": "tests/run/test_gpu_models",
            "headscope": "app/cli/headscope",
            "libheadscope_cuda.so": "lib/libheadscope_cuda.so"}
VARIANTS = "lib/variants"  # of the library, where any were built
SCRIPTS = ("gpu_check.sh", "gpu_check.py", "gpu_check_run.py")
# Of every Linux machine; its own have to be taken, because they go together with its kernel and driver.
OF_THE_SYSTEM = re.compile(r"^(ld-linux.*|lib(c|m|dl|rt|pthread|resolv|util|anl|cuda)\.so.*|linux-vdso.*)$")


def refuse(sentence):
    sys.exit(f"gpu_check: {sentence}")


def cached(build, name):
    """A variable of the build's CMakeCache.txt."""
    cache = build / "CMakeCache.txt"
    if not cache.exists():
        refuse(f"{build} is no build; configure one and build test_gpu, test_gpu_models, headscope and "
               "headscope_cuda there")
    found = re.search(rf"^{name}:\w+=(.*)$", cache.read_text(), re.MULTILINE)
    return found.group(1) if found else ""


def require_one_architecture(build):
    wanted = cached(build, "HEADSCOPE_CUDA_ARCHITECTURES")
    if [one for one in wanted.split(";") if one.endswith("-real")] != ["90-real"]:
        refuse(f"the kernels of {build} are for '{wanted}', and a bundle holds those of 90-real alone")
    return wanted


def needed_libraries(file, torch):
    """Paths of the libraries that `file` needs, without the system's and LibTorch's."""
    of_torch = [pathlib.Path(torch).resolve(), pathlib.Path(torch).resolve().parent / "nvidia"]
    listed = subprocess.run(["ldd", file], capture_output=True, text=True, check=True).stdout
    libraries = {}
    for name, place in re.findall(r"^\s*(\S+) => (/\S+)", listed, re.MULTILINE):
        path = pathlib.Path(place).resolve()
        if not OF_THE_SYSTEM.match(name) and not any(folder in path.parents for folder in of_torch):
            libraries[name] = path
    return libraries


def commit():
    def git(*arguments):
        return subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=False).stdout.strip()
    return (git("rev-parse", "HEAD") or "unknown") + ("-dirty" if git("status", "--porcelain", "-uno") else "")


def without_old_ones(variants, library):
    """Those that are of the library's sources: not older than it."""
    kept = {name: path for name, path in variants.items() if path.stat().st_mtime >= library.stat().st_mtime}
    if len(kept) < len(variants):
        old = ", ".join(path.stem for name, path in variants.items() if name not in kept)
        print(f"left out, because they are older than {library.name}: {old}; build headscope_cuda_variants for them")
    return kept


def prepare(options):
    build, bundle = options.build.resolve(), options.folder
    architectures, torch = require_one_architecture(build), cached(build, "HEADSCOPE_TORCH")
    sources = {name: build / place for name, place in PROGRAMS.items()}
    variants = {f"variants/{file.name}": file for file in sorted((build / VARIANTS).glob("*.so"))}
    for path in sources.values():
        if not path.exists():
            refuse(f"{path} is not built; build test_gpu, test_gpu_models, headscope and headscope_cuda")
    variants = without_old_ones(variants, sources["libheadscope_cuda.so"])
    libraries = {}
    for path in sources.values():
        libraries.update(needed_libraries(path, torch))
    shutil.rmtree(bundle, ignore_errors=True)
    (bundle / "variants").mkdir(parents=True)
    for name, path in {**sources, **libraries, **variants}.items():
        subprocess.run(["strip", "--strip-unneeded", "-o", bundle / name, path], check=True)
    for name in SCRIPTS:
        shutil.copy2(ROOT / "scripts" / name, bundle)
    (bundle / "commit").write_text(commit() + "\n")
    (bundle / "architectures").write_text(architectures + "\n")
    size = sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file())
    print(f"{bundle}: {size / (1 << 20):.1f} MiB, kernels for {architectures}, {len(variants)} variants, "
          f"with {', '.join(sorted(libraries))}")
    if size >= LARGEST_BUNDLE:
        refuse(f"the bundle has to stay below {LARGEST_BUNDLE >> 20} MiB")
    return 0


def main():
    parser = argparse.ArgumentParser(prog="gpu_check.sh")
    commands = parser.add_subparsers(required=True)
    packing = commands.add_parser("prepare", help="pack what a machine with a GPU needs")
    packing.add_argument("folder", nargs="?", type=pathlib.Path, default=ROOT / "build" / "gpu")
    packing.add_argument("--build", type=pathlib.Path, default=ROOT / "build" / "release")
    packing.set_defaults(action=prepare)
    running = commands.add_parser("run", help="check and measure, on the machine with the GPU")
    running.add_argument("bundle", type=pathlib.Path)
    running.add_argument("out", type=pathlib.Path)
    running.add_argument("--part", type=int, choices=(1, 2, 3, 4),
                         help="1 conformance, 2 benchmarks and variants, 3 compute-sanitizer, 4 variants alone")
    running.set_defaults(action=lambda options: gpu_check_run.run(options.bundle, options.out, options.part))
    options = parser.parse_args()
    return options.action(options)


if __name__ == "__main__":
    sys.exit(main())
