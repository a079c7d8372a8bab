"""One suite of claims gives the same numbers on one device, two devices, two processes and two ranks."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs
from tests.parallel.launch import djaxrun, mpirun, run_python

SUITE = Path(__file__).with_name("suite.py")
RESUME = Path(__file__).with_name("resume.py")
# What the launch decides.
OF_THE_LAUNCH = {
    "devices",
    "ranks",
    "largest part",
    "whole in closed form",
    "entries of a part",
}


def results(done: Any) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.reports


@pytest.fixture(scope="module")
def one_device() -> dict[str, Any]:
    (found,) = results(run_python(SUITE, devices=1))
    return found


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for key in found.keys() - OF_THE_LAUNCH:
        scale = max(1.0, float(np.nanmax(np.abs(expected[key]))))
        np.testing.assert_allclose(
            found[key], expected[key], rtol=1e-12, atol=1e-12 * scale, err_msg=key
        )


# Claims whose work ranks share.
SHARED = ("--only", "closed_form", "given_network", "training", "entropies")
LAUNCHES = {
    "two devices": (2, 1, lambda: run_python(SUITE, devices=2)),
    "two processes": (2, 1, lambda: djaxrun(2, SUITE, "--join")),
    "two ranks": (1, 2, lambda: mpirun(2, SUITE, "--ranks", *SHARED)),
    "three ranks": (1, 3, lambda: mpirun(3, SUITE, "--ranks", "--only", *SHARED[3:])),
}


@pytest.mark.slow
@pytest.mark.parametrize("launch", LAUNCHES)
def test_every_launch_gives_the_numbers_of_one_device(launch: str, one_device: Any) -> None:
    devices, ranks, start = LAUNCHES[launch]
    found = results(start())
    assert len(found) == (1 if launch == "two devices" else max(devices, ranks))
    for numbers in found:
        assert (numbers["devices"], numbers["ranks"]) == (devices, ranks)
        same(numbers, one_device)
        if devices == 2:
            # No device has whole what grows with the square of 37: half of the rows, filled up, is 19.
            assert (numbers["whole in closed form"], numbers["largest part"]) == (19 * 37, 7)
            assert numbers["entries of a part"] == 64 // 2
    assert one_device["whole in closed form"] >= 37 * 37
    assert one_device["largest part"] == 13


@pytest.mark.slow
def test_one_device_agrees_with_definitions(one_device: dict[str, Any]) -> None:
    x = np.asarray(nk.hilbert.Spin(0.5, 5).all_states())
    rng = np.random.default_rng(0)
    v, w = rng.normal(size=9), rng.normal(size=(13, 2))
    kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,)))
    nngp, ntk = map(np.asarray, kernel.both(x[:13], x[:9]))
    square = np.asarray(kernel.nngp(x[:13]))
    z = rng.normal(size=256)
    i = np.arange(256)
    signs = 1.0 - 2.0 * (np.bitwise_count(i[:, None] & i) & 1)
    turned = v + 1j * v[::-1]
    expected = {
        "rows": ntk @ v,
        "nngp": nngp @ v,
        "complex": np.stack([(ntk @ turned).real, (ntk @ turned).imag]),
        "transpose": ntk.T @ w,
        "product": ntk.T @ square @ nngp,
        "transposed": nngp.T @ square * v[0],
        "dots": (ntk * nngp).sum(1),
        "column dots": (ntk * nngp).sum(0),
        "diagonal": 2 * np.diag(square),
        "eigenvalues": np.linalg.eigvalsh(square),
        "again": np.zeros((13, 13)),
        "transform": signs @ z,
    }
    for key, value in expected.items():
        np.testing.assert_allclose(one_device[key], value, rtol=1e-11, atol=1e-11, err_msg=key)


@pytest.mark.slow
def test_checkpoint_resumes_on_another_number_of_devices(tmp_path: Path) -> None:
    (one,), (two,) = (
        results(run_python(RESUME, "save", tmp_path / f"{d}", devices=d)) for d in (1, 2)
    )
    np.testing.assert_allclose(two["loss"], one["loss"], rtol=1e-12)
    for saved, devices in ((1, 2), (2, 1)):
        (found,) = results(run_python(RESUME, "load", tmp_path / f"{saved}", devices=devices))
        assert found["step"] == 5
        np.testing.assert_allclose(found["loss"], one["loss"], rtol=1e-12)


class FakeSolver:
    """What jaxmg does on GPUs, by NumPy: eigenvectors in rows as the matrix lies."""

    @staticmethod
    def syevd(matrix: Any, T_A: int) -> tuple[Any, Any]:
        assert matrix.shape[0] == matrix.shape[1]
        assert T_A >= 1
        values, vectors = np.linalg.eigh(np.asarray(matrix))
        return jnp.asarray(values), jnp.asarray(vectors)


@pytest.mark.parametrize("n", [6, 7])
def test_modes_of_the_filling_are_left_out_of_a_distributed_eigendecomposition(
    n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from netket_qsntk._compat import jaxmg
    from netket_qsntk.parallel import eigensolver

    a = np.random.default_rng(0).normal(size=(n, 4))
    a = a @ a.T  # singular: its null modes must not mix with those of the filling
    rows = np.zeros((8, n))
    rows[:n] = a
    matrix = qs.parallel.SharedMatrix(jnp.asarray(rows), n)
    monkeypatch.setattr(
        eigensolver, "distributed_eigh", lambda: lambda m: jaxmg._syevd(FakeSolver, m)
    )
    values, vectors = qs.parallel.eigh(matrix)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(a), atol=1e-12)
    assert vectors.shape == (n, n)
    v = np.asarray(vectors.rows)
    np.testing.assert_allclose(v[:n] @ np.diag(values) @ v[:n].T, a, atol=1e-12)
    assert not v[n:].any()


def test_the_distributed_solver_is_for_gpus() -> None:
    from netket_qsntk._compat.jaxmg import distributed_eigh

    assert distributed_eigh() is None


def test_matrices_of_other_shapes_are_refused() -> None:
    one, other = (qs.parallel.SharedMatrix(jnp.ones((4, m)), 4) for m in (3, 5))
    with pytest.raises(qs.errors.OperatorShapeError, match="no product"):
        one @ other
    with pytest.raises(qs.errors.OperatorShapeError, match="entry by entry|Entry by entry"):
        one + other
    with pytest.raises(qs.errors.OperatorShapeError, match="square"):
        qs.parallel.eigh(one)


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
