"""Every notebook runs from its first cell to its last and shows pictures."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "examples" / "notebooks"
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.py") if path.stem != "run")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_notebook_runs_and_shows_pictures(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec("nbclient") is None or importlib.util.find_spec("jupytext") is None:
        pytest.skip("needs jupytext and nbclient: the extra docs")
    import nbformat

    monkeypatch.setenv("NETKET_QSNTK_QUICK", "1")
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOKS.parents[1]))
    command = [sys.executable, str(NOTEBOOKS / "run.py"), name, "--out", str(tmp_path)]
    subprocess.run(command, check=True, cwd=tmp_path)
    notebook = nbformat.read(tmp_path / f"{name}.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2
    # Warnings would be the first thing that a reader sees.
    assert not [o.text for o in outputs if o.get("name") == "stderr"]


def test_notebooks_are_committed_without_outputs() -> None:
    assert NAMES
    assert not list(NOTEBOOKS.glob("*.ipynb"))
