"""Traces and diagonals from random probes, with error bars.

A probe z of random signs has E[z zᵀ] = 1, so zᵀMz averages to tr M. Its variance comes from the off-diagonal
entries, and for kernels these are a few large modes: a small basis that holds them is dealt with exactly, and only
the rest is sampled (the idea of Hutch++: Meyer et al., arXiv:2010.09649).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike
from matfree import stochtrace

from netket_qsntk.errors import OperatorShapeError
from netket_qsntk.operators.base import KernelOperator
from netket_qsntk.operators.krylov import Function
from netket_qsntk.operators.lanczos import lanczos
from netket_qsntk.progress import showing, track
from netket_qsntk.text import summary


class Estimate(NamedTuple):
    """A mean over probes and its standard error.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> found = Estimate(jnp.array(2.0), jnp.array(0.5), 4)
        >>> found
        Estimate(mean=2.0, error_of_mean=0.5, n_samples=4)
    """

    mean: Array
    """What is estimated."""
    error_of_mean: Array
    """Its standard error."""
    n_samples: int
    """Probes."""

    def __repr__(self) -> str:
        return summary(self, self._fields)


def estimate_trace(
    quadratic: Callable[[Array], Array],
    n: int,
    *,
    key: Array,
    n_samples: int = 32,
    basis: Array | None = None,
    chunk_size: int = 8,
    show_progress: bool = True,
) -> Estimate:
    r"""tr M from values zᵀMz, for one or many matrices at once.

    .. math:: \operatorname{tr} M = \sum_i q_i^T M q_i + E\big[z_\perp^T M z_\perp\big],\qquad z_\perp = z - Q Q^T z

    Args:
        quadratic: From probes (k, n) to zᵀMz for each, (k,), or (…, k) for many matrices: all steps of a training
            curve, say. Called with at most ``chunk_size`` probes.
        n: Length of the probes.
        key: A JAX random key.
        n_samples: Number of random probes, at least 2.
        basis: Orthonormal rows Q (q, n) that are dealt with exactly, such as the top modes
            (:func:`top_modes`); None for none. They cost q more evaluations.
        chunk_size: Probes held at a time.
        show_progress: Whether a bar counts the chunks of random probes.

    Returns:
        Estimates (…), with the standard error of the mean of the sampled part.

    Raises:
        OperatorShapeError: Fewer than two samples, from which no error can be told.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> m = jnp.diag(jnp.array([3.0, 2.0, 1.0]))
        >>> estimate_trace(lambda z: jnp.sum(z * (z @ m), -1), 3, key=jax.random.key(0)).mean.item()
        6.0
    """
    if n_samples < 2:
        raise OperatorShapeError(f"n_samples={n_samples}: an error bar needs at least 2 probes.")
    values = []
    chunks = range(0, n_samples, chunk_size)
    for start in track(chunks, "stochastic trace", show=show_progress, unit="chunk"):
        count = min(chunk_size, n_samples - start)
        z = jax.random.rademacher(jax.random.fold_in(key, start), (count, n), float)
        if basis is not None:
            z = z - (z @ basis.T) @ basis
        values.append(jax.block_until_ready(quadratic(z)))
    samples = jnp.concatenate(values, axis=-1)
    mean = jnp.mean(samples, axis=-1)
    error = jnp.std(samples, axis=-1, ddof=1) / n_samples**0.5
    if basis is not None:
        exact = [quadratic(basis[i : i + chunk_size]) for i in range(0, len(basis), chunk_size)]
        mean = mean + jnp.sum(jnp.concatenate(exact, axis=-1), axis=-1)
    return Estimate(mean, error, n_samples)


def trace_of_function(
    operator: KernelOperator,
    function: Function,
    *,
    key: Array,
    n_samples: int = 32,
    steps: int = 64,
    basis: Array | None = None,
    show_progress: bool = True,
) -> Estimate:
    """tr f(A) for one or many functions, by Lanczos quadrature on random probes; exact where the spectrum is.

    Args:
        operator: Symmetric.
        function: From eigenvalues (m,) to (m,), or to (…, m).
        key: A JAX random key.
        n_samples: Number of probes.
        steps: Products for each probe.
        basis: As in :func:`estimate_trace`.
        show_progress: As in :func:`estimate_trace`.

    Example:
        >>> import jax, jax.numpy as jnp, netket_qsntk as qs
        >>> a = qs.operators.Hypercube([1.0, 0.5, 0.25], positive=True)
        >>> round(qs.operators.trace_of_function(a, lambda e: e**2, key=jax.random.key(0)).mean.item(), 12)
        6.25
    """
    if operator.has_cheap_spectrum:
        values, counts = operator.eigh().levels()
        exact = jnp.sum(counts * function(values), axis=-1)
        return Estimate(exact, jnp.zeros_like(exact), 0)

    def quadratic(z: Array) -> Array:
        krylov = lanczos(operator, z.T, max_steps=steps)
        return jnp.asarray(krylov.quadratic_form(function))

    n = operator.shape[0]
    with showing(show_progress):
        return estimate_trace(quadratic, n, key=key, n_samples=n_samples, basis=basis)


def xtrace(
    product: Callable[[Array], Array], n: int, *, key: Array, n_samples: int = 32
) -> Estimate:
    """tr M from products with M alone, by XTrace (Epperly, Tropp & Webber, arXiv:2301.07825; matfree's).

    Uses every product twice, to find the range of M and to sample what is left: for a quickly decaying spectrum the
    error falls much faster than 1/√samples. Costs 2 n_samples products.

    Args:
        product: From a vector (n,) to M times it.
        n: Length.
        key: A JAX random key.
        n_samples: Number of probes, at most n.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> u = jnp.arange(50.0)
        >>> round(xtrace(lambda v: u * (u @ v), 50, key=jax.random.key(0), n_samples=4).mean.item(), 6)
        40425.0
    """
    sampler = stochtrace.sampler_normal(jnp.zeros(n), num=n_samples)
    estimator = stochtrace.estimator_leave_one_out_mean_and_sem(
        stochtrace.leave_one_out_xtrace(), sampler
    )
    mean, error = jax.jit(lambda k: estimator(product, k))(key)
    return Estimate(mean, error, n_samples)


def estimate_diagonal(
    product: Callable[[Array], Array], n: int, *, key: Array, n_samples: int = 32
) -> Estimate:
    """The diagonal of M from products with M alone: the mean of z ∘ Mz, with its standard error, each (n,).

    Args:
        product: From a vector (n,) to M times it.
        n: Length.
        key: A JAX random key.
        n_samples: Number of probes.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> m = jnp.diag(jnp.arange(3.0))
        >>> estimate_diagonal(lambda v: m @ v, 3, key=jax.random.key(0)).mean.tolist()
        [0.0, 1.0, 2.0]
    """
    sampler = stochtrace.sampler_signs(jnp.zeros(n), num=n_samples)
    estimator = stochtrace.estimator_monte_carlo_mean_and_sem(
        stochtrace.monte_carlo_diagonal(), sampler
    )
    mean, error = jax.jit(lambda k: estimator(product, k))(key)
    # matfree divides by n; with few probes the unbiased n - 1 matters.
    return Estimate(mean, error * (n_samples / (n_samples - 1)) ** 0.5, n_samples)


def top_modes(operator: KernelOperator, count: int, *, steps: int | None = None) -> Array:
    """Approximate eigenvectors of the largest eigenvalues, orthonormal rows (count, n), by one Lanczos run.

    A basis for :func:`estimate_trace`. One starting vector finds one vector of each degenerate level: for the
    hypercube ask :func:`parities` for whole levels.

    Args:
        operator: Symmetric.
        count: How many.
        steps: Of Lanczos, one product each; None is four for each vector and 16 more.

    Example:
        >>> import netket_qsntk as qs
        >>> table = qs.operators.Hypercube([1.0, 0.5, 0.25, 0.1])
        >>> top = top_modes(table, 2)
        >>> top.shape, bool(jnp.isclose(top[0] @ table.mv(top[0]), jnp.max(table.levels)))
        ((2, 8), True)
    """
    n = operator.shape[0]
    start = jnp.ones(n) + 0.1 * jax.random.normal(jax.random.key(1), (n,))
    krylov = lanczos(operator, start, max_steps=min(n, steps or 4 * count + 16))
    return krylov.vectors(count)


def parities(x: ArrayLike, weight: int) -> Array:
    """The parities of up to ``weight`` spins at configurations x (n, d) of ±1, orthonormalised: (q, n).

    The top modes of a function of the Hamming distance, whole levels of them: q = Σ_{w <= weight} C(d, w), the
    basis that variance reduction wants on a batch of spins.

    Args:
        x: Configurations (n, d) of ±1.
        weight: Spins in a parity at most.

    Example:
        >>> import netket as nk
        >>> parities(nk.hilbert.Spin(0.5, 4).all_states(), 1).shape
        (5, 16)
    """
    x = jnp.sign(jnp.asarray(x, float))
    columns = [jnp.ones(len(x))]
    latest = [(-1, columns[0])]
    for _ in range(weight):
        latest = [
            (site, column * x[:, site])
            for last, column in latest
            for site in range(last + 1, x.shape[1])
        ]
        columns += [column for _, column in latest]
    return jnp.linalg.qr(jnp.stack(columns, axis=1))[0].T
