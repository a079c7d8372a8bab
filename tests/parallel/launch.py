"""Starting of several processes in tests."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


class Finished(subprocess.CompletedProcess):
    """A finished command with what each of its processes reported, in no order.

    Launchers mix the output of processes within a line; files are apart.
    """

    reports: list[dict]


def report(numbers):
    """What one of the processes that :func:`run` starts found, for the test that started it."""
    file = Path(os.environ["NETKET_QSNTK_TEST_REPORTS"]) / f"{os.getpid()}.json"
    file.write_text(json.dumps(numbers))


def run(*command, timeout=900, **variables):
    """A :class:`Finished` command, its output as text; environment variables of another launcher are left out."""
    launchers = ("OMPI_", "PMIX_", "PMI_", "SLURM_", "JAX_COORDINATOR", "JAX_NUM_P", "JAX_PROCESS")
    keep = {k: v for k, v in os.environ.items() if not k.startswith(launchers)}
    keep |= {"PYTHONPATH": str(ROOT), "MPI4JAX_NO_WARN_JAX_VERSION": "1", "JAX_PLATFORMS": "cpu"}
    # One program in many processes: compiled once.
    keep.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
    keep.setdefault(
        "JAX_COMPILATION_CACHE_DIR", f"{tempfile.gettempdir()}/netket-qsntk-tests-{os.getuid()}"
    )
    # djaxrun leaves its logs in the working directory.
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as reports:
        keep["NETKET_QSNTK_TEST_REPORTS"] = reports
        done = subprocess.run(
            [str(c) for c in command], capture_output=True, text=True, timeout=timeout, check=False,
            env=keep | variables, cwd=folder,
        )  # fmt: skip
        finished = Finished(done.args, done.returncode, done.stdout, done.stderr)
        finished.reports = [json.loads(f.read_text()) for f in Path(reports).iterdir()]
        return finished


def mpirun(n, *arguments, **options):
    """``mpirun -n n python …``; the test is skipped where the extra mpi is not installed."""
    for name in ("mpi4py", "mpi4jax"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    beside = Path(sys.executable).with_name("mpirun")
    program = str(beside) if beside.exists() else shutil.which("mpirun")
    if program is None:
        pytest.skip("no mpirun on PATH")
    flags = ("--allow-run-as-root", "--oversubscribe", "--bind-to", "none")
    return run(program, *flags, "-n", n, sys.executable, *arguments, **options)


def djaxrun(n, *arguments, **options):
    """``djaxrun --simple -np n python …``."""
    program = Path(sys.executable).with_name("djaxrun")
    if not program.exists():
        pytest.skip("djaxrun, which netket installs, is not beside the interpreter")
    return run(program, "--simple", "-np", n, sys.executable, *arguments, **options)


def run_python(*arguments, devices=1, **options):
    """``python …`` with so many CPU devices."""
    return run(sys.executable, *arguments, JAX_NUM_CPU_DEVICES=str(devices), **options)
