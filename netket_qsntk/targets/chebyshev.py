r"""Time evolution by products with the Hamiltonian alone.

On a spectrum within [c - ρ, c + ρ] the propagator is a series in Chebyshev polynomials whose coefficients are Bessel
functions,

.. math:: e^{-iHt} = e^{-ict} \sum_{k=0}^\infty (2 - \delta_{k0}) (-i)^k J_k(\rho t)\, T_k\big((H - c)/\rho\big)

(Tal-Ezer & Kosloff, J. Chem. Phys. 81, 3967 (1984)). It is the member of the Krylov space that needs no basis to be
stored, so four vectors are enough; cut off after m terms its error is at most 2 Σ_{k>m} |J_k(ρt)|, known beforehand,
and m is little more than ρt. For a real Hamiltonian the polynomials are real, and so is nearly all of the work.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike, DTypeLike
from scipy.special import jv

from netket_qsntk.progress import track
from netket_qsntk.targets.pauli import PauliHamiltonian

__all__ = ["chebyshev_terms", "evolve"]

_TOLERANCE = 1e-14


def chebyshev_terms(z: float, *, tolerance: float = _TOLERANCE) -> np.ndarray:
    """J_0(z), …, J_m(z), with m such that the rest of the series is below a tolerance: 2 Σ_{k>m} |J_k| ≤ tolerance.

    Example:
        >>> len(chebyshev_terms(0.0)), len(chebyshev_terms(100.0))
        (1, 148)
    """
    # Beyond k = z the functions fall off over a few z^{1/3}; this is far enough for any tolerance in float64.
    orders = np.arange(int(abs(z) + 20 * abs(z) ** (1 / 3) + 40))
    values = jv(orders, z)
    beyond = 2 * np.cumsum(np.abs(values)[::-1])[::-1]
    return values[: max(1, int(np.count_nonzero(beyond > tolerance)))]


def evolve(hamiltonian: PauliHamiltonian, psi: ArrayLike, time: float) -> np.ndarray:
    """e^{-iHt} ψ for ψ (n_states,): complex128, exact to rounding (about 1e-13 of the norm).

    Costs about ρt + 6 (ρt)^{1/3} products, ρ half the width of the spectrum's bounds. Memory is nine real vectors
    for a real Hamiltonian and a real ψ, twice as much for complex ones. A progress bar counts products.

    Example:
        >>> import netket as nk, numpy as np
        >>> from netket_qsntk.targets.pauli import pauli_hamiltonian
        >>> H = pauli_hamiltonian(nk.operator.spin.sigmax(nk.hilbert.Spin(0.5, 1), 0))
        >>> np.allclose(evolve(H, [1.0, 0.0], 0.3), [np.cos(0.3), -1j * np.sin(0.3)])
        True
    """
    low, high = hamiltonian.bounds
    centre, radius = (low + high) / 2, max((high - low) / 2, np.finfo(float).tiny)
    terms = chebyshev_terms(radius * time)
    rows = _rows(np.asarray(psi), hamiltonian.dtype)
    # Even terms, and odd ones, which carry the factor -i.
    totals = [terms[0] * rows, jnp.zeros_like(rows)]
    previous, current = rows, rows
    products = track(terms[1:], "time evolution", unit="product")
    for k, term in enumerate(products, start=1):
        weight = 2 * term * (-1) ** (k // 2)
        scale = 1.0 if k == 1 else 2.0
        following, totals[k % 2] = _step(
            hamiltonian, centre, radius, previous, current, totals[k % 2], scale, weight
        )
        previous, current = current, jax.block_until_ready(following)
    even, odd = (_joined(np.asarray(total)) for total in totals)
    even -= 1j * odd
    even *= np.exp(-1j * centre * time)
    return even


@partial(jax.jit, donate_argnums=5)
def _step(
    hamiltonian: PauliHamiltonian,
    centre: float,
    radius: float,
    previous: Array,
    current: Array,
    total: Array,
    scale: float,
    weight: float,
) -> tuple[Array, Array]:
    """T_{k+1} = 2xT_k - T_{k-1} (T_1 = xT_0 at the start), and the sum with it."""
    moved = (scale / radius) * (hamiltonian.matvec(current) - centre * current)
    following = moved - (scale - 1.0) * previous
    return following, total + weight * following


def _rows(psi: np.ndarray, dtype: DTypeLike) -> Array:
    """ψ as one real row, two (its parts), or one complex row: as few and as real as possible."""
    if np.issubdtype(np.dtype(dtype), np.complexfloating):
        return jnp.asarray(psi[None], complex)
    if np.iscomplexobj(psi) and psi.imag.any():
        return jnp.asarray(np.stack([psi.real, psi.imag]))
    return jnp.asarray(psi.real[None], float)


def _joined(rows: np.ndarray) -> np.ndarray:
    return rows[0] + 1j * rows[1] if len(rows) == 2 else rows[0].astype(np.complex128)
