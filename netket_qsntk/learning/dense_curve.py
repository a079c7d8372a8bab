"""Learning curves of kernels without levels: the coherent potential on a basis that can be listed."""

import jax.numpy as jnp
import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike

from netket_qsntk.alert import alert
from netket_qsntk.errors import InvalidTrainingError, NotConvergedWarning, TargetPowerError
from netket_qsntk.kernels.base import InfiniteWidthKernel, check_real
from netket_qsntk.learning.curve import LearningCurve
from netket_qsntk.learning.tables import check_kernel
from netket_qsntk.targets import Target, all_states

__all__ = ["dense_curve"]

_LARGEST = 12_000
_MOST_CLASSES = 64
_NEWTON = 60
_CONVERGED = 1e-9


def dense_curve(
    kernel: InfiniteWidthKernel, target: Target, n_train: ArrayLike, *, tolerance: float = 1e-9
) -> LearningCurve:
    r"""Losses on unseen configurations after infinite training, for any kernel on a basis of up to 12,000.

    Without a symmetry that carries every configuration to every other the coherent potential differs between classes
    of configurations. With Λ the kernel's matrix over the whole basis, κ diagonal and constant on each class c,

    .. math:: \kappa_c\, \overline{[(\Lambda + \kappa)^{-1}]_{xx}}^{\,x \in c} = 1 - \frac nN,\qquad
        L = \frac{1}{N-n} \sum_x \Big(1 - \frac{\dot\kappa_x}{\kappa_x^2}\Big)
        \big|[\kappa (\Lambda + \kappa)^{-1} \psi]_x\big|^2 ,

    the conditions of :func:`~netket_qsntk.learning.learning_curve` with single configurations as clusters, without
    its corrections. Classes are found from the diagonals and the row sums of the kernels: for fermions and a kernel
    of their sites' occupations (arXiv:2112.00723, the Hubbard model) they are the numbers of doubly occupied sites.
    Kernels that tell functions of one parity from the other need pairs instead, which only
    :func:`~netket_qsntk.learning.levels` knows.

    Args:
        kernel: An infinite-width kernel, positive definite on the basis.
        target: The target.
        n_train: Sizes of the training set.
        tolerance: Relative difference up to which two configurations are of one class.

    Returns:
        The curve; ``learned`` is Σ_k λ_k/(λ_k + κ), ``learnability`` is empty. Cost: some ten inversions of an N × N
        matrix for each size.

    Raises:
        InvalidModelError: ``kernel`` is no kernel, but its model for example, or it is of a complex character.
        TargetPowerError: ``target`` is no Target.
        InvalidTrainingError: Sizes that are not between 0 and N.
        InvalidTrainingError: A basis too large, or more than 64 classes of configurations.

    Warns:
        NotConvergedWarning: The conditions were not solved at a size; its losses are nan.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.SpinOrbitalFermions(3, s=1/2, n_fermions_per_spin=(1, 2))
        >>> target = qs.targets.Target(hi, [1.0, 2, 3, 4, 5, 6, 7, 8, 9])
        >>> net = qs.models.WideMLP(widths=(1,), sigma_b=0.3, encoding=qs.encodings.fermion_sites)
        >>> curve = qs.learning.dense_curve(qs.kernels.infinite_width(net), target, [3, 6])
        >>> curve.method, bool(curve.L_mu[1] < curve.L_mu[0])
        ('single', True)
    """
    check_kernel(kernel, "dense_curve")
    check_real(kernel, "dense_curve")
    if not isinstance(target, Target):
        raise TargetPowerError(
            f"target is a {type(target).__name__}: expected a qs.targets.Target, whose configurations are listed."
        )
    sizes = np.atleast_1d(np.asarray(n_train, dtype=float))
    total = target.n_states
    if not (sizes.size and np.all((sizes > 0) & (sizes < total))):
        raise InvalidTrainingError(f"n_train={sizes}: expected numbers above 0 and below {total}.")
    if total > _LARGEST:
        raise InvalidTrainingError(
            f"{total} configurations: the kernel is inverted as a matrix, up to {_LARGEST}. Kernels with levels have "
            "no such limit: qs.learning.learning_curve."
        )
    nngp, ntk = (np.asarray(t) for t in kernel.both(all_states(target.hilbert)))
    kind = _classes(nngp, ntk, tolerance)
    counts = np.bincount(kind).astype(float)
    power = np.zeros((total, 2))
    power[:, 0], power[:, 1] = target.amplitudes.real, target.amplitudes.imag
    kappa = np.full(len(counts), np.trace(ntk) / total)
    rows, order = [], np.argsort(sizes)
    for n in sizes[order]:
        kappa, inverse, jacobian, left = _solve(ntk, kind, counts, kappa, 1 - n / total)
        residual = float(np.abs(left).max())
        own = kappa[kind]
        errors = ((own[:, None] * (inverse @ power)) ** 2).sum(1)
        spread = kernel.n_parts * own**2 * ((inverse @ nngp) * inverse).sum(1)
        diagonal = np.bincount(kind, np.diag(inverse)) / counts
        # dG/dt = GΛ²G for Λ -> Λ/(1 + tΛ), and ΛG = 1 - κG.
        rest = -(inverse * own[None, :])
        rest[np.diag_indices(total)] += 1
        bent = np.bincount(kind, (rest**2).sum(1)) / counts / diagonal
        factor = 1 + np.linalg.solve(jacobian, bent)[kind] / own
        good = 1.0 if residual < _CONVERGED else np.nan
        losses = [good * (factor * t).sum() / (total - n) for t in (errors, spread)]
        learned = total - float((counts * kappa * diagonal).sum())
        rows.append([*losses, learned, residual])
    table = np.array(rows)[np.argsort(order)]
    bad = ~(table[:, 3] < _CONVERGED)
    if bad.any():
        alert(
            f"The coherent potentials were not found at n_train = {sizes[bad]}: residuals {table[bad, 3]}. The "
            "kernel may be singular on this basis.",
            NotConvergedWarning,
        )
    return LearningCurve(
        n_train=jnp.asarray(sizes),
        L_mu=jnp.asarray(table[:, 0]),
        L_gamma=jnp.asarray(table[:, 1]),
        learned=jnp.asarray(table[:, 2]),
        learnability=jnp.zeros((len(sizes), 0)),
        residual=jnp.asarray(table[:, 3]),
        method="single",
        reason=f"the kernel has no levels; {len(counts)} classes of configurations",
    )


