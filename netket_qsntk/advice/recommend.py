"""Shift and rate of SR, chosen by the steps that the second variation predicts and by what a step does to log ψ."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from netket_qsntk.advice.forecast import noise_of, outlook
from netket_qsntk.advice.modes import TangentModes
from netket_qsntk.advice.trial import TrialStep, largest_step

__all__ = ["Candidate", "best", "candidates", "shift_range"]

# Curvatures drift by tens of per cent along a run.
_SAFETY = 0.7
# Shifts within this factor of the fewest steps count as equally fast: the middle one is far from both ends.
_AS_FAST = 1.15


@dataclass(frozen=True)
class Candidate:
    """SR with one shift.

    Attributes:
        diag_shift: λ; None for gradient descent.
        max_learning_rate: The smaller of 2/µ_max and the largest step that log ψ takes without changing by more than
            order one.
        curvature_limit: 2/µ_max.
        learning_rate: A safe one.
        steps: Predicted steps to the accuracy with it, ∞ if the modes it trains do not lead there.
        late_rate: r of the slowest mode that matters.
        trained: Effective number of modes.
        noise: Energy that noise adds with this rate, at the present variance of the local energies.
        trial: The step tried with ``learning_rate``.
        gain: Energy that the tangent space has to give.
    """

    diag_shift: float | None
    max_learning_rate: float
    curvature_limit: float
    learning_rate: float
    steps: float
    late_rate: float
    trained: float
    noise: float
    trial: TrialStep
    gain: float


def candidates(
    modes: TangentModes,
    attempt: Callable[[float | None], Callable[[float], TrialStep]],
    energy: float,
    late: TangentModes | None = None,
    late_step: int = 0,
    per_decade: int = 2,
) -> list[Candidate]:
    """Gradient descent, then SR at shifts from 1e-6 of tr T (or rounding, if that is more) to tr T, ascending.

    Args:
        modes: On samples: what there is to gain, and how fast.
        attempt: λ -> (η -> what the first step does); λ = None is gradient descent.
        energy: Accuracy wanted.
        late: Modes some steps later, whose curvature says which rates are stable; None for ``modes`` themselves. A
            run diverges or not by the curvature of where it goes, once its first step has not thrown it off.
        late_step: The step they are of.
        per_decade: Shifts in each power of ten.
    """
    low = max(1e-6, 100 * modes.epsilon)
    number = int(np.ceil(-np.log10(low) * per_decade)) + 1
    shifts = [None, *(modes.trace * np.geomspace(low, 1.0, number)).tolist()]
    return [_candidate(modes, shift, attempt(shift), energy, late, late_step) for shift in shifts]


def _candidate(
    modes: TangentModes,
    shift: float | None,
    try_: Callable[[float], TrialStep],
    energy: float,
    late: TangentModes | None,
    late_step: int,
) -> Candidate:
    curvature = (late or modes).max_learning_rate(shift)
    start = curvature if np.isfinite(curvature) else 1.0
    bound = min(curvature, largest_step(try_, start))
    rate = _SAFETY * bound
    ahead = outlook(modes, shift)
    steps = ahead.steps_to(energy, rate)
    last = ahead.late_rate(energy)
    if late is not None:
        # Modes that the first steps uncover.
        there = outlook(late, shift)
        steps = max(steps, late_step + there.steps_to(energy, rate))
        last = there.late_rate(energy) or last
    trained = float(len(modes.eigenvalues)) if shift is None else modes.trained(shift)
    return Candidate(
        shift, bound, curvature, rate, steps, last, trained,
        rate * noise_of(modes, shift), try_(rate), ahead.gain,
    )  # fmt: skip


def best(options: list[Candidate], energy: float, straight: bool = False) -> Candidate:
    """The middle one of the fastest shifts whose noise is below what there is to gain.

    Args:
        options: Ascending in the shift.
        energy: Accuracy wanted.
        straight: Whether to pass over shifts whose first step leaves the tangent space, if others are as fast: no
            forecast holds for them. At a flat start that is so for all but the slowest.
    """
    quiet = [c for c in options if c.noise <= 0.25 * max(c.gain, energy)] or options[-1:]
    fewest = min(c.steps for c in quiet)
    if not np.isfinite(fewest):
        # None gets there: the one that is fastest in the end.
        return max(quiet, key=lambda c: c.learning_rate * c.late_rate)
    fast = [c for c in quiet if c.steps <= _AS_FAST * fewest]
    if straight:
        fast = [c for c in fast if c.trial.nonlinearity <= 1] or fast
    return fast[len(fast) // 2]


def shift_range(
    options: list[Candidate], chosen: Candidate, cost: float = 2.0
) -> tuple[Candidate, Candidate]:
    """The smallest and the largest shift that take at most ``cost`` times the steps of the chosen one."""
    bound = cost * max(chosen.steps, 1.0)
    gain = max(chosen.gain, np.finfo(float).tiny)
    fit = [c for c in options if c.steps <= bound and c.noise <= 0.25 * gain] or [chosen]
    return fit[0], fit[-1]
