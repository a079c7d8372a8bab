"""Learning curves at infinite time: what a training set of a given size teaches, on average over all such sets."""

from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from netket_qsntk.errors import InvalidTrainingError
from netket_qsntk.learning.cautions import CONVERGED, warn
from netket_qsntk.learning.coherent import Clusters, degrees, solve, transfer
from netket_qsntk.learning.crossings import corrections
from netket_qsntk.learning.levels import Levels, check_levels
from netket_qsntk.learning.power import TargetPower
from netket_qsntk.learning.requests import check_power, check_ridge, check_sizes
from netket_qsntk.learning.schemes import Scheme

__all__ = ["LearningCurve", "learning_curve"]

Method = Literal["auto", "pairs", "single"]

# A ridge that stands for none, relative to the smallest level, where the kernel is singular.
_NO_RIDGE = 1e-9
# Bases up to which the coherent potential is corrected: beyond, rounding hides the resolvent between configurations.
_CORRECTED = 2**20


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class LearningCurve:
    """Average losses on configurations that were not seen, at infinite time.

    Attributes:
        n_train: Sizes of the training set, (sizes,).
        L_mu: Loss of the ensemble's mean, (sizes,).
        L_gamma: Loss from the fluctuations between initial networks, (sizes,).
        learned: Σ_w m_w λ_w/(λ_w + κ), how many functions a training set determines, (sizes,).
        learnability: λ_w/(λ_w + κ) of each level, (sizes, levels): 1 learned, 0 not.
        residual: Largest residual of the conditions for κ, (sizes,).
        method: ``"pairs"`` or ``"single"``.
        reason: Why.
    """

    n_train: Array
    L_mu: Array
    L_gamma: Array
    learned: Array
    learnability: Array
    residual: Array
    method: str = field(metadata={"static": True})
    reason: str = field(metadata={"static": True})

    @property
    def total(self) -> Array:
        """L_μ + L_γ, the average loss of one network: (sizes,)."""
        return self.L_mu + self.L_gamma

    def __repr__(self) -> str:
        sizes = "traced sizes"
        if not isinstance(self.n_train, jax.core.Tracer):
            sizes = f"{len(self.n_train)} sizes, {self.n_train.min():g} to {self.n_train.max():g}"
        return f"LearningCurve({sizes}, clusters: {self.method}, because {self.reason})"


