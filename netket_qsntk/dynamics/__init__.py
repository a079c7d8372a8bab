"""What training does, in function space: a kernel, a loss and an optimiser make a trajectory."""

from netket_qsntk.dynamics.flow import FunctionSpaceFlow
from netket_qsntk.dynamics.linear import LinearDynamics
from netket_qsntk.dynamics.linearized import LinearizedDynamics
from netket_qsntk.dynamics.natural_gradient import NaturalGradientFlow
from netket_qsntk.dynamics.posterior import Posterior
from netket_qsntk.dynamics.ranking import (
    RankCorrelation,
    Ranking,
    compare_architectures,
    rank,
    rank_correlation,
)
from netket_qsntk.dynamics.solution import Curves, Losses

# The name of 0.1 for what solver="products" chooses.
ProductDynamics = LinearDynamics

__all__ = [
    "Curves",
    "FunctionSpaceFlow",
    "LinearDynamics",
    "LinearizedDynamics",
    "Losses",
    "NaturalGradientFlow",
    "Posterior",
    "ProductDynamics",
    "RankCorrelation",
    "Ranking",
    "compare_architectures",
    "rank",
    "rank_correlation",
]
