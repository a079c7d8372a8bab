"""How strongly an untrained network prefers some configurations to others."""

import jax
import numpy as np
from jax.typing import ArrayLike
from netket.utils.types import PyTree

from netket_qsntk.advice.rows import LogPsi, values

__all__ = ["initial_scale", "spread"]

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
