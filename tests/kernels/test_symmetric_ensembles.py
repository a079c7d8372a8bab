"""Entropies, draws and training of symmetric ensembles against sums over the group written out on four spins."""

import netket as nk
import numpy as np
import optax
import pytest

import netket_qsntk as qs
from tests.dynamics.oracles import train_linear_model

D = 4
HILBERT, RING = nk.hilbert.Spin(0.5, D), nk.graph.Chain(D)
STATES = np.asarray(HILBERT.all_states())
GROUP = RING.translation_group()
CHARACTERS = {
    "k = 0": np.ones(D),
    "k = π": (-1.0) ** np.arange(D),
    "k = π/2": 1j ** np.arange(D),
}
TFIM = nk.operator.IsingJax(HILBERT, RING, h=1.0, J=-1.0)


def network(parts, output="psi"):
    return qs.models.WideMLP(
        widths=(1,), activation="erf", sigma_w=1.3, sigma_b=0.4, parts=parts, output=output
    )


def by_group(net, chi, which):
    kernel = qs.kernels.infinite_width(net)
    images = np.asarray(GROUP @ STATES)
    return sum(
        np.conj(c) * np.asarray(kernel.matrix(STATES, y, which)) / D
        for c, y in zip(chi, images, strict=True)
    )


def moments(name, parts):
    """E ψψ† and E ψψᵀ of the ensemble, by hand: each part has K_G, and momenta ±π/2 meet only one another."""
    part = by_group(network(parts), CHARACTERS[name], "nngp")
    if parts == "independent":
        return 2 * part, 0 * part
    return part, 0 * part if name == "k = π/2" else part


def purity(covariance, relation):
    """E Tr ρ² / E (Tr ρ)² of the first two of four spins, all Wick contractions summed over configurations."""
    c, r = covariance.reshape(4, 4, 4, 4), relation.reshape(4, 4, 4, 4)
    top = np.einsum("abcb,cdad->", c, c) + np.einsum("abad,cdcb->", c, c)
    top = top + np.einsum("abcd,cbad->", r, r.conj())
    norm = (
        np.trace(covariance) ** 2 + np.sum(np.abs(covariance) ** 2) + np.sum(np.abs(relation) ** 2)
    )
    return (top / norm).real


@pytest.mark.thorough
@pytest.mark.parametrize("parts", ["independent", "real"])
@pytest.mark.parametrize("name", CHARACTERS)
def test_entropies_and_draws(name, parts):
    covariance, relation = moments(name, parts)
    model = qs.models.Symmetrized(network(parts), GROUP, CHARACTERS[name])
    ensemble = qs.entanglement.ensemble(model, HILBERT)
    assert qs.entanglement.annealed_renyi(ensemble, [0, 1], 2) == pytest.approx(
        -np.log(purity(covariance, relation)), rel=1e-12
    )
    state = qs.vqs.InfiniteState(HILBERT, model)
    np.testing.assert_allclose(state.covariance, covariance, atol=1e-13)
    psi = np.asarray(state.sample(4000, seed=1))
    size = 4.5 / 4000**0.5 * np.sqrt(2 * np.outer(*2 * [np.diag(covariance).real]))
    assert np.all(np.abs(psi.T @ psi.conj() / len(psi) - covariance) < size + 1e-12)
    assert np.all(np.abs(psi.T @ psi / len(psi) - relation) < size + 1e-12)
    # E over normalised members, by the draws just looked at.
    rho = np.einsum("mab,mcb->mac", *(psi.reshape(-1, 4, 4), psi.reshape(-1, 4, 4).conj()))
    purities = np.sum(np.abs(rho) ** 2, axis=(1, 2)) / np.trace(rho, axis1=1, axis2=2).real ** 2
    annealed = state.expect(
        qs.observable.EnsembleEntropy(HILBERT, [0, 1], n=2, average="annealed")
    ).mean
    error = purities.std() / len(purities) ** 0.5
    assert abs(np.exp(-annealed) - purities.mean()) < 4.5 * error


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["k = 0", "k = π"])
def test_linear_dynamics(name):
    model = qs.models.Symmetrized(network("independent"), GROUP, CHARACTERS[name])
    rng = np.random.default_rng(3)
    target = qs.targets.Target(HILBERT, rng.normal(size=(2, 16)).T @ [1, 1j])
    train, _ = target.split(10, seed=1)
    index = target.split_indices(10, seed=1)[0]
    theta, k = (by_group(network("real"), CHARACTERS[name], w) for w in ("ntk", "nngp"))
    values, vectors = np.linalg.eigh(theta)
    jacobian = vectors * np.sqrt(np.maximum(values, 0))
    dynamics = qs.dynamics.LinearDynamics(
        qs.kernels.infinite_width(model), train, learning_rate=0.2
    )
    run = train_linear_model(
        jacobian, index, np.zeros((16, 1), complex), np.asarray(train.amplitudes)[:, None],
        optax.sgd(0.2), 30,
    )  # fmt: skip
    np.testing.assert_allclose(dynamics.mean([0, 1, 30], STATES), run[[0, 1, 30], :, 0], atol=1e-12)
    # The response to where a network starts: columns of the identity, target zero.
    moved = train_linear_model(jacobian, index, np.eye(16), np.zeros((10, 16)), optax.sgd(0.2), 30)[
        30
    ]
    np.testing.assert_allclose(
        dynamics.variance([30], STATES)[0], 2 * np.diag(moved @ k @ moved.T), atol=1e-12
    )


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["k = 0", "k = π"])
def test_natural_gradient_flow(name):
    model = qs.models.Symmetrized(network("real", "log_psi"), GROUP, CHARACTERS[name])
    start = np.random.default_rng(0).normal(size=16)
    options = {"learning_rate": 0.1, "diag_shift": 1e-3}
    flow = qs.dynamics.NaturalGradientFlow(qs.kernels.infinite_width(model), TFIM, **options)
    theta = by_group(network("real"), CHARACTERS[name], "ntk")
    dense = qs.dynamics.NaturalGradientFlow(theta, TFIM, mode="real", **options)
    np.testing.assert_allclose(
        flow.energies(start, [0, 5, 20]), dense.energies(start, [0, 5, 20]), rtol=1e-10
    )


def test_training_refuses_complex_characters():
    chi = CHARACTERS["k = π/2"]
    kernel = qs.kernels.symmetrized(qs.kernels.infinite_width(network("independent")), GROUP, chi)
    target = qs.targets.Target(HILBERT, np.arange(1.0, 17))
    train, _ = target.split(10, seed=0)
    for refused in (kernel, 2.0 * kernel, kernel + kernel):
        assert not refused.is_real
        for make in (
            lambda k: qs.dynamics.LinearDynamics(k, train, learning_rate=0.1),
            lambda k: qs.dynamics.Posterior(k, train, noise=0.1),
            lambda k: qs.dynamics.FunctionSpaceFlow(k, qs.losses.Energy(TFIM), learning_rate=0.1),
            lambda k: qs.dynamics.NaturalGradientFlow(k, TFIM, learning_rate=0.1, diag_shift=1e-3),
        ):
            with pytest.raises(qs.errors.InvalidModelError, match="complex character"):
                make(refused)
