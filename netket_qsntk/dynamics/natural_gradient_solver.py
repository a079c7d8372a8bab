r"""Solving (T + λ) a = b, T the centred kernel of SR, by a factorisation or by products alone."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from netket_qsntk._compat.cpu import hamming_solver as native
from netket_qsntk.operators import Hypercube, KernelOperator
from netket_qsntk.operators.inner_products import inner


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
    square: Array
    """⟨r, r⟩."""
    length: Array
    """⟨p, p⟩."""
    steps: Array


def along(root: Array, v: Array) -> Array:
    """Σ √p v for real √p (n,) and real or complex v (n,)."""
    if jnp.iscomplexobj(v):
        return jax.lax.complex(inner(root, v.real), inner(root, v.imag))
    return inner(root, v)


def _centred(
    product: Callable[[Array], Array], root: Array, shift: Array
) -> Callable[[Array], Array]:
    """v -> (PAP + λ)v for v orthogonal to √p."""

    def image(v: Array) -> Array:
        moved = product(v)
        return moved - root * along(root, moved) + shift * v

    return image


def by_products(
    product: Callable[[Array], Array],
    root: Array,
    b: Array,
    shift: Array,
    start: Array,
    tol: Array,
    max_steps: int,
) -> Solved:
    """Conjugate gradients on PAP + λ from a first guess, P = 1 - √p√pᵀ, inside compiled code: one product a step.

    All vectors stay orthogonal to √p, so that P is one number to subtract. Inner products are real: A may be
    Hermitian, or act on real and imaginary part by itself. It stops at ``tol`` relative to b.

    Args:
        product: v -> A v, positive semidefinite.
        root: √p (n,), of norm one.
        b: Right side (n,), real or complex, orthogonal to √p.
        shift: λ >= 0.
        start: First guess (n,), likewise.
        tol: Wanted ‖b - (PAP + λ)a‖/‖b‖.
        max_steps: Products at most.
    """
    square = inner(b, b)
    bound = tol**2 * square
    r = b - _centred(product, root, shift)(start)
    size = inner(r, r)
    first = _Iterate(start, r, r, size, size, jnp.full((), 1))

    def unfinished(s: _Iterate) -> Array:
        return (s.square > bound) & (s.steps < max_steps)

    def one(s: _Iterate) -> _Iterate:
        moved = product(s.p)
        mean = along(root, moved)
        curvature = inner(s.p, moved) + shift * s.length
        # A direction without curvature (λ = 0 and a null mode) is left where it is.
        moves = curvature > 0
        ahead = jnp.where(moves, s.square / jnp.where(moves, curvature, 1.0), 0.0)
        x = s.x + ahead * s.p
        r = s.r - ahead * (moved - root * mean + shift * s.p)
        square = inner(r, r)
        turn = square / s.square
        steps = jnp.where(moves, s.steps + 1, max_steps)
        # ⟨p, p⟩ follows from r being orthogonal to the last direction.
        return _Iterate(x, r, r + turn * s.p, square, square + turn**2 * s.length, steps)

    last = jax.lax.while_loop(unfinished, one, first)
    residual = jnp.sqrt(last.square / jnp.where(square > 0, square, 1.0))
    return Solved(last.x, last.steps, residual)


def is_native(theta: KernelOperator, factor: Array) -> bool:
    """Whether :func:`by_compiled_products` holds: a function of the Hamming distance on the whole basis, m real."""
    return (
        isinstance(theta, Hypercube)
        and theta.has_cheap_spectrum
        and theta.n_spins >= 6
        and theta.dtype == jnp.float64
        and not jnp.iscomplexobj(factor)
        and native.available()
    )


def _parts(v: Array) -> Array:
    return jnp.stack([v.real, v.imag]) if jnp.iscomplexobj(v) else v[None]


def by_compiled_products(
    theta: Hypercube,
    factor: Array,
    root: Array,
    b: Array,
    shift: Array,
    start: Array,
    tol: Array,
    max_steps: int,
) -> Solved:
    """:func:`by_products` for A = m Θ m with factors m (n,), on the CPU in loops compiled for it."""

    def product(v: Array) -> Array:
        return factor * theta.product(factor * v)

    def compiled(b: Array) -> Solved:
        numbers = jnp.stack([shift, tol, jnp.asarray(max_steps, float)])
        x, info = native.solution(_parts(b), _parts(start), root, factor, theta.levels, numbers)
        value = jax.lax.complex(x[0], x[1]) if jnp.iscomplexobj(b) else x[0]
        return Solved(value, info[0].astype(int), info[1])

    def by_xla(b: Array) -> Solved:
        return by_products(product, root, b, shift, start, tol, max_steps)

    # A foreign call has no derivative: as the solution of a linear system it has.
    def solve(_: object, b: Array) -> tuple[Array, tuple[Array, Array]]:
        value, *known = jax.lax.platform_dependent(b, cpu=compiled, default=by_xla)
        return value, tuple(known)

    value, known = jax.lax.custom_linear_solve(
        _centred(product, root, shift), b, solve, symmetric=True, has_aux=True
    )
    return Solved(value, *known)
