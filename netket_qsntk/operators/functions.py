"""Functions of a symmetric operator times vectors: gradient descent, gradient flow, or any other."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from scipy.fft import dct

from netket_qsntk.alert import alert
from netket_qsntk.errors import NotConvergedWarning, OperatorShapeError
from netket_qsntk.operators.base import KernelOperator
from netket_qsntk.operators.columns import real_rows
from netket_qsntk.operators.krylov import Function, Krylov
from netket_qsntk.operators.lanczos import lanczos, largest_eigenvalue
from netket_qsntk.progress import showing, track
from netket_qsntk.text import summary


class FunctionResult(NamedTuple):
    """f(A)v with its estimated error.

    Example:
        >>> import jax.numpy as jnp, netket_qsntk as qs
        >>> table = qs.operators.Hypercube([2.0, 0.5, 0.1])
        >>> found = qs.operators.apply_function(table, jnp.eye(4)[0], jnp.exp)
        >>> found.value.shape, bool(found.error < 1e-8)
        ((4,), True)
    """

    value: Array
    """(…, n), or (…, n, columns)."""
    error: np.ndarray
    """Estimated error norm of each: (…,), or (…, columns)."""
    steps: int
    """Products used."""

    def __repr__(self) -> str:
        return summary(self, self._fields)


def apply_function(
    operator: KernelOperator,
    v: ArrayLike,
    function: Function,
    *,
    tol: float = 1e-10,
    max_steps: int = 300,
    show_progress: bool = True,
) -> FunctionResult:
    """f(A)v for one or many functions at once, to an estimated accuracy.

    Args:
        operator: Symmetric, n × n.
        v: (n,) or (n, columns), real or complex.
        function: From eigenvalues (m,) to (m,), or to (…, m): ``lambda e: (1 - s * e) ** t[:, None]``.
        tol: Wanted error norm relative to ‖v‖.
        max_steps: Products at most; where they do not suffice a warning says what was reached.
        show_progress: Whether a bar counts the products.

    Returns:
        Value, estimated error and number of products. Where the operator's eigendecomposition is at hand there is no
        iteration and the error is that of rounding, given as 0.

    Example:
        >>> import jax.numpy as jnp, netket_qsntk as qs
        >>> a = qs.operators.Hypercube([1.0, 0.5, 0.25]).restrict([0, 1, 2])
        >>> t = jnp.array([1.0, 2.0])
        >>> qs.operators.apply_function(a, jnp.ones(3), lambda e: jnp.exp(-t[:, None] * e)).value.shape
        (2, 3)
    """
    rows, columns = real_rows(v, operator.shape[0])
    if operator.has_cheap_spectrum:
        value = columns.restore(operator.eigh().apply(function, rows))
        shape = value.shape[:-1] if columns.is_vector else (*value.shape[:-2], value.shape[-1])
        return FunctionResult(value, np.zeros(shape), 0)
    size = columns.combine(np.linalg.norm(rows, axis=-1))

    def reached(krylov: Krylov) -> bool:
        return bool(np.all(krylov.error(function) <= tol * size))

    with showing(show_progress):
        krylov = lanczos(operator, v, max_steps=max_steps, until=reached)
    error = krylov.error(function)
    if not krylov.is_exhausted and not reached(krylov):
        worst = float(np.max(error / np.where(size > 0, size, 1.0)))
        alert(
            f"Lanczos reached an estimated relative error of {worst:.1e} in {krylov.steps} products, not {tol:.1e}: "
            f"give more than max_steps={max_steps}, or a larger tol.",
            NotConvergedWarning,
        )
    return FunctionResult(krylov.apply(function), error, krylov.steps)


def chebyshev(
    operator: KernelOperator,
    v: ArrayLike,
    function: Function,
    *,
    interval: tuple[float, float] | None = None,
    tol: float = 1e-12,
    max_degree: int = 4096,
    show_progress: bool = True,
) -> FunctionResult:
    r"""f(A)v by a Chebyshev series on an interval that contains the spectrum.

    The alternative to Lanczos where memory is short: it holds three vectors and the answers, whatever the degree.
    The degree is that of the worst spectrum on the interval: about √(2t log(1/tol)) for step t of gradient descent.

    Args:
        operator: Symmetric, n × n.
        v: (n,) or (n, columns), real or complex.
        function: From eigenvalues (m,) to (m,), or to (times, m); defined on the whole interval.
        interval: (λ_min, λ_max) or wider; None takes 0 (for a positive operator) and Lanczos's λ_max. Outside of
            it the series grows exponentially.
        tol: Wanted error relative to ‖v‖.
        max_degree: Largest degree; a warning says what was reached if it does not suffice.
        show_progress: Whether a bar counts the products.

    Returns:
        Value; the error from the part of the series left out (an upper bound for f on the interval, to the accuracy
        with which that part is known); products used.

    Example:
        >>> import jax.numpy as jnp, netket_qsntk as qs
        >>> a = qs.operators.Hypercube([1.0, 0.5, 0.25], positive=True)
        >>> result = qs.operators.chebyshev(a, jnp.ones(4), lambda e: jnp.exp(-e))
        >>> bool(jnp.allclose(result.value, jnp.exp(-2.25)))
        True
    """
    if not operator.symmetric:
        raise OperatorShapeError(
            f"A Chebyshev series needs a symmetric operator, got {operator!r}."
        )
    rows, columns = real_rows(v, operator.shape[0])
    rows = rows.astype(operator.dtype)
    low, high = _interval(operator) if interval is None else interval
    coefficients, tail = _series(function, low, high, tol, max_degree)
    size = columns.combine(np.linalg.norm(rows, axis=-1))
    if np.max(tail) > tol:
        alert(
            f"The Chebyshev series leaves out {np.max(tail):.1e} relative to ‖v‖ at degree {max_degree}, not "
            f"{tol:.1e}: give a larger max_degree, a larger tol, or use lanczos.",
            NotConvergedWarning,
        )
    flat = coefficients.reshape(-1, coefficients.shape[-1])
    with showing(show_progress):
        total = _sum_series(operator, rows, flat.T, low, high)
    value = columns.restore(total.reshape(*coefficients.shape[:-1], *rows.shape))
    error = np.reshape(tail, (*np.shape(tail), *([1] * size.ndim))) * size
    return FunctionResult(value, error, coefficients.shape[-1] - 1)


def _interval(operator: KernelOperator) -> tuple[float, float]:
    top, slack = largest_eigenvalue(operator)
    high = (top + slack) * (1 + 1e-6)
    if operator.positive:
        return -1e-12 * high, high
    bottom, below = largest_eigenvalue(-operator)
    low = -(bottom + below)
    return low - 1e-6 * abs(low), high


def _series(
    function: Function, low: float, high: float, tol: float, max_degree: int
) -> tuple[np.ndarray, np.ndarray]:
    """Chebyshev coefficients (…, degree + 1), cut where the rest sums to less than tol, and that rest (…,)."""
    n = 64
    while True:
        angles = np.pi * (np.arange(n) + 0.5) / n
        nodes = (high + low) / 2 + (high - low) / 2 * np.cos(angles)
        values = np.asarray(function(jnp.asarray(nodes)))
        c = dct(values, type=2, axis=-1) / n
        c[..., 0] /= 2
        # From the end: what a cut at each degree leaves out.
        rest = np.cumsum(np.abs(c[..., ::-1]), axis=-1)[..., ::-1]
        resolved = np.max(rest[..., 3 * n // 4]) <= max(tol, 1e-15) or n > 2 * max_degree
        if resolved:
            break
        n *= 2
    enough = np.nonzero(np.max(rest.reshape(-1, n), axis=0) <= tol)[0]
    degree = min(max_degree, n - 2, enough[0] - 1 if len(enough) else n)
    return c[..., : max(degree, 0) + 1], rest[..., max(degree, 0) + 1]


def _sum_series(
    operator: KernelOperator,
    v: Array,
    coefficients: np.ndarray,
    low: float,
    high: float,
) -> Array:
    """Σ_j c_j T_j(x) v with x = A mapped to [-1, 1]: coefficients (degree + 1, times), result (times, k, n)."""
    stretch, shift = 2 / (high - low), (high + low) / (high - low)
    total = jnp.asarray(coefficients[0])[:, None, None] * v
    previous, current = v, stretch * operator.product(v) - shift * v
    terms = track(coefficients[1:], "Chebyshev series", unit="product")
    for j, c in enumerate(terms, start=1):
        total = jax.block_until_ready(_add(total, c, current))
        if j + 1 < len(coefficients):
            image = operator.product(current)
            previous, current = current, _next(image, current, previous, stretch, shift)
    return total


@partial(jax.jit, donate_argnums=0)
def _add(total: Array, c: Array, vector: Array) -> Array:
    return total + c[:, None, None] * vector


@jax.jit
def _next(image: Array, current: Array, previous: Array, stretch: Array, shift: Array) -> Array:
    return 2 * (stretch * image - shift * current) - previous
