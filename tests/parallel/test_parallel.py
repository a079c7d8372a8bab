"""The same numbers on one device, on two devices of one process, and on two processes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netket_qsntk as qs

SUITE = Path(__file__).with_name("suite.py")
ROOT = Path(__file__).parents[2]


def _start(devices: int, *arguments: str) -> subprocess.Popen[str]:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {
        "JAX_NUM_CPU_DEVICES": str(devices),
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": path,
    }
    return subprocess.Popen(
        [sys.executable, str(SUITE), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _result(process: subprocess.Popen[str]) -> dict[str, Any]:
    try:
        out, error = process.communicate(timeout=170)
    finally:
        process.kill()
    lines = [line for line in out.splitlines() if line.startswith("RESULT ")]
    assert process.returncode == 0, error[-3000:]
    assert len(lines) == 1, out
    return json.loads(lines[0].removeprefix("RESULT "))


@pytest.fixture(scope="module")
def one_device() -> dict[str, Any]:
    return _result(_start(1))


def _same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for key in expected.keys() - {"devices", "largest part"}:
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-12, atol=1e-12, err_msg=key)


@pytest.mark.slow
def test_two_devices_give_the_numbers_of_one(one_device: dict[str, Any]) -> None:
    found = _result(_start(2))
    assert (one_device["devices"], found["devices"]) == (1, 2)
    assert (one_device["largest part"], found["largest part"]) == (13, 7)
    _same(found, one_device)


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(one_device: dict[str, Any]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    processes = [_start(1, address, "2", str(i)) for i in range(2)]
    try:
        for found in map(_result, processes):
            assert found["devices"] == 2
            assert found["largest part"] == 7
            _same(found, one_device)
    finally:
        for process in processes:
            process.kill()


@pytest.mark.slow
def test_one_device_agrees_with_definitions(one_device: dict[str, Any]) -> None:
    import netket as nk

    x = np.asarray(nk.hilbert.Spin(0.5, 5).all_states())
    rng = np.random.default_rng(0)
    v, w, z = rng.normal(size=9), rng.normal(size=(13, 2)), rng.normal(size=256)
    ntk = np.asarray(qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,))).ntk(x[:13], x[:9]))
    i = np.arange(256)
    signs = 1.0 - 2.0 * (np.bitwise_count(i[:, None] & i) & 1)
    np.testing.assert_allclose(one_device["rows"], ntk @ v, rtol=1e-12)
    np.testing.assert_allclose(one_device["transpose"], (ntk.T @ w).ravel(), rtol=1e-12)
    np.testing.assert_allclose(one_device["transform"], signs @ z, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("n", "workers"), [(1, 3), (7, 3), (6, 3), (4, 3), (5, 8)])
def test_shares_cover_everything_once(n: int, workers: int) -> None:
    shares = qs.parallel.Shares(n, workers)
    everything = np.arange(n)
    parts = [everything[shares.of(w)] for w in range(workers)]
    np.testing.assert_array_equal(np.concatenate(parts), everything)
    assert max(map(len, parts)) == shares.each
    assert len(shares.fill(everything)) == shares.padded


def test_unknown_job_and_empty_job_are_errors() -> None:
    with pytest.raises(qs.errors.MemoryEstimateError, match="expected one of"):
        qs.parallel.estimate("everything", n=3)  # type: ignore[arg-type]
    with pytest.raises(qs.errors.MemoryEstimateError, match="positive"):
        qs.parallel.estimate("kernel", n=0)
