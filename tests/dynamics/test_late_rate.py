"""late_rate against runs of SR in function space that are written here in NumPy, kernel and all."""

import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs

SIGMA_W, SIGMA_B = 1.5, 0.5


def relu_ntk(x):
    """Θ of a network with one layer of relu units (arc-cosine kernels of orders 0 and 1)."""
    before = SIGMA_B**2 + SIGMA_W**2 * x @ x.T / x.shape[1]
    size = SIGMA_B**2 + SIGMA_W**2
    angle = np.arccos(np.clip(before / size, -1, 1))
    after = size / (2 * np.pi) * (np.sin(angle) + (np.pi - angle) * np.cos(angle))
    slope = (np.pi - angle) / (2 * np.pi)
    return SIGMA_B**2 + SIGMA_W**2 * (after + before * slope)


class Ring:
    """The transverse-field Ising model at its critical field, and the run of an infinitely wide relu network."""

    def __init__(self, sites):
        self.hilbert = nk.hilbert.Spin(0.5, sites)
        self.operator = nk.operator.Ising(self.hilbert, nk.graph.Chain(sites), h=1.0)
        x = np.asarray(self.hilbert.all_states(), float)
        apart = (sites - x @ x.T) / 2
        self.h = np.diag(np.sum(x * np.roll(x, 1, axis=1), axis=1)) - (apart == 1)
        self.theta = relu_ntk(x)
        self.levels, vectors = np.linalg.eigh(self.h)
        self.psi = abs(vectors[:, 0])
        self.ground = np.log(self.psi)

    def frame(self, f):
        psi = np.exp(f - f.max())
        psi = psi / np.linalg.norm(psi)
        centred = psi[:, None] * (np.eye(len(psi)) - psi[None, :] ** 2)  # D C
        return psi, centred

    def move(self, centred, forces, shift):
        """What ηΘCᵀDa moves f by, for η = 1."""
        a = forces
        if shift is not None:
            t = centred @ self.theta @ centred.T
            a = np.linalg.solve(t + shift * np.eye(len(t)), forces)
        return self.theta @ (centred.T @ a)

    def excess(self, f):
        """E - E₀, from what is orthogonal to the ground state: nothing cancels."""
        psi, _ = self.frame(f)
        away = psi - self.psi * (self.psi @ psi)
        return away @ (self.h @ away) - self.levels[0] * away @ away

    def run(self, f, steps, rate, shift):
        for _ in range(steps):
            psi, centred = self.frame(f)
            moved = self.h @ psi
            f = f - rate * self.move(centred, 2 * (moved - (psi @ moved) * psi), shift)
        return f

    def late(self, rate, shift):
        """Log ψ near the ground state, after 2^30 steps of the linearised equation of motion."""
        psi, centred = self.frame(self.ground)
        away = 2 * (self.h - self.levels[0] * np.eye(len(psi))) * psi[None, :]
        powers = np.eye(len(psi)) - rate * self.move(centred, away, shift)
        for _ in range(30):
            powers = powers @ powers
            powers = powers / np.linalg.norm(powers)
            powers = powers - psi**2 @ powers  # constants are no change of the state
        mode = powers @ np.random.default_rng(0).normal(size=len(psi))
        return self.ground + 1e-4 * mode / abs(mode).max()


def flow(ring, rate, shift):
    net = qs.models.WideMLP(
        widths=(1,), activation="relu", sigma_w=SIGMA_W, sigma_b=SIGMA_B, parts="real"
    )
    kernel = qs.kernels.infinite_width(net)
    return qs.dynamics.NaturalGradientFlow(
        kernel, ring.operator, learning_rate=rate, diag_shift=shift
    )


@pytest.mark.thorough
@pytest.mark.parametrize("shift", [1e-6, 1e-3, 1e-2, 1.0, None])
def test_it_is_the_rate_of_a_run_on_a_ring_of_eight(shift):
    # Below 2 over the width of the spectrum, beyond which steps without a shift overshoot.
    ring, rate, steps = Ring(8), 0.02, 20
    early = ring.late(rate, shift)
    ratio = ring.excess(ring.run(early, steps, rate, shift)) / ring.excess(early)
    # A step multiplies E - E₀ by (1 - 2ηr)².
    measured = (1 - ratio ** (1 / (2 * steps))) / (2 * rate)
    assert flow(ring, rate, shift).late_rate() == pytest.approx(measured, rel=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("shift", "r", "exponent"),
    [(1e-3, 0.2627, 0.2634), (1e-2, 0.2568, 0.2575), (1.0, 0.00313, 0.00312)],
)
def test_rates_on_a_ring_of_six_and_exponents_of_its_runs(shift, r, exponent):
    # The exponent of a run is -log(1 - 2ηr)/(2η), a little more than r.
    ring, rate, steps = Ring(6), 0.01, 50
    digit = 1e-4 if shift < 1 else 1e-5
    assert flow(ring, rate, shift).late_rate() == pytest.approx(r, abs=digit / 2)
    early = ring.late(rate, shift)
    late = ring.excess(ring.run(early, steps, rate, shift))
    measured = -np.log(late / ring.excess(early)) / (4 * rate * steps)
    assert measured == pytest.approx(exponent, abs=digit)


def test_a_run_from_anywhere_ends_at_that_rate():
    ring, rate, shift = Ring(6), 0.05, 1e-3
    f = ring.run(0.3 * np.random.default_rng(1).normal(size=64), 250, rate, shift)
    ratio = ring.excess(ring.run(f, 20, rate, shift)) / ring.excess(f)
    measured = (1 - ratio ** (1 / 40)) / (2 * rate)
    assert measured == pytest.approx(flow(ring, rate, shift).late_rate(), rel=5e-3)


def test_it_is_the_gap_without_regularisation():
    ring = Ring(6)
    gap = ring.levels[1] - ring.levels[0]
    assert flow(ring, 0.05, 0.0).late_rate() == pytest.approx(gap, rel=1e-9)
