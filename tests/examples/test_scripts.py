"""Every script explains itself, and runs from its options to its figure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))

# Script -> (options of a run of seconds, figures that it leaves).
SMALL = {
    "advise_and_watch": (
        "--sites 4 --samples 64 --steps 5",
        ["advise_and_watch.png"],
    ),
    "entanglement": (
        "--sizes 2 4 6 --widths 16 --members 5 --sites 10 --draws 50 --out .",
        ["*.png"],
    ),
    "infinite_width_vmc": (
        "--models heisenberg --sites 6 --steps 20 --widths 8 --members 2 --finite-steps 5 --draws 2",
        ["infinite_width_vmc.png"],
    ),
    "learning_curves": (
        "--models tfim --n-train 64 128 --widths 8 --members 2 --steps 5 --splits 1",
        ["learning_curves.png"],
    ),
    "learning_curves_large": (
        "--sizes 2x3 --times 0.3 --fractions 0.25 0.75 --steps 10 --draws 2",
        ["learning_curves_large.png"],
    ),
    "quench_supervised": (
        "--size 2x3 --width 16 --members 2 --n-train 40 --steps 5 --horizon 50",
        ["quench_supervised.png"],
    ),
    "training_and_inference": (
        "--size 2x3 --widths 8 --members 2 --steps 5",
        ["training_and_inference.png"],
    ),
    "vmc_sr_predicted": (
        "--models tfim --sites 4 --widths 8 --seeds 1 --steps 5 --shifts 1e-2",
        ["vmc_sr_predicted.png"],
    ),
    "twenty_spins": ("--size 2x3 --n-train 40 --steps 10", ["twenty_spins.png"]),
    "vmc_diagnostics": (
        "--length 2 --steps 4 --samples 64 --every 2 --batch 8",
        ["vmc_diagnostics.png"],
    ),
    "wide_network_on_a_lattice": (
        "--length 8 --centres 10 20 --samples 64 --steps 12 --every 5 --draws 2",
        ["wide_network_on_a_lattice.png"],
    ),
}


def run(script: str, options: list[str], folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    command = [sys.executable, str(ROOT / "examples" / f"{script}.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_script_is_run_here() -> None:
    assert sorted(SMALL) == SCRIPTS


@pytest.mark.thorough
@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_explain_themselves(script: str, tmp_path: Path) -> None:
    text = run(script, ["--help"], tmp_path)
    assert "usage:" in text
    source = (ROOT / "examples" / f"{script}.py").read_text("utf-8")
    first = source.removeprefix('"""').partition("\n")[0].strip('"')
    assert " ".join(first.split()) in " ".join(text.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_run_at_a_reduced_size_and_leave_their_figures(script: str, tmp_path: Path) -> None:
    options, figures = SMALL[script]
    printed = run(script, options.split(), tmp_path)
    assert printed.strip()
    for pattern in figures:
        found = list(tmp_path.glob(pattern))
        assert found, f"{pattern} is not among {[p.name for p in tmp_path.iterdir()]}"
        for path in found:
            assert path.read_bytes().startswith(b"\x89PNG")
            assert path.stat().st_size > 10_000


@pytest.mark.slow
def test_wide_networks_find_frustrated_ground_states_and_stop_where_no_number_is_left(
    tmp_path: Path,
) -> None:
    options = (
        "--length 4 --networks wide --patches 2x2 --centres 20 --samples 128 --draws 2 --every 3"
    )
    # 4 × 4 at J2 = J1/2: exact diagonalisation, Schulz, Ziman and Poilblanc, J. Phys. I 6, 675 (1996).
    frustrated = "--system j1j2 --known -0.528620 --steps 20 --moves 40 --rate 0.1"
    thrown_off = "--system square --field 3 --known -3.2 --steps 12 --rate 1e3"
    rows = []
    for system in (frustrated, thrown_off):
        printed = run("wide_network_on_a_lattice", f"{options} {system}".split(), tmp_path)
        row = next(line for line in printed.splitlines() if line.startswith("20 centres"))
        rows.append(row.split()[4:7])
    steps, _, error = rows[0]
    assert steps == "20"
    assert -0.005 < float(error) < 0.06
    assert int(rows[1][0]) < 12
    assert rows[1][1:] == ["nan", "nan"]
