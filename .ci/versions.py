"""The tests under several Pythons and versions of the dependencies, each in an environment of its own.

    python .ci/versions.py                                  # newest versions, every Python >= 3.11 on PATH
    python .ci/versions.py --set lowest                     # the lowest that pyproject.toml allows
    python .ci/versions.py --set pre                        # pre-releases of NetKet, whatever bound is set
    python .ci/versions.py --python python3.13 -- tests/kernels -x

What stands after ``--`` goes to pytest. The last lines are a table for docs/install.md; the exit status is the number
of environments in which something failed.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHOWN = ("netket", "jax", "numpy", "scipy", "flax")
SETS = ("newest", "lowest", "pre")
_REPORT = (
    "import platform, sys; from importlib.metadata import version;"
    "print(' | '.join([platform.python_version(), *map(version, sys.argv[1:])]))"
)


def pythons() -> list[str]:
    """Interpreters on PATH that the package supports, one a minor version."""
    found = (shutil.which(f"python3.{minor}") for minor in range(11, 16))
    return [path for path in found if path is not None] or [sys.executable]


def lowest_versions() -> list[str]:
    """``name==version`` for each dependency with a lower bound."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    bounds = (re.match(r"([\w-]+)>=([\w.]+)", wanted) for wanted in project["dependencies"])
    return [f"{bound[1]}=={bound[2]}" for bound in bounds if bound is not None]


def install(python: Path, chosen: str, scratch: Path) -> None:
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    options = []
    if chosen == "lowest":
        constraints = scratch / "lowest.txt"
        constraints.write_text("\n".join(lowest_versions()) + "\n", "utf-8")
        options = ["--constraint", str(constraints)]
    subprocess.run([*pip, *options, f"{ROOT}[test]"], check=True)
    if chosen == "pre":
        subprocess.run([*pip, "--upgrade", "--pre", "netket"], check=True)


def tried(interpreter: str, chosen: str, arguments: list[str]) -> tuple[str, bool]:
    """A row of the table, and whether everything passed."""
    with tempfile.TemporaryDirectory(prefix="netket-qsntk-versions.") as folder:
        subprocess.run([interpreter, "-m", "venv", f"{folder}/env"], check=True)
        python = Path(folder, "env", "bin", "python")
        try:
            install(python, chosen, Path(folder))
        except subprocess.CalledProcessError:
            return f"| {interpreter} | {chosen} | cannot be installed |", False
        started = time.monotonic()
        tests = subprocess.run(
            [str(python), "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", *arguments],
            cwd=ROOT,
        )
        minutes = (time.monotonic() - started) / 60
        report = [str(python), "-c", _REPORT, *SHOWN]
        versions = subprocess.run(report, check=True, capture_output=True, text=True).stdout.strip()
    result = "passed" if tests.returncode == 0 else f"exit {tests.returncode}"
    return f"| {versions} | {chosen} | {result} | {minutes:.0f} min |", tests.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", nargs="+", default=pythons(), help="interpreters")
    parser.add_argument("--set", nargs="+", choices=SETS, default=["newest"], help="of versions")
    parser.add_argument("tests", nargs="*", help="arguments of pytest, after --")
    options = parser.parse_args()
    rows, failures = [], 0
    for interpreter in options.python:
        for chosen in options.set:
            row, passed = tried(interpreter, chosen, options.tests)
            print(row, flush=True)
            rows.append(row)
            failures += not passed
    titles = ["Python", *SHOWN, "versions", "tests", "took"]
    print("\n".join(["", "| " + " | ".join(titles) + " |", "|" + "---|" * len(titles), *rows]))
    sys.exit(failures)


if __name__ == "__main__":
    main()