def learning_curve(
    levels: Levels,
    power: ArrayLike,
    n_train: ArrayLike,
    *,
    ridge: float | Array = 0.0,
    method: Method = "auto",
) -> LearningCurve:
    r"""Losses on unseen configurations after infinite training, averaged over training sets: none is drawn.

    n of N configurations are seen, each set with the same probability. The error is that of kernel regression,
    and its average follows from a coherent potential κ,

    .. math:: L = \frac{N}{N-n} \sum_w P_w \left(\frac{\kappa}{\lambda_w+\kappa}\right)^2
        \left(1 - \frac{\dot\kappa}{\kappa^2}\right),

    κ̇ its derivative by an amount added to the inverse kernel. For single configurations κ solves
    n = Σ m_w λ_w/(λ_w + κ) + δN/κ (to O(n/N)), the eigenlearning equations (Simon, Dickens, Karkada and DeWeese,
    arXiv:2110.03922; Canatar, Bordelon and Pehlevan, Nat. Commun. 12, 2914 (2021)). They fail for kernels that tell
    even from odd functions, for which κ differs between the two and pairs x, -x are the clusters
    (:mod:`netket_qsntk.learning.coherent`). What κ leaves out first, paths that cross, is added to both losses where
    the kernel is a function of the distance on up to 2^20 configurations without a symmetry group
    (:mod:`netket_qsntk.learning.crossings`), except with ``method="single"`` in place of pairs. L_μ has the target's
    powers P_w; L_γ those of the initial networks, n_parts m_w ν_w with the levels ν_w of the NNGP.

    Args:
        levels: From :func:`netket_qsntk.learning.levels`.
        power: P_w, (levels,), from :func:`netket_qsntk.learning.target_power`.
        n_train: Sizes n of the training set, between 0 and N.
        ridge: δ >= 0, finite, added to the diagonal of the kernel on the training set.
        method: ``"pairs"``, ``"single"``, or ``"auto"``: pairs wherever a configuration has its flip beside it.

    Returns:
        The curve; differentiable in the levels, the powers and the ridge. Where the conditions for κ could not be
        solved it holds nan.

    Raises:
        NoLevelsError: ``levels`` are none: :func:`netket_qsntk.learning.levels` makes them.
        InvalidTrainingError: Sizes that are not between 0 and N.
        TargetPowerError: Powers that do not fit the levels, or are no mean squares.
        InvalidTrainingError: A ridge that is negative or infinite, an unknown method, pairs where there are none.

    Warns:
        NotConvergedWarning: The conditions for κ were not solved at some size; the residual is in the message.
        FewAmplitudesWarning: The target is dominated by few configurations, so that single training sets scatter.
        FiniteSizeWarning: The first corrections to the coherent potential, their sizes added, exceed 3 % of a loss,
            because the kernel is so smooth that neighbouring configurations should be one cluster, or because few
            functions are half learned, so that those of higher order may count; or a symmetry group leaves orbits of
            very different sizes; or the loss rests on few configurations.
        InaccurateKernelWarning: The prediction rests on levels below the rounding of the kernel on a training set.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,), sigma_b=0.1))
        >>> levels = qs.learning.levels(kernel, nk.hilbert.Spin(0.5, 100))
        >>> power = qs.learning.target_power(qs.learning.ising_quench(100, J=-1.0, time=0.05))
        >>> curve = qs.learning.learning_curve(levels, power, n_train=[100, 10_000])
        >>> curve
        LearningCurve(2 sizes, 100 to 10000, clusters: pairs, because configurations come in pairs x, -x)
        >>> bool(curve.L_mu[1] < 0.5 * curve.L_mu[0])
        True
    """
    check_levels(levels, "learning_curve")
    given = check_power(levels, power)
    sizes = check_sizes(levels, n_train)
    check_ridge(ridge)
    chosen, reason = _choose(levels, method)
    order = np.argsort(sizes)
    back = np.argsort(order)
    weights = jnp.stack([given, levels.n_parts * levels.multiplicities * levels.nngp_spectrum])
    ridge = jnp.asarray(ridge, float)
    found = _curve(levels, weights, jnp.asarray(sizes[order]), ridge, chosen == "pairs")
    losses, learned, learnability, residual, log_kappa, crossed = (t[back] for t in found)
    curve = LearningCurve(
        n_train=jnp.asarray(sizes),
        L_mu=losses[:, 0],
        L_gamma=losses[:, 1],
        learned=learned,
        learnability=learnability,
        residual=residual,
        method=chosen,
        reason=reason,
    )
    if not any(isinstance(t, jax.core.Tracer) for t in jax.tree.leaves((levels, weights, ridge))):
        known = power.participation if isinstance(power, TargetPower) else np.nan
        medium = (log_kappa, clusters(levels, chosen == "pairs"))
        known_distances = corrected_distances(levels, chosen == "pairs")
        parts = None if known_distances is None else np.asarray(crossed)
        warn(curve, levels, known, np.asarray(weights), medium, parts)
    return curve


def clusters(levels: Levels, pairs: bool) -> Clusters:
    """The levels' sectors: even and odd, or one."""
    n = levels.n_functions
    if pairs:
        members = np.stack([levels.parities == 1, levels.parities == -1]).astype(float)
    else:
        members = np.ones((1, len(levels)))
    counts, total = jnp.asarray(levels.multiplicities), jnp.asarray(n)
    return Clusters(levels.eigenvalues / n, counts, jnp.asarray(members), total)


