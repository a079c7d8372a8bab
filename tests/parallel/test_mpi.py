"""MPI ranks fail with a reason and end together; what they compute is in ``test_suite.py``."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest

import netket_qsntk as qs
from tests.parallel.launch import mpirun, run


def test_missing_mpi_names_the_install_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4jax", None)
    with (
        pytest.raises(qs.errors.MissingDependencyError, match="pip install --no-cache-dir mpi4jax"),
        qs.parallel.mpi.ranks(),
    ):
        pass
    assert qs.parallel.mpi.current() is None


@pytest.mark.thorough
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