def _classes(nngp: np.ndarray, ntk: np.ndarray, tolerance: float) -> np.ndarray:
    """The class of each configuration, by what symmetric ones have in common: (n,)."""
    seen = np.stack([np.diag(ntk), np.diag(nngp), ntk.sum(1), (ntk**2).sum(1)], axis=1)
    seen = np.rint(seen / np.abs(seen).max(0) / tolerance / 8)
    _, kind = np.unique(seen, axis=0, return_inverse=True)
    kind = kind.ravel()
    if kind.max() + 1 > _MOST_CLASSES:
        raise InvalidTrainingError(
            f"The configurations are of {kind.max() + 1} different kinds to this kernel: expected at most "
            f"{_MOST_CLASSES}. Draw training sets instead: qs.dynamics.LinearDynamics."
        )
    return kind


def _solve(
    ntk: np.ndarray, kind: np.ndarray, counts: np.ndarray, kappa: np.ndarray, unseen: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """κ of each class, (Λ + κ)⁻¹, the Jacobian of the conditions in log κ, and what is left of them."""
    for _ in range(_NEWTON):
        inverse = _inverse(ntk, kappa[kind])
        diagonal = np.bincount(kind, np.diag(inverse)) / counts
        left = np.log(diagonal * kappa / unseen)
        squares = np.stack(
            [np.bincount(kind, row, len(counts)) for row in _sums(inverse, kind, counts)]
        )
        jacobian = np.eye(len(counts)) - squares / counts[:, None] / diagonal[:, None] * kappa
        if np.abs(left).max() < _CONVERGED:
            break
        move = np.linalg.solve(jacobian, left)
        kappa = kappa * np.exp(-np.clip(move, -3, 3))
    return kappa, inverse, jacobian, left


def _sums(inverse: np.ndarray, kind: np.ndarray, counts: np.ndarray) -> list[np.ndarray]:
    """Σ_{x ∈ c} G(x, y)² for each class c and every y."""
    return [(inverse[kind == c] ** 2).sum(0) for c in range(len(counts))]


def _inverse(matrix: np.ndarray, shift: np.ndarray) -> np.ndarray:
    shifted = matrix.copy()
    shifted[np.diag_indices(len(shifted))] += shift
    factor = scipy.linalg.cho_factor(shifted, lower=True, overwrite_a=True)
    return scipy.linalg.cho_solve(factor, np.eye(len(shifted)))
