"""The compiled solver of (T + λ)a = b against factorised matrices, and against the same iteration in XLA."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import pytest

import netket_qsntk as qs
from netket_qsntk._compat.cpu import hamming_solver as native
from netket_qsntk.dynamics import natural_gradient_solver as solver

SITES = 7
HI = nk.hilbert.Spin(0.5, SITES)
NET = qs.models.WideMLP(widths=(1,), activation="erf", sigma_b=0.3, parts="real")
THETA = qs.kernels.infinite_width(NET).operator(HI.all_states())
rng = np.random.default_rng(0)
ROOT = rng.uniform(size=2**SITES)
ROOT = ROOT / np.linalg.norm(ROOT)


def system(parts, factor):
    b = rng.normal(size=(parts, 2**SITES))
    b = b - np.outer(b @ ROOT, ROOT)
    centre = np.eye(len(ROOT)) - np.outer(ROOT, ROOT)
    t = factor[:, None] * np.asarray(THETA.as_matrix()) * factor
    return (b[0] if parts == 1 else b[0] + 1j * b[1]), centre @ t @ centre


def solved(b, shift, factor=ROOT, start=None, tolerance=1e-12, most=500):
    assert solver.is_native(THETA, jnp.asarray(factor))
    return solver.by_compiled_products(
        THETA, jnp.asarray(factor), jnp.asarray(ROOT), jnp.asarray(b), jnp.asarray(shift),
        jnp.zeros_like(b) if start is None else start, jnp.asarray(tolerance), most,
    )  # fmt: skip


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("signs", [False, True])
def test_it_is_the_solution_of_the_matrix(parts, signs):
    factor = ROOT * (rng.choice([-1.0, 1.0], len(ROOT)) if signs else 1.0)
    b, t = system(parts, factor)
    expected = np.linalg.solve(t + 1e-3 * np.eye(len(t)), b)
    found = solved(b, 1e-3, factor)
    np.testing.assert_allclose(found.value, expected, atol=1e-9 * abs(expected).max())
    assert found.residual <= 1e-12
    assert 5 < int(found.products) < 300
    # From the solution nothing is left to do but one product.
    again = solved(b, 1e-3, factor, start=found.value, tolerance=1e-9)
    assert int(again.products) == 1


def test_it_counts_as_the_iteration_in_xla():
    b, _ = system(1, ROOT)
    theirs = solver.by_products(
        lambda v: ROOT * THETA.product(ROOT * v), jnp.asarray(ROOT), jnp.asarray(b), jnp.asarray(1e-2),
        jnp.zeros_like(b), jnp.asarray(1e-6), 500,
    )  # fmt: skip
    ours = solved(b, 1e-2, tolerance=1e-6)
    assert int(ours.products) == int(theirs.products)
    np.testing.assert_allclose(ours.value, theirs.value, atol=1e-9)
    assert float(ours.residual) == pytest.approx(float(theirs.residual), rel=1e-3)
    few = solved(b, 1e-2, tolerance=1e-6, most=4)
    assert int(few.products) == 4
    assert float(few.residual) > 1e-6


def test_it_is_found_while_something_is_traced():
    native.available.cache_clear()
    assert jax.jit(lambda x: x + int(native.available()))(0) == 1


def test_members_at_once_and_derivatives():
    b, t = system(1, ROOT)
    c, _ = system(1, ROOT)
    both = jax.vmap(lambda v: solved(v, 1e-2).value)(jnp.stack([b, c]))
    np.testing.assert_allclose(both[1], solved(c, 1e-2).value, rtol=1e-12)
    _, slope = jax.jvp(lambda s: solved(jnp.asarray(b), s).value, (1e-2,), (1.0,))
    inverse = np.linalg.inv(t + 1e-2 * np.eye(len(t)))
    np.testing.assert_allclose(slope, -inverse @ inverse @ b, atol=1e-7 * abs(slope).max())


@pytest.mark.thorough
@pytest.mark.parametrize("parts", ["real", "independent"])
def test_runs_by_products_are_those_by_matrices(parts):
    hamiltonian = nk.operator.Ising(HI, nk.graph.Chain(SITES), h=1.0)
    net = qs.models.WideMLP(
        widths=(1,), activation="erf", sigma_b=0.3, parts=parts, output="log_psi"
    )
    kernel = qs.kernels.infinite_width(net)
    first = rng.normal(size=2**SITES) * (1 if parts == "real" else 1 + 1j)
    options = {"learning_rate": 0.05, "diag_shift": 1e-3, "momentum": 0.5}
    dense, products = (
        qs.dynamics.NaturalGradientFlow(kernel, hamiltonian, solver=s, tolerance=1e-12, **options)
        for s in ("dense", "products")
    )
    np.testing.assert_allclose(
        products.energies(first, [0, 20]), dense.energies(first, [0, 20]), atol=1e-8
    )
