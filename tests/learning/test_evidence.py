"""Evidence by levels against the marginal likelihood of drawn training sets."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs

HI = nk.hilbert.Spin(0.5, 8)
TARGET = qs.targets.quench(
    nk.operator.Ising(HI, nk.graph.Chain(8), h=0.3, J=-1.0), initial="plus", time=1.0
)


def kernel_of(sigma_b):
    return qs.kernels.infinite_width(qs.models.WideMLP(widths=(4,), sigma_w=0.5, sigma_b=sigma_b))


def drawn(kernel, n, ridge, best, draws=20):
    found = []
    for seed in range(draws):
        train, _ = TARGET.split(n, seed)
        matrix = np.asarray(kernel.nngp(train.states)) + ridge * np.eye(n)
        y = np.stack([train.amplitudes.real, train.amplitudes.imag])
        fit = (y * np.linalg.solve(matrix, y.T).T).sum()
        volume = 2 * np.linalg.slogdet(matrix)[1]
        scale = fit / (2 * n) if best else 1.0
        found.append(
            -0.5 * (fit / scale + volume + 2 * n * np.log(scale) + 2 * n * np.log(2 * np.pi))
        )
    return np.mean(found), np.std(found, ddof=1) / draws**0.5


@pytest.mark.thorough
@pytest.mark.parametrize("sigma_b", [0.01, 0.4])
@pytest.mark.parametrize(("n", "ridge"), [(40, 0.0), (128, 1e-3), (200, 0.0)])
@pytest.mark.parametrize("scale", ["fixed", "best"])
def test_evidence_is_the_average_marginal_likelihood(sigma_b, n, ridge, scale) -> None:
    kernel = kernel_of(sigma_b)
    levels, power = qs.learning.levels(kernel, HI), qs.learning.target_power(TARGET)
    mean, error = drawn(kernel, n, ridge, scale == "best")
    found = float(qs.learning.log_evidence(levels, power, [n], ridge=ridge, scale=scale)[0])
    # One nat a hundred amplitudes tells no architectures apart.
    assert abs(found - mean) < 4 * error + 0.01 * n


@pytest.mark.thorough
def test_evidence_has_derivatives() -> None:
    levels, power = qs.learning.levels(kernel_of(0.4), HI), qs.learning.target_power(TARGET)

    def evidence(slope):
        changed = levels.nngp_eigenvalues * jnp.exp(-slope * jnp.arange(9.0))
        moved = qs.learning.Levels(
            changed, changed, levels.multiplicities, levels.n_states, levels.parities
        )
        return qs.learning.log_evidence(moved, power, [60], ridge=1e-3)[0]

    slope = (evidence(0.1 + 1e-5) - evidence(0.1 - 1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(evidence)(0.1), slope, rtol=1e-6)
