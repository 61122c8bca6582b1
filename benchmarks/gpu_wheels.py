"""Downloads the packages that a GPU machine with torch and transformers, but without a package index, lacks.

    python -m benchmarks.gpu_wheels .whl [--python 3.12] [--cuda 130]

Their versions are those of ``constraints.txt``, for Linux on x86-64; Java's metrics and Ray are left out: no check of
``benchmarks.gpu`` needs them. Of bitsandbytes' libraries those of one version of CUDA stay. There:

    python3 -m pip install --no-index --no-deps --target /tmp/site .whl/*.whl
    PYTHONPATH=/tmp/site python3 -m benchmarks.gpu --budget 570 --write
"""

import argparse
import re
import subprocess
import sys
import zipfile
from pathlib import Path

# Of the package's dependencies those that the image lacks, with what they need in turn.
PACKAGES = (
    "bitsandbytes", "av", "soundfile", "cffi", "pycparser", "soxr", "datasets", "evaluate", "dill", "multiprocess",
    "msgspec", "pydantic", "pydantic_core", "annotated-types", "httpx2", "httpcore2", "truststore", "isal",
)  # fmt: skip
PLATFORMS = (28, 27, 24, 17)


def versions(constraints: str) -> dict[str, str]:
    """Versions by name, of lines ``name==version``.

    >>> versions("A_b==1.2\\n# a comment\\n")
    {'a-b': '1.2'}
    """
    found = re.findall(r"^([\w.-]+)==(\S+)", constraints, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def command(folder: Path, python: str) -> list[str]:
    """pip's, for all packages."""
    known = versions((Path(__file__).parents[1] / "constraints.txt").read_text(encoding="utf-8"))
    wanted = [re.sub(r"[-_.]+", "-", name).lower() for name in PACKAGES]
    lacking = [name for name in wanted if name not in known]
    if lacking:
        raise SystemExit(f"constraints.txt has no {', '.join(lacking)}")
    platforms = [f"--platform=manylinux_2_{minor}_x86_64" for minor in PLATFORMS]
    return [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--python-version", python,
        "--implementation", "cp", *platforms, "--platform=manylinux2014_x86_64", "--platform=manylinux1_x86_64",
        "-d", str(folder), *(f"{name}=={known[name]}" for name in wanted),
    ]  # fmt: skip


def slim(wheel: Path, cuda: str) -> None:
    """Keep the library of the processor, and that of one version of CUDA."""
    drop = re.compile(rf"bitsandbytes/libbitsandbytes_(?!cpu|cuda{cuda}\.).*\.so$")
    small = wheel.with_suffix(".small")
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(small, "w", zipfile.ZIP_DEFLATED) as kept:
        for member in whole.infolist():
            content = whole.read(member)
            if member.filename.endswith("/RECORD"):
                lines = content.decode().splitlines(keepends=True)
                content = "".join(line for line in lines if not drop.match(line.partition(",")[0])).encode()
            if not drop.match(member.filename):
                kept.writestr(member, content)
    small.replace(wheel)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default="3.12")
    parser.add_argument("--cuda", default="130", help="the version of torch's CUDA, without its point")
    given = parser.parse_args()
    subprocess.run(command(given.folder, given.python), check=True)
    for wheel in given.folder.glob("bitsandbytes-*.whl"):
        slim(wheel, given.cuda)
    size = sum(file.stat().st_size for file in given.folder.glob("*.whl"))
    print(f"{len(list(given.folder.glob('*.whl')))} wheels of {size / 2**20:.0f} MiB in {given.folder}")


if __name__ == "__main__":
    main()
