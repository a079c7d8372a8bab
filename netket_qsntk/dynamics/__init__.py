"""What training does, in function space: a kernel, a loss and an optimiser make a trajectory."""

from netket_qsntk.dynamics.flow import FunctionSpaceFlow
from netket_qsntk.dynamics.large import ProductDynamics
from netket_qsntk.dynamics.linear import LinearDynamics, Losses
from netket_qsntk.dynamics.linearized import LinearizedDynamics
from netket_qsntk.dynamics.natural_gradient import NaturalGradientFlow
from netket_qsntk.dynamics.posterior import Posterior
from netket_qsntk.dynamics.ranking import RankCorrelation, Ranking, rank, rank_correlation

__all__ = [
    "FunctionSpaceFlow",
    "LinearDynamics",
    "LinearizedDynamics",
    "Losses",
    "NaturalGradientFlow",
    "Posterior",
    "ProductDynamics",
    "RankCorrelation",
    "Ranking",
    "rank",
    "rank_correlation",
]
