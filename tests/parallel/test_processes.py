"""Processes joined by jax.distributed are checked, kept in step, and end together."""

import sys
import time

import pytest

import netket_qsntk as qs
from tests.parallel.launch import djaxrun, run

JOINED = """
import os, sys, time, jax
jax.distributed.initialize(heartbeat_timeout_seconds=10)
import jax.numpy as jnp, numpy as np, netket_qsntk as qs
from jax.experimental import multihost_utils
me = qs.parallel.processes.check()
assert me.total == 2 and me.number == jax.process_index()
qs.parallel.processes.together("start")
qs.parallel.processes.together("start", timeout=60)
if me.number == 1:
    exec(sys.argv[1])
print("gathered", multihost_utils.process_allgather(np.array([me.number])).ravel().tolist())
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "joined.py"
    path.write_text(JOINED)
    return path


def test_one_process_is_number_zero_of_one():
    assert qs.parallel.processes.check() == (0, 1)
    qs.parallel.processes.together("alone")


@pytest.mark.slow
def test_processes_that_do_not_know_of_one_another_are_told_what_to_do():
    code = "import netket_qsntk as qs; qs.parallel.processes.check()"
    done = run(sys.executable, "-c", code, JAX_NUM_PROCESSES="2")
    assert "ProcessesError: JAX_NUM_PROCESSES=2" in done.stderr
    assert "jax.distributed.initialize()" in done.stderr


@pytest.mark.slow
def test_two_processes_meet_and_gather(script):
    done = djaxrun(2, script, "pass")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("gathered [0, 1]") == 2


@pytest.mark.slow
@pytest.mark.parametrize("death", ["raise ValueError('ill')", "os.kill(os.getpid(), 9)"])
def test_a_process_that_dies_ends_all(script, death):
    start = time.monotonic()
    done = djaxrun(2, script, death, timeout=100)
    assert done.returncode != 0
    assert "gathered" not in done.stdout + done.stderr
    assert time.monotonic() - start < 60


@pytest.mark.slow
def test_a_step_that_one_process_takes_alone_is_an_error(script):
    alone = "qs.parallel.processes.together('mine', timeout=3)"
    done = djaxrun(2, script, alone, timeout=100)
    assert "waited 3 s at 'mine'" in done.stdout + done.stderr
    assert done.returncode != 0
