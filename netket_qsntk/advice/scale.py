"""How strongly an untrained network prefers some configurations to others, and the network scaled down."""

import copy
from dataclasses import replace

import jax
import netket as nk
import numpy as np
from jax.typing import ArrayLike
from netket.utils.types import PyTree

from netket_qsntk.advice.advice import Advice
from netket_qsntk.advice.findings import Finding
from netket_qsntk.advice.rows import LogPsi, values

__all__ = ["after_scaling", "beyond_scaling", "initial_scale", "rescaled", "spread"]

# Variance of log|ψ| over the basis beyond which a sampler sees few configurations: Σp² grows as e^(4 var).
LARGEST_SPREAD = 1.0


def spread(log_psi: LogPsi, parameters: PyTree, x: ArrayLike) -> float:
    """Variance of log|ψ| over configurations x drawn alike from the basis."""
    return float(np.var(np.asarray(values(log_psi, parameters, x)).real))


def initial_scale(log_psi: LogPsi, parameters: PyTree, x: ArrayLike, target: float = 0.5) -> float:
    """Factor c for all parameters at which the variance of log|ψ| is ``target``; 1 if it is below the bound already.

    Found by bisection in log c; nan if no factor between 1e-3 and 1 does it.
    """
    if not spread(log_psi, parameters, x) > LARGEST_SPREAD:
        return 1.0

    def at(scale: float) -> float:
        return spread(log_psi, jax.tree.map(lambda p: scale * p, parameters), x)

    low, high = -3.0, 0.0
    if not at(10**low) < target:
        return float("nan")
    for _ in range(12):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if at(10**middle) < target else (low, middle)
    return float(10**low)


def rescaled(state: nk.vqs.VariationalState, factor: float) -> nk.vqs.VariationalState:
    """A copy of a state with all parameters times a factor; its chains, if it has any, start anew."""
    new = copy.copy(state)
    new.parameters = jax.tree.map(lambda p: factor * p, state.parameters)
    if isinstance(new, nk.vqs.MCState):
        # Chains that sit on what the large parameters favour would take long to leave it.
        new.sampler = new.sampler
    return new


def after_scaling(advice: Advice, wide: float, factor: float) -> Advice:
    """The advice for a network scaled by ``factor``, handed to the owner of the one that is not.

    Args:
        advice: For the scaled network.
        wide: Variance of log|ψ| before.
        factor: Of all parameters.
    """
    found = Finding(
        "initial scale",
        f"the variance of log|ψ| over the basis is {wide:.2g}: few configurations carry |ψ|², a sampler finds them "
        f"late, and no rate works. Scale the parameters by {factor:.2g} before the first step (or the readout "
        "alone, and ask again): all else here is for the network so scaled",
    )
    line = f"state.parameters = jax.tree.map(lambda p: {factor:.4g} * p, state.parameters)"
    return replace(
        advice,
        spread=wide,
        initial_scale=factor,
        findings=(found, *advice.findings),
        call=f"{line}\n{advice.call}",
    )


def beyond_scaling(advice: Advice, wide: float) -> Advice:
    """The advice for a network whose log|ψ| varies much whatever its parameters are scaled by."""
    found = Finding(
        "initial scale",
        f"the variance of log|ψ| over the basis is {wide:.2g}, and no factor of the parameters between 1e-3 and 1 "
        "brings it below one: few configurations carry |ψ|². Look for a part of log ψ without parameters, such as a "
        "fixed reference",
    )
    return replace(advice, initial_scale=float("nan"), findings=(found, *advice.findings))
