"""Conjugate gradients on T + λ for a kernel of the Hamming distance, as compiled code that XLA calls on the CPU.

Between two Walsh-Hadamard transforms XLA goes through the vectors about ten times in one iteration: on 2¹⁶ states
that costs more than the transforms. Here the factors √p, the eigenvalues, the sums and the updates are part of the
loops that read the vectors anyway. Where it is missing (:func:`available`), the same iteration runs in XLA
(:func:`netket_qsntk.dynamics.natural_gradient_solver.by_products`).
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from netket_qsntk._compat.cpu.foreign import Handler, is_usable
from netket_qsntk._compat.cpu.switch import compiled

_TARGET = "qsntk_hamming_solver_f64"


@cache
def available() -> bool:
    """Whether the compiled solver can be used in this process; compiles and registers it at the first call."""
    if not compiled() or not jax.config.read("jax_enable_x64"):
        return False
    return is_usable("solver of T + λ", _handlers, _is_right)


def _handlers() -> dict[str, Handler]:
    from netket_qsntk._compat.cpu.hamming_solver_loops import handler

    return {_TARGET: handler}


def _is_right() -> bool:
    # Θ = 2 and √p = 1/√8: (2/8 (1 - √p√pᵀ) + 1) x = b.
    root = jnp.full(8, 8**-0.5)
    b = jnp.arange(8.0) - 3.5
    levels, numbers = jnp.full(4, 2.0), jnp.asarray([1.0, 1e-14, 9.0])
    x, _ = solution(b[None], jnp.zeros((1, 8)), root, root, levels, numbers)
    # Numbers here, not arrays: the first call may come while something is traced.
    return bool(np.allclose(np.asarray(x[0]) * 1.25, np.asarray(b), atol=1e-13))


def solution(
    b: Array, start: Array, root: Array, factor: Array, levels: Array, numbers: Array
) -> tuple[Array, Array]:
    """(PAP + λ)⁻¹b with A = m Θ m and P = 1 - √p√pᵀ, from a first guess.

    Args:
        b: Right side (parts, n), n = 2^d >= 8, orthogonal to √p; the parts share inner products.
        start: First guess, likewise.
        root: √p (n,).
        factor: m (n,).
        levels: λ_0, …, λ_d: the eigenvalues of Θ on parities of so many spins.
        numbers: λ, the tolerance relative to b, and the largest number of products.

    Returns:
        The solution (parts, n); the number of products with A and the relative residual, (2,).
    """
    call = jax.ffi.ffi_call(
        _TARGET,
        tuple(jax.ShapeDtypeStruct(s, b.dtype) for s in (b.shape, (2,), (3, *b.shape))),
        vmap_method="broadcast_all",
    )
    x, info, _ = call(b, start, root, factor, levels, numbers)
    return x, info
