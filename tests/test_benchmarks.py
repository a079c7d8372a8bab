"""One command knows every benchmark: it runs it, or says why not."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import BENCHMARKS, ELSEWHERE

ROOT = Path(__file__).parents[1]


def command(*options: str) -> str:
    words = [sys.executable, "-m", "benchmarks", *options]
    return subprocess.run(words, check=True, capture_output=True, text=True, cwd=ROOT).stdout


def test_every_module_is_in_the_list_or_says_why_not() -> None:
    modules = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert set(BENCHMARKS) | set(ELSEWHERE) == modules - {"__init__", "__main__", "timing"}
    assert not set(BENCHMARKS) & set(ELSEWHERE)


def test_the_command_explains_itself() -> None:
    text = command("--help")
    for option in ("--quick", "--only", "--out", "--list"):
        assert option in text


def test_the_list_has_a_line_for_each() -> None:
    lines = command("--list").splitlines()
    assert [line.split()[0] for line in lines] == [*BENCHMARKS, *ELSEWHERE]
    assert all(len(line.split()) > 5 for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_runs_at_a_reduced_size(name: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    command("--quick", "--only", name, "--out", str(page))
    text = page.read_text("utf-8")
    assert f"## {name}" in text
    assert "netket" in text  # the versions
