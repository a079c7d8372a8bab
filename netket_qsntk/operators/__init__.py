"""How a kernel acts on vectors over a batch of configurations, and what can be computed from products alone."""

from netket_qsntk.operators.base import KernelOperator, ScaledIdentity, Sum
from netket_qsntk.operators.basis_index import BasisIndex
from netket_qsntk.operators.conjugate_residuals import Solution, conjugate_residuals
from netket_qsntk.operators.decomposition import BasisModes, Eigendecomposition
from netket_qsntk.operators.dense_matrix import Dense
from netket_qsntk.operators.exchange import walsh_hadamard
from netket_qsntk.operators.functions import FunctionResult, apply_function, chebyshev
from netket_qsntk.operators.hypercube import Hypercube
from netket_qsntk.operators.kronecker import Kronecker
from netket_qsntk.operators.krylov import Krylov
from netket_qsntk.operators.lanczos import lanczos, largest_eigenvalue
from netket_qsntk.operators.projected import Projected
from netket_qsntk.operators.shared import Shared
from netket_qsntk.operators.stochastic import (
    Estimate,
    estimate_diagonal,
    estimate_trace,
    parities,
    top_modes,
    trace_of_function,
    xtrace,
)
from netket_qsntk.operators.structure import HammingTable, SiteProduct, Unstructured
from netket_qsntk.operators.tiled import Tiled
from netket_qsntk.operators.transforms import apply_factors

__all__ = [
    "KernelOperator",
    "Dense",
    "Hypercube",
    "Kronecker",
    "Projected",
    "Tiled",
    "Shared",
    "Sum",
    "ScaledIdentity",
    "HammingTable",
    "SiteProduct",
    "Unstructured",
    "BasisIndex",
    "BasisModes",
    "Eigendecomposition",
    "Krylov",
    "lanczos",
    "largest_eigenvalue",
    "apply_function",
    "chebyshev",
    "FunctionResult",
    "conjugate_residuals",
    "Solution",
    "estimate_trace",
    "estimate_diagonal",
    "trace_of_function",
    "xtrace",
    "top_modes",
    "parities",
    "Estimate",
    "walsh_hadamard",
    "apply_factors",
]
