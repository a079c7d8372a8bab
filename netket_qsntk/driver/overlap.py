r"""The fidelity and its gradient from samples of both states, with a control variate.

For x drawn from |ψ|² and y from |φ|², independently, a = φ(x)/ψ(x) and b = ψ(y)/φ(y) have the averages ⟨ψ|φ⟩/⟨ψ|ψ⟩
and ⟨φ|ψ⟩/⟨φ|φ⟩: the product is the fidelity F (Sinibaldi et al., Quantum 7, 1131 (2023)). All pairs of samples enter:

.. math:: \hat F = \mathrm{Re}\,\bar a\,\bar b + c\,(\overline{|a|^2}\;\overline{|b|^2} - \bar\imath\,\bar\jmath)

with ī and j̄ the shares of samples x, y where the other state does not vanish (1 for states without zeros). The
bracket has mean zero, so that F̂ is unbiased for every fixed c; as φ → ψ its fluctuations are twice those of the
first term, and c = -1/2 removes them to first order.
"""

from functools import partial
from numbers import Real
from typing import NamedTuple

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from jax import Array
from netket.utils.types import PyTree

from netket_qsntk.alert import alert
from netket_qsntk.driver.gradient import pull_back
from netket_qsntk.errors import InvalidTrainingError, PoorOverlapWarning
from netket_qsntk.vqs.evaluate import amplitudes
from netket_qsntk.wavefunction import Psi


class Overlap(NamedTuple):
    r"""F̂, its first-order dependence on each x (n,) and each y (m,), the coefficient c and the bracket's first term.

    ``square``, the mean of \|a b\|² over all pairs by the share of pairs where it does not vanish, is 1 within its
    error where the samples of each state cover the other.
    """

    fidelity: Array
    square: Array
    of_x: Array
    of_y: Array
    coefficient: Array


def check_control_variate(coefficient: float | str | None) -> float | None:
    """The coefficient c; None stands for the one that minimises the estimated variance.

    Raises:
        InvalidTrainingError: It is neither a real number nor ``"optimal"`` nor None.
    """
    if coefficient is None:
        return 0.0
    if isinstance(coefficient, str) and coefficient == "optimal":
        return None
    if isinstance(coefficient, Real) and np.isfinite(coefficient):
        return float(coefficient)
    raise InvalidTrainingError(
        f"control_variate={coefficient!r}: expected a real number (-0.5 is best near the target), 'optimal' or None."
    )


def overlap(log_a: Array, log_b: Array, coefficient: float | None) -> Overlap:
    """The estimate from log a (n,) and log b (m,); ``coefficient=None`` minimises its estimated variance.

    A coefficient taken from the same samples makes a bias of order 1/n.
    """
    # a·b does not depend on the norms of ψ and φ; neither factor may overflow.
    shift = _largest(log_a)
    a, b = jnp.exp(log_a - shift), jnp.exp(log_b + shift)
    mean_a, mean_b = a.mean(), b.mean()
    aa, bb = jnp.abs(a) ** 2, jnp.abs(b) ** 2
    # E|a|² E|b|² is the weight of each state where the other one does not vanish.
    i, j = ((log.real > -jnp.inf).astype(aa.dtype) for log in (log_a, log_b))
    both = i.mean() * j.mean()
    plain = (a * mean_b).real, (mean_a * b).real
    square = aa * bb.mean() - i * j.mean(), aa.mean() * bb - i.mean() * j
    c = (
        jnp.asarray(coefficient)
        if coefficient is not None
        else -_covariance(plain, square)
        / jnp.maximum(_covariance(square, square), jnp.finfo(aa.dtype).tiny)
    )
    value = (mean_a * mean_b).real + c * (aa.mean() * bb.mean() - both)
    of_x, of_y = (p + c * s for p, s in zip(plain, square, strict=True))
    square_mean = aa.mean() * bb.mean() / jnp.where(both > 0, both, 1.0)
    return Overlap(value, square_mean, of_x - of_x.mean(), of_y - of_y.mean(), c)


