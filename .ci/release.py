"""Build wheel and sdist, look into both, install the wheel alone and run the README's quick start with it.

Run by ``.ci/run`` from the root of the tree, with a Python that has ``build``.
"""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

# The quick start at a size for seconds.
SMALLER = {
    "Spin(0.5, 12)": "Spin(0.5, 6)",
    "Grid([3, 4], pbc=True)": "Grid([2, 3], pbc=False)",
    "widths=(5000,)": "widths=(64,)",
    "n_members=10": "n_members=2",
    "2400": "40",
    "10_000": "50",
}


def build(out: Path) -> tuple[Path, Path]:
    subprocess.run([sys.executable, "-m", "build", "--outdir", str(out)], check=True)
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


def check_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    info = next(top for top in tops if top.endswith(".dist-info"))
    expect(tops == {"netket_qsntk", info}, f"the wheel holds the package alone, not {sorted(tops)}")
    expect("netket_qsntk/py.typed" in names, "the wheel says that it is typed")
    expect(f"{info}/licenses/LICENSE" in names, "the wheel holds the license")
    sources = {str(path) for path in Path("netket_qsntk").rglob("*.py")}
    expect(
        sources <= set(names), f"the wheel holds every module, not {sorted(sources - set(names))}"
    )


def check_sdist(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "CITATION.cff",
        "netket_qsntk/py.typed",
        "tests/conftest.py",
        "docs/conf.py",
        "docs/index.md",
        "examples/quench_supervised.py",
        "benchmarks/__init__.py",
        ".ci/versions.py",
    }
    expect(wanted <= names, f"the sdist lacks {sorted(wanted - names)}")
    built = [name for name in names if "_build/" in name or "__pycache__" in name]
    expect(not built, f"the sdist holds build products: {built[:3]}")


def quick_start(readme: str) -> str:
    found = re.search(r"^## Quick start\n+```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    expect(found is not None, "README.md has a quick start")
    code = found[1]
    for large, small in SMALLER.items():
        expect(large in code, f"the quick start has {large}: adapt .ci/release.py to its change")
        code = code.replace(large, small)
    return code


def run_with(wheel: Path, code: str, scratch: Path) -> None:
    venv.create(scratch / "venv", with_pip=True)
    python = scratch / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True)
    empty = scratch / "empty"
    empty.mkdir()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    code += (
        "\nimport sys\nprint(qs.__version__, qs.__file__)\nassert 'tensorflow' not in sys.modules\n"
    )
    subprocess.run([python, "-c", code], check=True, cwd=empty, env=environment)


def expect(holds: bool, claim: str) -> None:
    if not holds:
        raise SystemExit(f"release: expected that {claim}")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="netket-qsntk-release.") as name:
        scratch = Path(name)
        wheel, sdist = build(scratch / "dist")
        check_wheel(wheel)
        check_sdist(sdist)
        run_with(wheel, quick_start(Path("README.md").read_text("utf-8")), scratch)
    print(f"{wheel.name} and {sdist.name}: contents as expected, the quick start runs")


if __name__ == "__main__":
    main()
