r"""Solving (T + λ) a = b, T the centred kernel of SR, by a factorisation or by products alone."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Solved(NamedTuple):
    """A solution, and what it cost."""

    value: Array
    """a (n,)."""
    products: Array
    """Products with T."""
    residual: Array
    """‖b - (T + λ)a‖/‖b‖."""


def by_cholesky(matrix: Array, b: Array, shift: Array) -> Solved:
    """(T + λ)⁻¹b for λ > 0 above rounding, T (n, n) Hermitian and positive semidefinite."""
    shifted = matrix + shift * jnp.eye(len(matrix), dtype=matrix.dtype)
    kind = jnp.result_type(matrix.dtype, b.dtype)
    if kind == matrix.dtype:
        a = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(shifted), b)
    else:  # a real matrix and a complex vector: two columns, not a complex matrix
        columns = jax.scipy.linalg.cho_solve(
            jax.scipy.linalg.cho_factor(shifted), jnp.stack([b.real, b.imag], axis=-1)
        )
        a = jax.lax.complex(columns[:, 0], columns[:, 1])
    return Solved(a, jnp.zeros((), int), jnp.zeros(()))


def by_eigenvectors(matrix: Array, b: Array, shift: Array) -> Solved:
    """The same where λ may be zero: modes of T below the floor of rounding, n ε λ_max, do not move."""
    values, vectors = jnp.linalg.eigh(matrix)
    floor = len(matrix) * jnp.finfo(values.dtype).eps * jnp.abs(values[-1])
    live = values > floor
    gain = jnp.where(live, 1 / jnp.where(live, values + shift, 1.0), 0.0)
    a = vectors @ (gain * (vectors.conj().T @ b))
    return Solved(a, jnp.zeros((), int), jnp.zeros(()))


class _Iterate(NamedTuple):
    x: Array
    r: Array
    p: Array
    image: Array
    """A p."""
    r_image: Array
    """A r."""
    curvature: Array
    """⟨r, A r⟩."""
    steps: Array


def _inner(a: Array, b: Array) -> Array:
    return jnp.sum(a.real * b.real) + (
        jnp.sum(a.imag * b.imag) if jnp.iscomplexobj(a) else jnp.zeros(())
    )


def by_products(
    product: Callable[[Array], Array],
    b: Array,
    shift: Array,
    start: Array,
    tol: Array,
    max_steps: int,
) -> Solved:
    """Conjugate residuals on T + λ from a first guess, inside compiled code: one product a step.

    The residual never grows (E. Stiefel, Comment. Math. Helv. 29, 157 (1955)). It stops at ``tol`` relative to b.

    Args:
        product: v -> T v.
        b: Right side (n,), real or complex.
        shift: λ >= 0.
        start: First guess (n,).
        tol: Wanted ‖b - (T + λ)a‖/‖b‖.
        max_steps: Products at most.
    """

    def shifted(v: Array) -> Array:
        return product(v) + shift * v

    size = jnp.sqrt(_inner(b, b))
    r = b - shifted(start)
    r_image = shifted(r)
    first = _Iterate(start, r, r, r_image, r_image, _inner(r, r_image), jnp.full((), 2))

    def unfinished(s: _Iterate) -> Array:
        left = jnp.sqrt(_inner(s.r, s.r)) > tol * size
        return left & (s.steps < max_steps) & (s.curvature > 0)

    def one(s: _Iterate) -> _Iterate:
        length = s.curvature / _inner(s.image, s.image)
        x, r = s.x + length * s.p, s.r - length * s.image
        r_image = shifted(r)
        curvature = _inner(r, r_image)
        turn = curvature / s.curvature
        return _Iterate(
            x, r, r + turn * s.p, r_image + turn * s.image, r_image, curvature, s.steps + 1
        )

    last = jax.lax.while_loop(unfinished, one, first)
    residual = jnp.sqrt(_inner(last.r, last.r)) / jnp.where(size > 0, size, 1.0)
    return Solved(last.x, last.steps, residual)