def _largest(logs: Array) -> Array:
    """The largest real part; 0 where every sample lies where the other state vanishes."""
    largest = jnp.max(logs.real)
    return jnp.where(largest == -jnp.inf, 0.0, largest)


def _covariance(f: tuple[Array, Array], g: tuple[Array, Array]) -> Array:
    """Covariance of two averages over all pairs, to first order in 1/n."""
    return sum(
        (jnp.mean((p - p.mean()) * (q - q.mean())) / len(p) for p, q in zip(f, g, strict=True)),
        start=jnp.zeros(()),
    )


@partial(jax.jit, static_argnums=(2, 3))
def estimated_overlap(
    log_psi: Psi,
    parameters: PyTree,
    rows: int,
    coefficient: float | None,
    x: Array,
    y: Array,
    log_phi_x: Array,
    log_phi_y: Array,
) -> Overlap:
    """F̂ from x drawn from ψ and y drawn from φ."""
    log_a = log_phi_x - amplitudes(log_psi, parameters, x, rows)
    return overlap(log_a, amplitudes(log_psi, parameters, y, rows) - log_phi_y, coefficient)


@partial(jax.jit, static_argnums=(1, 2))
def overlap_and_gradient(
    log_psi: Psi,
    rows: int,
    coefficient: float | None,
    parameters: PyTree,
    x: Array,
    y: Array,
    log_phi_x: Array,
    log_phi_y: Array,
) -> tuple[Overlap, PyTree]:
    r"""F̂, and ∂L/∂Re θ + i ∂L/∂Im θ of the infidelity L = 1 - F.

    ∂L/∂θ* = -Cov[O(x), a(x) E b] with O = ∂ log ψ/∂θ, both averages over x: unbiased for independent samples, and of
    vanishing variance as φ → ψ, where a becomes constant.
    """
    log_a = log_phi_x - amplitudes(log_psi, parameters, x, rows)
    log_b = amplitudes(log_psi, parameters, y, rows) - log_phi_y
    estimate = overlap(log_a, log_b, coefficient)
    shift = _largest(log_a)
    local = jnp.exp(log_a - shift) * jnp.exp(log_b + shift).mean()
    cotangent = -2 / (len(x) - 1) * (local - local.mean())
    _, gradient = pull_back(log_psi, parameters, x, cotangent, lambda _, w: w, rows)
    return estimate, gradient


def infidelity_stats(estimate: Overlap, chains: tuple[int, int]) -> nk.stats.Stats:
    """1 - F̂ with the error that both sets of samples, from so many chains, give it.

    Warns with :class:`~netket_qsntk.errors.PoorOverlapWarning` where |ab|² has lost more than half of its mean.
    """
    if not estimate.square >= 0.5:  # nan too
        alert(
            f"The mean of |ψ(y)φ(x)/ψ(x)φ(y)|² over samples is {float(estimate.square):.2g}, not 1: the samples of "
            "ψ and of φ miss each other's weight, and the fidelity with its error bar means little. Take more "
            "samples, or start closer to the target (with loss='mse' and sampling='target', say).",
            PoorOverlapWarning,
        )
    parts = [
        nk.stats.statistics(dependence.reshape(n_chains, -1))
        for dependence, n_chains in zip((estimate.of_x, estimate.of_y), chains, strict=True)
    ]
    errors, taus, hats = np.array(
        [(part.error_of_mean, part.tau_corr, part.R_hat) for part in parts], dtype=float
    ).T
    return nk.stats.Stats(
        mean=float(1 - estimate.fidelity),
        error_of_mean=float(np.hypot(*errors)),
        variance=float(sum(part.variance for part in parts)),
        tau_corr=float(np.fmax(*taus)),
        R_hat=float(np.fmax(*hats)),
    )
