r"""Lanczos: an orthonormal basis of a Krylov space, several vectors at once.

m products give an orthonormal basis Q of span(v, Av, …, A^{m-1}v) and a tridiagonal T = QᵀAQ; then

.. math:: f(A) v \approx \|v\|\, Q f(T) e_1

for every f at once: all steps of gradient descent and of the flow, on the m Ritz values instead of the n
eigenvalues. The polynomial behind it is as good as the best one on the spectrum as it is (kernels have few distinct
large eigenvalues), so m is far below the degree √(2t log(1/ε)) that the power t of 1 - sλ needs on an interval.

matfree's ``tridiag_sym`` does one vector for a number of steps fixed beforehand, and divides by zero where the
Krylov space ends early, as it does for kernels with few distinct eigenvalues; hence a Lanczos of our own.

Sources: Saad, SIAM J. Numer. Anal. 29, 209 (1992); Parlett, *The Symmetric Eigenvalue Problem* (1980), for the
repeated orthogonalisation.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk.errors import OperatorShapeError
from netket_qsntk.operators.base import KernelOperator
from netket_qsntk.operators.columns import real_rows
from netket_qsntk.operators.krylov import Krylov
from netket_qsntk.progress import showing, track
from netket_qsntk.spectral import rounding_floor

# Lanczos vectors are stored in blocks of this many, so that the store grows without being copied.
_BLOCK = 16


def lanczos(
    operator: KernelOperator,
    v: ArrayLike,
    *,
    max_steps: int = 300,
    until: Callable[[Krylov], bool] | None = None,
    show_progress: bool = True,
) -> Krylov:
    """The Krylov basis of v, by Lanczos with full orthogonalisation.

    Args:
        operator: Symmetric, n × n.
        v: (n,) or (n, columns), real or complex.
        max_steps: Largest number m >= 1 of products; memory is m n numbers for each real column.
        until: Called every 16 steps with the basis so far; True ends the run.
        show_progress: Whether a bar counts the products.

    Returns:
        The basis. It ends early by itself where the Krylov space is exhausted.

    Raises:
        OperatorShapeError: The operator is not symmetric, v does not fit, or max_steps is below one.

    Example:
        >>> import jax.numpy as jnp, netket_qsntk as qs
        >>> a = qs.operators.Hypercube([1.0, 0.5, 0.25, 0.125])
        >>> krylov = qs.operators.lanczos(a, jnp.arange(8.0))
        >>> powers = krylov.apply(lambda e: (1 - 0.5 * e) ** jnp.array([[1], [2]]))
        >>> bool(jnp.allclose(powers[0], jnp.arange(8.0) - 0.5 * a.matvec(jnp.arange(8.0))))
        True
    """
    if not operator.symmetric:
        raise OperatorShapeError(f"Lanczos needs a symmetric operator, got {operator!r}.")
    if max_steps < 1:
        raise OperatorShapeError(f"max_steps={max_steps}: a Krylov basis has at least one vector.")
    n = operator.shape[0]
    rows, columns = real_rows(v, n)
    rows = rows.astype(operator.dtype)
    norms = jnp.linalg.norm(rows, axis=-1)
    current = rows / jnp.where(norms > 0, norms, 1.0)[:, None]
    previous, coupling = jnp.zeros_like(current), jnp.zeros_like(norms)
    blocks: list[Array] = []
    alphas: list[Array] = []
    betas: list[Array] = []
    scale = jnp.zeros_like(norms)
    for step in track(range(max_steps), "Lanczos", show=show_progress, unit="product"):
        if step % _BLOCK == 0:
            blocks.append(jnp.zeros((len(rows), _BLOCK, n), rows.dtype))
        blocks[-1] = _store(blocks[-1], current, step % _BLOCK)
        image = operator.product(current)
        w, alpha, before, scale = _recur(image, previous, current, coupling, scale)
        for _ in range(2):
            for block in blocks:
                w = _orthogonalised(w, block)
            beta = jnp.linalg.norm(w, axis=-1)
            # Where one pass takes most of the vector away, what it leaves is not orthogonal yet.
            if jnp.all(beta >= 0.7 * before):
                break
        # What is left may be rounding: then the Krylov space is exhausted and the rest of T is zero.
        following, coupling = _normalised(w, scale)
        previous, current = current, following
        alphas.append(alpha)
        betas.append(coupling)
        exhausted = not jnp.any(coupling)
        if exhausted or step + 1 == max_steps or (until is not None and (step + 1) % _BLOCK == 0):
            krylov = Krylov(
                tuple(blocks),
                np.stack(alphas, axis=-1),
                np.stack(betas, axis=-1),
                np.asarray(norms),
                _floor(operator, np.asarray(scale), n),
                columns,
            )
            if exhausted or step + 1 == max_steps or (until is not None and until(krylov)):
                break
    return krylov


def _floor(operator: KernelOperator, scale: np.ndarray, n: int) -> float:
    """Eigenvalues of a positive operator below n eps λ_max are rounding, as in a dense eigendecomposition."""
    if not operator.positive:
        return 0.0
    return rounding_floor(scale.max(initial=0.0), n, operator.dtype)


@partial(jax.jit, donate_argnums=0)
def _store(block: Array, vector: Array, slot: Array) -> Array:
    return block.at[:, slot].set(vector)


@jax.jit
def _recur(
    image: Array, previous: Array, current: Array, coupling: Array, scale: Array
) -> tuple[Array, Array, Array, Array]:
    """The three-term recursion before orthogonalisation: w, α, ‖w‖ and the largest ‖A q‖ so far."""
    scale = jnp.maximum(scale, jnp.linalg.norm(image, axis=-1))
    alpha = jnp.sum(image * current, axis=-1)
    w = image - alpha[:, None] * current - coupling[:, None] * previous
    return w, alpha, jnp.linalg.norm(w, axis=-1), scale


@jax.jit
def _orthogonalised(w: Array, block: Array) -> Array:
    return w - jnp.einsum("km,kmn->kn", jnp.einsum("kmn,kn->km", block, w), block)


@jax.jit
def _normalised(w: Array, scale: Array) -> tuple[Array, Array]:
    beta = jnp.linalg.norm(w, axis=-1)
    beta = jnp.where(beta > 32 * jnp.finfo(w.dtype).eps * scale, beta, 0.0)
    return jnp.where(beta > 0, 1 / jnp.where(beta > 0, beta, 1.0), 0.0)[:, None] * w, beta


def largest_eigenvalue(
    operator: KernelOperator, *, steps: int = 32, show_progress: bool = True
) -> tuple[float, float]:
    """λ_max of a symmetric operator, and how far below the true one it may be (the residual norm).

    Exact, without a product, where the operator has a cheap spectrum.

    Args:
        operator: Symmetric.
        steps: Of Lanczos, one product each.
        show_progress: Whether a bar counts the products.

    Example:
        >>> import netket_qsntk as qs
        >>> value, error = qs.operators.largest_eigenvalue(qs.operators.Hypercube([1.0, 0.5, 0.25]))
        >>> round(value, 12), error < 1e-12
        (2.25, True)
    """
    if operator.has_cheap_spectrum:
        return float(jnp.max(operator.eigh().levels()[0])), 0.0
    # Reproducible, with weight on the top mode of a positive kernel and on all others.
    n = operator.shape[0]
    start = jnp.ones(n) + 0.1 * jax.random.normal(jax.random.key(0), (n,))
    with showing(show_progress):
        krylov = lanczos(operator, start, max_steps=min(steps, n))
    values, vectors = krylov.ritz()
    return float(values[0, -1]), float(krylov.beta[0, -1] * abs(vectors[0, -1, -1]))
