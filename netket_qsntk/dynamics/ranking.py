r"""Which architecture to train, decided before one is trained.

The average loss of an infinitely wide ensemble after t steps, L_μ + L_γ (arXiv:2112.00723, Eqs. 16-18), needs the
kernels of an architecture and the training set, not a network. Whether the order that it gives held is a rank
correlation with the losses of trained networks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from flax import linen as nn
from netket.hilbert import DiscreteHilbert, Spin
from numpy.typing import ArrayLike

from netket_qsntk.alert import once
from netket_qsntk.dynamics.linear import LARGEST_DENSE, LinearDynamics
from netket_qsntk.errors import InvalidTrainingError
from netket_qsntk.kernels import infinite_width, max_learning_rate
from netket_qsntk.learning import ChainState, learning_curve, levels, target_power
from netket_qsntk.progress import showing, track
from netket_qsntk.targets import Target
from netket_qsntk.text import summary


@dataclass(frozen=True, repr=False)
class Ranking:
    """Predicted test losses of architectures, the smallest first.

    Attributes:
        names: Labels of the architectures, in the order of :attr:`total` at the last step asked for.
        steps: (steps,) optimiser steps of the predictions.
        learning_rates: η of each, (architectures,).
        L_mu: Loss of the ensemble's mean, (architectures, steps).
        L_gamma: Loss from the fluctuations between initial networks, (architectures, steps).
        zero: Test loss of ψ = 0, which an architecture worth training stays below.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> target = qs.targets.ground_state(nk.operator.Ising(hi, nk.graph.Chain(4), h=1.0))
        >>> nets = {"smooth": qs.models.CosNet(1, 0.1, 0.5), "rough": qs.models.CosNet(1, 0.1, 5.0)}
        >>> ranking = qs.dynamics.compare_architectures(nets, target, n_train=10, steps=100)
        >>> ranking.names, bool(ranking.loss("smooth") < ranking.zero < ranking.loss("rough"))
        (('smooth', 'rough'), True)
    """

    names: tuple[str, ...]
    steps: np.ndarray
    learning_rates: np.ndarray
    L_mu: np.ndarray
    L_gamma: np.ndarray
    zero: float

    @property
    def total(self) -> np.ndarray:
        """L_μ + L_γ, the average test loss over initial networks: (architectures, steps)."""
        return self.L_mu + self.L_gamma

    def learning_rate(self, name: str) -> float:
        """η of one architecture."""
        return float(self.learning_rates[self.names.index(name)])

    def loss(self, name: str) -> float:
        """Predicted test loss of one architecture at the last step."""
        return float(self.total[self.names.index(name), -1])

    def __repr__(self) -> str:
        best, worst = self.names[0], self.names[-1]
        return (
            f"Ranking({len(self.names)} architectures at step {self.steps[-1]:g}: {best} {self.loss(best):.3e} "
            f"to {worst} {self.loss(worst):.3e}, ψ = 0 {self.zero:.3e})"
        )

    def __str__(self) -> str:
        width = max(map(len, self.names))
        lines = [
            f"Ranking at step {self.steps[-1]:g} (ψ = 0: {self.zero:.3e})",
            f"{'':{width + 5}}{'test loss':>11}{'of the mean':>13}{'fluctuations':>14}{'η':>10}",
        ]
        for i, name in enumerate(self.names):
            lines.append(
                f"{i + 1:3d}  {name:{width}}{self.total[i, -1]:11.3e}{self.L_mu[i, -1]:13.3e}"
                f"{self.L_gamma[i, -1]:14.3e}{self.learning_rates[i]:10.3g}"
            )
        return "\n".join(lines)


def compare_architectures(
    models: Mapping[str, nn.Module],
    target: Target | ChainState,
    *,
    n_train: int,
    steps: ArrayLike = np.inf,
    rate: float = 0.5,
    seed: int = 0,
    hilbert: DiscreteHilbert | None = None,
    method: Literal["auto", "set", "levels"] = "auto",
    show_progress: bool = True,
) -> Ranking:
    r"""Architectures in the order of the test loss that training will leave, without training.

    Each trains by plain gradient descent on the whole training set, at η = ``rate`` · |B|/λ_max(Θ_BB) of its own
    kernel, and is judged by L_μ + L_γ at the last of ``steps``. Where that is infinity, any size of the system and of
    the training set will do: the losses averaged over training sets follow from the levels of the kernels
    (:func:`netket_qsntk.learning.learning_curve`), and no set is drawn.

    Args:
        models: Label -> model with a known infinite-width kernel. Widths do not matter.
        target: The target wave function, or the state of a long chain (:class:`netket_qsntk.learning.ChainState`).
        n_train: Size of the training set.
        steps: Steps at which to predict, in any number; ``np.inf`` for the converged loss.
        rate: Learning rates as a fraction of each stability limit.
        seed: Of the training split, as for the drivers.
        hilbert: Of a chain's state; spins 1/2 if None.
        method: ``"set"``: on one training set; ``"levels"``: averaged over all; ``"auto"``: by levels for chains, and
            for infinitely many steps with more than 12,000 training configurations.
        show_progress: Whether a bar counts the architectures.

    Returns:
        The ranking. Cost: one eigendecomposition of a kernel on the training set for each architecture; by levels
        nothing. The evidence of the models is :func:`netket_qsntk.learning.log_evidence`.

    Raises:
        UnknownKernelError: A model without a known infinite-width kernel.
        InvalidTrainingError: No models, a rate that is not in (0, 1), nothing left to test on, an unknown method, or
            a finite number of steps by levels.
        NoLevelsError: By levels, a kernel that has none.

    Example:
        >>> import netket_qsntk as qs
        >>> target = qs.targets.tfim_quench(extent=(2, 3))
        >>> models = {s: qs.models.CosNet(1, 0.1, s) for s in (0.5, 2.0, 8.0)}
        >>> found = qs.dynamics.compare_architectures(models, target, n_train=40, steps=100)
        >>> found.names[0], bool(found.loss(0.5) < found.loss(2.0))
        (0.5, True)
        >>> chain = qs.learning.ising_quench(100, J=-1.0, time=0.05)
        >>> qs.dynamics.compare_architectures(models, chain, n_train=10**6).names[-1]
        8.0
    """
    if not models:
        raise InvalidTrainingError("No models: expected label -> model, two or more to compare.")
    if not 0 < rate < 1:
        raise InvalidTrainingError(
            f"rate={rate!r}: expected a fraction of the stability limit, between 0 and 1."
        )
    if method not in ("auto", "set", "levels"):
        raise InvalidTrainingError(f"method={method!r}: expected 'auto', 'set' or 'levels'.")
    wanted = np.atleast_1d(np.asarray(steps, dtype=float))
    endless = bool(np.all(np.isinf(wanted)))
    large = isinstance(target, ChainState) or (endless and n_train > LARGEST_DENSE)
    if method == "levels" or (method == "auto" and large):
        if not endless:
            raise InvalidTrainingError(
                f"steps={steps!r}: by levels the losses are those after infinitely many steps. Use steps=np.inf, or "
                "method='set' with an exact target."
            )
        return _by_levels(models, target, n_train, rate, hilbert)
    if isinstance(target, ChainState):
        raise InvalidTrainingError("A chain's state has no training set: use method='levels'.")
    train, test = target.split(n_train, seed)
    if not len(test):
        raise InvalidTrainingError(
            f"n_train={n_train} is the whole basis: leave configurations to test on."
        )
    rates, mean, fluctuations = [], [], []
    with showing(show_progress):
        for model in track(models.values(), "ranking", unit="architecture"):
            kernel = infinite_width(model)
            rates.append(rate * max_learning_rate(kernel, train.states))
            dynamics = LinearDynamics(kernel, train, learning_rate=rates[-1])
            losses = dynamics.losses(wanted, test)
            mean.append(np.asarray(losses.L_mu))
            fluctuations.append(np.asarray(losses.L_gamma))
    zero = float(np.mean(np.abs(test.amplitudes) ** 2))
    return _ranking(models, wanted, rates, mean, fluctuations, zero)


rank = compare_architectures


def _by_levels(
    models: Mapping[str, nn.Module],
    target: Target | ChainState,
    n_train: int,
    rate: float,
    hilbert: DiscreteHilbert | None,
) -> Ranking:
    if isinstance(target, Target):
        space = target.hilbert
    else:
        space = Spin(0.5, target.n_sites) if hilbert is None else hilbert
    rates, mean, fluctuations, zero = [], [], [], 0.0
    with once():
        for model in models.values():
            known = levels(infinite_width(model), space)
            power = target_power(target, levels=known)
            curve = learning_curve(known, power, [n_train])
            rates.append(rate / float(known.spectrum.max()))
            mean.append(np.asarray(curve.L_mu))
            fluctuations.append(np.asarray(curve.L_gamma))
            zero = float(power.sum())
    return _ranking(models, np.array([np.inf]), rates, mean, fluctuations, zero)


def _ranking(
    models: Mapping[str, nn.Module],
    steps: np.ndarray,
    rates: list[float],
    mean: list[np.ndarray],
    fluctuations: list[np.ndarray],
    zero: float,
) -> Ranking:
    order = np.argsort(np.add(mean, fluctuations)[:, -1], kind="stable")
    return Ranking(
        names=tuple(np.array(list(models), dtype=object)[order]),
        steps=steps,
        learning_rates=np.array(rates)[order],
        L_mu=np.array(mean)[order],
        L_gamma=np.array(fluctuations)[order],
        zero=zero,
    )


class RankCorrelation(NamedTuple):
    """Spearman's correlation of predicted and trained losses, and how well it is known.

    Example:
        >>> import netket_qsntk as qs
        >>> found = qs.dynamics.rank_correlation([1, 2, 3, 4], [[1.0, 1.1], [3, 3.1], [2, 2.1], [4, 4.1]])
        >>> round(float(found.correlation), 3)
        0.8
    """

    correlation: float
    """Between the predictions and the averages over trained members."""
    error: float
    """Standard deviation over bootstrapped members: the error from training few networks."""
    low: float
    """Lower end of the 95 % interval from having compared few architectures (Fisher's z)."""
    high: float
    """Upper end of that interval."""

    def __str__(self) -> str:
        return (
            f"{self.correlation:.3f} ± {self.error:.3f} (members), "
            f"95 % interval [{self.low:.2f}, {self.high:.2f}] (architectures)"
        )

    def __repr__(self) -> str:
        return summary(self, self._fields)


def rank_correlation(
    predicted: Sequence[float], trained: Sequence[Sequence[float]], *, seed: int = 0
) -> RankCorrelation:
    """Spearman's rank correlation between predicted losses and those of trained ensembles.

    Args:
        predicted: One loss for each architecture, at least four.
        trained: For each architecture the losses of its trained members, in any number.
        seed: Of the bootstrap.

    Returns:
        The correlation with two errors: that of the finite number of members, from 2000 ensembles drawn with
        replacement, and the interval for architectures like these, from the standard error
        √((1 + r²/2)/(n - 3)) of Fisher's z (Bonett and Wright, Psychometrika 65, 23 (2000)).

    Raises:
        InvalidTrainingError: Fewer than four architectures, or not as many ensembles as predictions.

    Example:
        >>> import netket_qsntk as qs
        >>> found = qs.dynamics.rank_correlation([1.0, 2.0, 3.0, 4.0], [[1.1, 1.2], [2.0], [3.5], [3.4]])
        >>> round(found.correlation, 3)
        0.8
    """
    import scipy.stats  # late: slow to import, and for this function alone

    members = [np.asarray(values, dtype=float) for values in trained]
    if len(predicted) < 4 or len(members) != len(predicted):
        raise InvalidTrainingError(
            f"{len(predicted)} predictions and {len(members)} trained ensembles: expected one ensemble for "
            "each prediction, and at least four of them."
        )

    def spearman(losses: list[np.ndarray]) -> float:
        return float(scipy.stats.spearmanr(predicted, [v.mean() for v in losses]).statistic)

    correlation = spearman(members)
    rng = np.random.default_rng(seed)
    drawn = [spearman([rng.choice(v, len(v)) for v in members]) for _ in range(2000)]
    # A perfect correlation has no finite z: the interval is that of the nearest one that n ranks tell apart.
    n = len(members)
    inside = np.clip(correlation, -1 + 6 / (n * (n**2 - 1)), 1 - 6 / (n * (n**2 - 1)))
    half = 1.96 * np.sqrt((1 + inside**2 / 2) / (n - 3))
    low, high = np.tanh(np.arctanh(inside) + np.array([-half, half]))
    return RankCorrelation(correlation, float(np.std(drawn)), float(low), float(high))
