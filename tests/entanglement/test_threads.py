"""Members on several threads give the numbers of one, and BLAS is left as it was."""

import threading

import netket as nk
import numpy as np
import pytest

from netket_qsntk._compat.cpu import blas_threads
from netket_qsntk._compat.cpu.blas_threads import one_blas_thread
from netket_qsntk.entanglement import entanglement_spectrum, entropies, threads

HILBERT = nk.hilbert.Spin(0.5, 6)


@pytest.fixture
def psi():
    rng = np.random.default_rng(0)
    return rng.standard_normal((2, 7, 64)) + 1j * rng.standard_normal((2, 7, 64))


@pytest.mark.parametrize("cores", [1, 3])
def test_slices_and_threads_change_nothing(psi, cores, monkeypatch):
    whole = entanglement_spectrum(psi, HILBERT, [0, 4])
    moments = entropies(psi, HILBERT, [0, 4], n=[2, 3, 4])
    monkeypatch.setattr(threads, "_NUMBERS", 2 * 64)
    monkeypatch.setattr(threads.os, "cpu_count", lambda: cores)
    np.testing.assert_array_equal(entanglement_spectrum(psi, HILBERT, [0, 4]), whole)
    np.testing.assert_allclose(entropies(psi, HILBERT, [0, 4], n=[2, 3, 4]), moments, rtol=1e-14)
    assert entropies(psi[:0], HILBERT, [0, 4], n=[1, 2]).shape == (0, 7, 2)


def test_another_blas_is_left_alone(psi, monkeypatch):
    whole = entropies(psi, HILBERT, [0, 4])
    monkeypatch.setattr(threads, "_NUMBERS", 64)
    nothing = blas_threads._blas().select(user_api="none such")
    monkeypatch.setattr(blas_threads, "_blas", lambda: nothing)
    with one_blas_thread() as alone:
        assert not alone
    np.testing.assert_allclose(entropies(psi, HILBERT, [0, 4]), whole, rtol=1e-14)


def numbers():
    """Of threads, of each BLAS of this process."""
    return {library["num_threads"] for library in blas_threads._blas().info()}


def test_the_number_of_blas_threads_comes_back():
    if not blas_threads._blas().info():
        pytest.skip("no BLAS whose threads can be set")
    with blas_threads._blas().limit(limits=2):
        if numbers() != {2}:
            pytest.skip("a BLAS that does not take more threads than it began with")
        inside, go = threading.Event(), threading.Event()

        def other():
            with one_blas_thread():
                inside.set()
                go.wait(10)

        # Two contexts that overlap without one holding the other.
        with one_blas_thread() as alone:
            assert alone
            assert numbers() == {1}
            thread = threading.Thread(target=other)
            thread.start()
            inside.wait(10)
        go.set()
        thread.join()
        assert numbers() == {2}


def test_an_error_in_a_member_is_raised_and_blas_comes_back(psi, monkeypatch):
    monkeypatch.setattr(threads, "_NUMBERS", 64)
    bad = psi.copy()
    bad[1, 3, 5] = np.nan
    before = numbers()
    with pytest.raises(ValueError, match="nan or inf"):
        entropies(bad, HILBERT, [0, 4])
    assert numbers() == before
