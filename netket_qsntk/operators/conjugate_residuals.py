"""Solving with a symmetric positive semidefinite operator by products alone.

Conjugate residuals are the variant of conjugate gradients that makes the residual smallest in each Krylov space
(Stiefel 1955; MINRES in other words). For the same work it also converges where the kernel is singular and the
right-hand side is not in its range; conjugate gradients diverge there.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from tqdm import tqdm

from netket_qsntk.alert import alert
from netket_qsntk.errors import NotConvergedWarning, OperatorShapeError
from netket_qsntk.operators.base import KernelOperator
from netket_qsntk.operators.columns import real_rows
from netket_qsntk.progress import bar
from netket_qsntk.text import summary

# Steps without a gain after which a row has reached what it can.
_PATIENCE = 3


class Solution(NamedTuple):
    """x with A x ≈ b, and how well it solves.

    Example:
        >>> import jax.numpy as jnp, netket_qsntk as qs
        >>> found = qs.operators.conjugate_residuals(qs.operators.Hypercube([2.0, 0.5, 0.1]), jnp.ones(4))
        >>> found.converged, bool(found.residual < 1e-10)
        (True, True)
    """

    value: Array
    """(n,) or (n, columns)."""
    residual: np.ndarray
    """‖b - A x‖ / ‖b‖ of each column, recomputed at the end: () or (columns,)."""
    steps: int
    """Products used."""
    converged: bool
    """Whether every residual is below the tolerance."""

    def __repr__(self) -> str:
        return summary(self, self._fields)


class _State(NamedTuple):
    """One iterate of each row; ``image`` is A p, ``curvature`` zᵀAz, ``stuck`` the steps without a gain."""

    x: Array
    r: Array
    z: Array
    p: Array
    image: Array
    curvature: Array
    stuck: Array


def conjugate_residuals(
    operator: KernelOperator,
    b: ArrayLike,
    *,
    preconditioner: KernelOperator | None = None,
    start: ArrayLike | None = None,
    tol: float = 1e-10,
    max_steps: int = 1000,
    warn: bool = True,
    show_progress: bool = True,
) -> Solution:
    r"""A⁻¹b by preconditioned conjugate residuals, each column with its own iteration.

    If A is singular and b has a part outside of its range, no x solves. The residual then converges to that part
    (and to the part on eigenvalues below rounding): the iteration stops when it gains nothing more, and the
    residual returned says how much it is. For training to ∞ that residual is the error that gradient descent
    keeps: components of the target that the kernel cannot express stay where they were at initialisation. A x is
    then the projection of b on the range of A.

    Args:
        operator: Symmetric and positive semidefinite, n × n.
        b: (n,) or (n, columns), real or complex.
        preconditioner: An approximation of A⁻¹, symmetric and positive definite: ``operator.preconditioner()`` of a
            Hypercube or Kronecker operator is the inverse over the whole basis, restricted to the batch.
        start: First guess; 0 if None.
        tol: Wanted ‖b - A x‖ / ‖b‖.
        max_steps: Products at most.
        warn: Whether to warn if the tolerance is not reached.
        show_progress: Whether a bar counts the products.

    Raises:
        OperatorShapeError: Not symmetric, or b does not fit.

    Example:
        >>> import jax.numpy as jnp, netket_qsntk as qs
        >>> a = qs.operators.Hypercube([1.0, 0.5, 0.25], positive=True).restrict([0, 1, 2])
        >>> x = qs.operators.conjugate_residuals(a, jnp.ones(3), preconditioner=a.preconditioner())
        >>> bool(jnp.allclose(a.matvec(x.value), 1.0)), x.converged
        (True, True)
    """
    for name, given in (("operator", operator), ("preconditioner", preconditioner)):
        if given is not None and not given.symmetric:
            raise OperatorShapeError(f"The {name} must be symmetric, got {given!r}.")
    if preconditioner is not None and preconditioner.shape != operator.shape:
        raise OperatorShapeError(
            f"A preconditioner of shape {preconditioner.shape} does not fit an operator of shape {operator.shape}."
        )
    rows, columns = real_rows(b, operator.shape[0])
    rows = rows.astype(operator.dtype)
    first = jnp.zeros_like(rows)
    if start is not None:
        first, form = real_rows(start, operator.shape[0])
        if form.is_complex != columns.is_complex or first.shape != rows.shape:
            raise OperatorShapeError(
                f"start has shape {jnp.shape(start)} and dtype {jnp.asarray(start).dtype}: expected those of b, "
                f"{jnp.shape(b)} and {jnp.asarray(b).dtype} (real or complex alike)."
            )
    with bar(max_steps, "conjugate residuals", show=show_progress, unit="product") as done:
        x, steps = _iterate(
            operator, preconditioner, rows, first.astype(rows.dtype), tol, max_steps, done
        )
    size = columns.combine(np.linalg.norm(rows, axis=-1))
    left = columns.combine(np.linalg.norm(rows - operator.product(x), axis=-1))
    residual = left / np.where(size > 0, size, 1.0)
    converged = bool(np.all(residual <= 2 * tol))
    if warn and not converged:
        alert(
            f"Conjugate residuals left a relative residual of {float(np.max(residual)):.1e} after {steps} "
            f"products, not {tol:.1e}. Either the kernel is singular to working precision on these configurations, "
            "and this is the part of the target that it cannot express, or more steps, a preconditioner or a "
            "larger tol are needed.",
            NotConvergedWarning,
        )
    return Solution(columns.restore(x), residual, steps, converged)


def _iterate(
    operator: KernelOperator,
    preconditioner: KernelOperator | None,
    b: Array,
    start: Array,
    tol: float,
    max_steps: int,
    done: tqdm,
) -> tuple[Array, int]:
    """The solution for each row, and the number of products."""

    def conditioned(r: Array) -> Array:
        return r if preconditioner is None else preconditioner.product(r)

    r = b - operator.product(start)
    z = conditioned(r)
    image = operator.product(z)
    stuck = jnp.zeros(len(b), jnp.int32)
    state = _State(start, r, z, z, image, jnp.sum(z * image, axis=-1), stuck)
    bound = tol * jnp.linalg.norm(b, axis=-1)
    for steps in range(max_steps):
        if not jnp.any(_active(state, bound)):
            return state.x, steps
        conditioned_image = conditioned(state.image)
        state, use, little = _forward(state, conditioned_image, bound)
        state = _turn(state, operator.product(state.z), use, little)
        done.update()
    return state.x, max_steps


def _active(s: _State, bound: Array) -> Array:
    return (jnp.linalg.norm(s.r, axis=-1) > bound) & (s.stuck < _PATIENCE)


def _ratio(a: Array, c: Array, use: Array) -> Array:
    return jnp.where(use, a / jnp.where(use, c, 1.0), 0.0)[:, None]


@jax.jit
def _forward(s: _State, conditioned_image: Array, bound: Array) -> tuple[_State, Array, Array]:
    """One step along p; rows that are done, or cannot move, stay."""
    length_squared = jnp.sum(s.image * conditioned_image, axis=-1)
    use = _active(s, bound) & (length_squared > 0) & (s.curvature > 0)
    length = _ratio(s.curvature, length_squared, use)
    gained = length[:, 0] * s.curvature  # what rᵀMr loses
    eps = jnp.finfo(s.r.dtype).eps
    little = ~use | (gained <= 16 * eps * jnp.abs(jnp.sum(s.r * s.z, axis=-1)))
    moved = s._replace(
        x=s.x + length * s.p, r=s.r - length * s.image, z=s.z - length * conditioned_image
    )
    return moved, use, little


@jax.jit
def _turn(s: _State, z_image: Array, use: Array, little: Array) -> _State:
    """The next direction, from z and its image A z."""
    curvature = jnp.sum(s.z * z_image, axis=-1)
    turn = _ratio(curvature, s.curvature, use)
    keep = ~use[:, None]
    return s._replace(
        p=jnp.where(keep, s.p, s.z + turn * s.p),
        image=jnp.where(keep, s.image, z_image + turn * s.image),
        curvature=jnp.where(use, curvature, s.curvature),
        stuck=jnp.where(little, s.stuck + 1, 0),
    )