def effective_sizes(levels: Levels, sizes: Array) -> Array:
    """Of the n configurations seen, how many are different under the symmetry: n itself without one."""
    orbit = levels.n_states / levels.n_functions
    unseen = jnp.log1p(-sizes / levels.n_states)
    return jnp.where(orbit > 1, -levels.n_functions * jnp.expm1(orbit * unseen), sizes)


def effective_ridge(levels: Levels, ridge: Array) -> Array:
    """The ridge; where the kernel is singular and there is none, one too small to matter."""
    used = levels.multiplicities > 0
    positive = used & (levels.eigenvalues > 0)
    least = jnp.min(jnp.where(positive, levels.eigenvalues, jnp.inf))
    singular = jnp.any(used & ~positive)
    floor = jnp.where(singular, _NO_RIDGE * least, 0.0)
    return jnp.maximum(ridge, jax.lax.stop_gradient(floor))


@partial(jax.jit, static_argnums=4)
def _curve(
    levels: Levels, weights: Array, sizes: Array, ridge: Array, pairs: bool
) -> tuple[Array, Array, Array, Array, Array, Array]:
    kernel = clusters(levels, pairs)
    n = effective_sizes(levels, sizes)
    delta = effective_ridge(levels, ridge)
    log_kappa, residual = solve(kernel, n, delta)
    solved = residual < CONVERGED

    def at(u: Array, m: Array, size: Array) -> tuple[Array, Array, Array, Array]:
        basis, seen = transfer(u, kernel, m, delta)
        share = levels.n_states / (levels.n_states - size)
        found, crossed = weights @ (basis - seen) * share, jnp.zeros((len(weights), 2))
        scheme = corrected_distances(levels, pairs)
        if scheme is not None:
            added = corrections(u, kernel, m, delta, scheme, weights) * share
            crossed = jnp.where(found[:, None] > 0, added / found[:, None], 0.0)
            found = found * _factor(crossed.sum(-1))
        kappa = jnp.exp(u)
        own = kernel.members.T @ kappa
        return (
            found,
            jnp.sum(degrees(kernel, kappa)[0]),
            kernel.spectrum / (kernel.spectrum + own),
            crossed,
        )

    losses, learned, learnability, crossed = jax.vmap(at)(log_kappa, n, sizes)
    losses = jnp.where(solved[:, None], losses, jnp.nan)
    return losses, learned, learnability, residual, log_kappa, crossed


def _factor(change: Array) -> Array:
    """1 + x to first order, of either sign and positive; 1 where x is not known."""
    known = jnp.where(jnp.isfinite(change), change, 0.0)
    return jnp.where(known < 0, 1 / (1 - jnp.minimum(known, 0.0)), 1 + known)


def corrected_distances(levels: Levels, pairs: bool) -> Scheme | None:
    """The distances whose functions the kernels are, where corrections to the coherent potential follow from them.

    Not where pairs are taken for single configurations: what that leaves out is no small correction.
    """
    if levels.n_states > _CORRECTED or (is_paired(levels) and not pairs):
        return None
    return levels.scheme


def is_paired(levels: Levels) -> bool:
    """Whether every configuration x has its flip -x beside it, and functions of both parities are there."""
    even, odd = (float(levels.multiplicities[levels.parities == s].sum()) for s in (1, -1))
    # Where the flip maps orbits of a symmetry group to themselves, these have no partner. Large sums are rounded.
    other = abs(levels.n_functions - even - odd)
    return max(other, abs(even - odd)) < 1e-9 * even


def _choose(levels: Levels, method: Method) -> tuple[str, str]:
    if method not in ("auto", "pairs", "single"):
        raise InvalidTrainingError(f"method={method!r}: expected 'auto', 'pairs' or 'single'.")
    paired = is_paired(levels)
    if method == "single" or (method == "pairs" and paired):
        return method, "it was asked for"
    if method == "pairs":
        raise InvalidTrainingError(
            f"method='pairs': {levels.configurations} do not come in pairs x, -x. Use method='single'."
        )
    if paired:
        return "pairs", "configurations come in pairs x, -x"
    return "single", "no configuration has its flip beside it"
