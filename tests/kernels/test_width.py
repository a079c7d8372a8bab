"""Finite networks approach the infinite-width kernels as 1/√N (S16-S18 and the paper's ensembles)."""

import sys

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs
from netket_qsntk.kernels.layers import network_kernels

X = nk.hilbert.Spin(0.5, 4).all_states()[:6]
B = np.random.default_rng(0).normal(size=(4, 4), scale=0.2)

ENSEMBLES = {
    "CosNet": lambda n, **o: qs.models.CosNet(n, sigma_a=1.3, sigma_w=1.2, **o),
    "GaussNet": lambda n, **o: qs.models.GaussNet(n, sigma_a=1.3, sigma_w=0.6, **o),
    "WideMLP": lambda n, **o: qs.models.WideMLP(widths=(n,), sigma_w=1.2, sigma_b=0.3, **o),
    "deep WideMLP": lambda n, **o: qs.models.WideMLP(
        widths=(n, n), activation="erf", sigma_w=1.4, sigma_b=0.3, **o
    ),
    "tanh": lambda n, **o: qs.models.WideMLP(widths=(n,), activation="tanh", sigma_w=1.2, **o),
    "FourierFeatures": lambda n, **o: qs.models.FourierFeatures(
        B, 1.0, qs.models.WideMLP(widths=(n,), sigma_w=1.2, sigma_b=0.3), **o
    ),
}


def blocks_of_members(model, members, seed=0):
    """{(α, β): (members, n, n)} and ψ (members, n) of networks drawn at initialisation."""
    x = jnp.asarray(X)
    encoded = model.encode(x)

    @jax.jit
    def one(key):
        variables = model.init(key, x)
        psi = model.apply(variables, x, method="psi")
        return network_kernels(model, variables["params"], encoded, None), psi

    return jax.lax.map(one, jax.random.split(jax.random.key(seed), members))


def deviation(model, members, seed=0):
    """RMS over members and entries of the NTK's departure from its limit, relative to its largest value."""
    blocks, _ = blocks_of_members(model, members, seed)
    exact = qs.kernels.infinite_width(model).ntk(X)
    return float(np.sqrt(np.mean((blocks[0, 0] - exact) ** 2)) / np.abs(exact).max())


def fitted_exponent(make, widths, members, **options):
    found = [deviation(make(n, **options), members, seed=n) for n in widths]
    slope = np.polyfit(np.log(widths), np.log(found), 1)[0]
    return found, slope


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["CosNet", "deep WideMLP"])
def test_the_ntk_converges_as_one_over_sqrt_n(name):
    _, slope = fitted_exponent(ENSEMBLES[name], [50, 200, 800], 60, parts="real")
    assert slope == pytest.approx(-0.5, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("parts", ["real", "shared"])
@pytest.mark.parametrize("parametrization", ["ntk", "standard"])
@pytest.mark.parametrize("name", ENSEMBLES)
def test_table_of_exponents(name, parametrization, parts, capsys):
    widths = [32, 128, 512, 2048]
    found, slope = fitted_exponent(
        ENSEMBLES[name], widths, 100, parts=parts, parametrization=parametrization
    )
    with capsys.disabled():
        row = " ".join(f"{value:.2e}" for value in found)
        sys.stdout.write(
            f"\n{name:16s} {parametrization:8s} {parts:11s} {row}  exponent {slope:+.3f}"
        )
    assert slope == pytest.approx(-0.5, abs=0.07)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ENSEMBLES)
def test_the_mean_over_members_is_the_infinite_width_kernel(name):
    """NNGP by E[ψ₁ψ₁] and NTK by the mean of Θ₁₁, within 4.5 standard errors, both parametrisations."""
    members = 2000
    for parametrization in ("ntk", "standard"):
        model = ENSEMBLES[name](64, parts="real", parametrization=parametrization)
        blocks, psi = blocks_of_members(model, members)
        nngp, ntk = qs.kernels.infinite_width(model).both(X)
        samples = {"nngp": (psi[:, :, None] * psi[:, None, :], nngp), "ntk": (blocks[0, 0], ntk)}
        for what, (values, exact) in samples.items():
            if name == "deep WideMLP" and what == "ntk":
                continue  # its mean has corrections of order 1/N
            error = values.std(0, ddof=1) / np.sqrt(members)
            z = np.abs(values.mean(0) - exact) / np.maximum(error, 1e-12 * np.abs(exact).max())
            assert z.max() < 4.5, (name, parametrization, what)


@pytest.mark.thorough
@pytest.mark.parametrize("activation", ["erf", "cos"])
def test_shared_trunk_reproduces_s16_to_s18(activation):
    """ψ = Σ(aᵢ + i bᵢ)σ(cᵢx)/√N: Θ∞ = 0 and Φ∞ = 2E[σσ'] + 2xx'E[σ̇σ̇'], fluctuations O(1/√N)."""
    x = X.astype(float)
    rng = np.random.default_rng(1)
    c = rng.normal(size=(400_000, 4))
    z = c @ x.T / 2.0  # inputs scaled by 1/√d
    act = qs.activations.activation(activation).function
    sigma, slope = act(z), jax.vmap(jax.vmap(jax.grad(act)))(z)
    gram = x @ x.T / 4
    phi = 2 * (sigma.T @ sigma) / len(z) + 2 * gram * (slope.T @ slope) / len(z)
    make = lambda n, parts="shared": qs.models.WideMLP(  # noqa: E731
        widths=(n,), activation=activation, parts=parts
    )
    exact = qs.kernels.infinite_width(make(8)).qsntk(X)
    np.testing.assert_allclose(exact.phi, phi, atol=0.02)
    np.testing.assert_array_equal(exact.theta, 0)
    assert exact.is_decoupled()
    sizes = []
    for n in (64, 1024):
        blocks, _ = blocks_of_members(make(n), 200, seed=n)
        theta = blocks[0, 0] - blocks[1, 1] + 1j * (blocks[0, 1] + blocks[0, 1].swapaxes(1, 2))
        found = blocks[0, 0] + blocks[1, 1] - 1j * (blocks[0, 1] - blocks[0, 1].swapaxes(1, 2))
        for values, limit in ((theta, exact.theta), (found, exact.phi)):
            error = values.std(0, ddof=1) / np.sqrt(200)
            assert (np.abs(values.mean(0) - limit) <= 5 * error + 1e-12).all()
        sizes.append(np.sqrt((np.abs(theta) ** 2).mean()))
    assert sizes[1] / sizes[0] == pytest.approx(0.25, rel=0.15)
