"""Kernel matrices from tables of inner products, against the formula at each pair."""

import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs

RNG = np.random.default_rng(0)
SPINS = nk.hilbert.Spin(0.5, 5).all_states()
BATCHES = {
    "spins": (SPINS, None),
    "spins and zeros": (SPINS, np.zeros((2, 5))),
    "three values": (nk.hilbert.Spin(1, 3).all_states(), None),
    "bosons": (nk.hilbert.Fock(3, 3).all_states(), None),
    "fermions": (RNG.choice([-1.5, -0.5, 0.5, 1.5], (30, 6)), None),
    "odd and even": (RNG.choice([-3, 1], (20, 4)), RNG.choice([-2, 0, 4], (30, 4))),
    "even and whole": (RNG.choice([-2, 6], (20, 4)), RNG.choice([-2, 1, 4], (30, 4))),
    "halves and whole": (RNG.choice([-0.5, 1.5], (20, 4)), RNG.choice([-2, 1, 4], (30, 4))),
    "one site": (np.asarray([[1], [-1], [3]]), None),
}


def formula(d, pair):
    """Tells every inner product from every other, and the norms."""
    return pair.c + 0.1 * pair.a * pair.b, pair.gap / d + pair.determinant


@pytest.mark.parametrize("name", BATCHES)
def test_tables_hold_every_inner_product(name):
    x, y = BATCHES[name]
    nngp, ntk = qs.kernels.DotProductKernel(formula).both(x, y)
    u, v = np.asarray(x, float), np.asarray(x if y is None else y, float)
    a, b, c = (u * u).sum(-1)[:, None], (v * v).sum(-1)[None], u @ v.T
    np.testing.assert_allclose(nngp, c + 0.1 * a * b, rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(ntk, ((a + b) / 2 - c) / u.shape[1] + a * b - c * c, atol=1e-12)
