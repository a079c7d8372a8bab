"""MPI ranks give what one process gives, fail with a reason, and end together."""

import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import netket_qsntk as qs
from tests.parallel.launch import mpirun, run

SCRIPT = Path(__file__).with_name("launched_mpi.py")


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3])
def test_ranks_give_the_numbers_of_one_process(n, tmp_path):
    done = mpirun(n, SCRIPT, tmp_path)
    assert done.returncode == 0, done.stderr
    for rank in range(n):
        alone, shared = (np.load(tmp_path / f"{what}{rank}.npz") for what in ("alone", "shared"))
        assert shared["size"] == n
        assert np.array_equal(shared["inside"], 2 * np.arange(7.0))
        for name in alone.files:
            np.testing.assert_allclose(
                shared[name], alone[name], rtol=1e-12, atol=1e-12, err_msg=name
            )


def test_missing_mpi_names_the_install_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4jax", None)
    with (
        pytest.raises(qs.errors.MissingDependencyError, match="pip install --no-cache-dir mpi4jax"),
        qs.parallel.mpi.ranks(),
    ):
        pass
    assert qs.parallel.mpi.current() is None


def test_importing_the_package_does_not_import_mpi():
    code = "import sys, netket_qsntk; sys.exit('mpi4jax' in sys.modules or 'mpi4py' in sys.modules)"
    assert run(sys.executable, "-c", code).returncode == 0


def test_blocks_cover_an_axis_once():
    class Communicator:
        def __init__(self, rank, size):
            self.Get_rank, self.Get_size = lambda: rank, lambda: size

    for n in range(12):
        for size in range(1, 6):
            parts = [
                qs.parallel.mpi.Ranks(Communicator(r, size), None, 1.0).block(n)
                for r in range(size)
            ]
            assert np.concatenate([np.arange(n)[p] for p in parts]).tolist() == list(range(n))


def test_sharing_outside_of_ranks_is_the_function_itself():
    x = jnp.arange(3.0)
    assert qs.parallel.mpi.over_ranks(lambda y: y, x) is x


DYING = """
import os, sys, jax.numpy as jnp
import netket_qsntk as qs
with qs.parallel.mpi.ranks(timeout=float(sys.argv[2])) as mpi:
    if mpi.rank == 1:
        exec(sys.argv[1])
    for _ in range(10000):
        qs.parallel.mpi.over_ranks(lambda x: x, jnp.arange(4.0))
print("arrived at the end")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("death", "timeout", "message"),
    [
        ("raise ValueError('one is ill')", 600, "ends the run on all ranks"),
        ("os.kill(os.getpid(), 9)", 600, "signal 9"),
        ("import time; time.sleep(60)", 3, "waited 3 s for the others"),
    ],
    ids=["exception", "killed", "absent"],
)
def test_a_rank_that_dies_or_stays_away_ends_all(death, timeout, message, tmp_path):
    script = tmp_path / "dying.py"
    script.write_text(DYING)
    done = mpirun(2, script, death, timeout, timeout=50)
    assert done.returncode != 0
    assert message in done.stderr + done.stdout
    assert "arrived" not in done.stdout
