"""Where a run goes: the modes a few steps from its start.

Which rates are stable is decided by the curvature of the energy where the run settles. Features that are learned on
the way change it: the first steps of the recommended settings are made on the batch itself, with weights |ψ|² that
follow.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from netket_qsntk.advice.batch import Batch
from netket_qsntk.advice.modes import TangentModes
from netket_qsntk.advice.recommend import Candidate, best, candidates
from netket_qsntk.advice.rows import LogPsi, real_view, values
from netket_qsntk.advice.tangent import Tangent
from netket_qsntk.advice.trial import TrialStep, direction, try_step
from netket_qsntk.errors import NotANetworkError
from netket_qsntk.wavefunction import PureWaveFunction

__all__ = ["STEPS_AHEAD", "after", "attempts", "follow", "log_psi_of"]

# Beyond a few steps an advice would cost what the run does.
STEPS_AHEAD = 3
# Samples of the start stand for a later state while their weights leave this share of them.
_WORTH = 0.5

Look = Callable[[PureWaveFunction, Batch], tuple[Tangent, TangentModes]]


def log_psi_of(network: PureWaveFunction) -> LogPsi:
    """log ψ, or an error that says there is none."""
    if network.log_psi is None:
        raise NotANetworkError(
            "This state gives amplitudes ψ and no log ψ, which advise is about. Give a NetKet state of a "
            "network: nk.vqs.FullSumState(hilbert, model) or nk.vqs.MCState(sampler, model)."
        )
    return network.log_psi


def attempts(
    network: PureWaveFunction, batch: Batch, modes: TangentModes, parts: int
) -> Callable[[float | None], Callable[[float], TrialStep]]:
    """λ (None: gradient descent) -> (η -> what one step from this network does)."""
    log_psi = log_psi_of(network)

    def of(diag_shift: float | None) -> Callable[[float], TrialStep]:
        step, moved = direction(log_psi, network.parameters, batch, modes, parts, diag_shift)
        return lambda rate: try_step(log_psi, network.parameters, batch, step, moved, rate)

    return of


def after(
    network: PureWaveFunction, batch: Batch, modes: TangentModes, parts: int, chosen: Candidate
) -> tuple[PureWaveFunction, Batch]:
    """The network one step later, and the batch with the weights it then has."""
    log_psi = log_psi_of(network)
    step, _ = direction(log_psi, network.parameters, batch, modes, parts, chosen.diag_shift)
    vector, back = real_view(network.parameters)
    parameters = back((vector - chosen.learning_rate * step).astype(vector.dtype))
    before, there = (
        np.asarray(values(log_psi, p, batch.x)).real for p in (network.parameters, parameters)
    )
    weights = batch.weights * np.exp(2 * (there - before - np.max(there - before)))
    moved = replace(network, parameters=parameters)
    return moved, replace(batch, weights=weights / weights.sum())


def follow(
    network: PureWaveFunction,
    batch: Batch,
    modes: TangentModes,
    chosen: Candidate,
    *,
    look_at: Look,
    parts: int,
    goal: float,
    again: bool,
) -> list[TangentModes]:
    """Modes after each of the next steps, at most three.

    It ends earlier where a step is not finite, would throw ψ off, or gains nothing (the variance of the local
    energies vanishes), and where samples of the start are worth less than half of themselves.

    Args:
        network: At the start.
        batch: Whole basis or samples.
        modes: At the start.
        chosen: Settings of the steps.
        look_at: (network, batch) -> tangent and modes.
        parts: Rows of a configuration.
        goal: Accuracy of the energy that is wanted.
        again: Whether the modes of the start are gone after one step (a flat start): the settings are then chosen
            anew, and this step is made whatever the samples are worth.
    """
    way: list[TangentModes] = []
    for number in range(STEPS_AHEAD):
        if number:  # the first step was tried when its rate was chosen
            attempt = attempts(network, batch, modes, parts)(chosen.diag_shift)
            if not attempt(chosen.learning_rate).keeps_state:
                break
        network, batch = after(network, batch, modes, parts, chosen)
        if not np.isfinite(batch.weights).all():
            break
        sampled = batch.n_samples is not None or batch.index is None
        if sampled and batch.effective < _WORTH * len(batch) and not (again and number == 0):
            break
        modes = look_at(network, batch)[1]
        if not len(modes.eigenvalues) or not modes.residual > 0:
            break
        way.append(modes)
        if again and number == 0:
            options = candidates(modes, attempts(network, batch, modes, parts), goal)
            chosen = best(options[1:], goal)
    return way
