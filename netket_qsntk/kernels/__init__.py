"""What the ensemble of a network is: NNGP, NTK and QS-NTK, in closed form and measured."""

from netket_qsntk._compat import load_neural_tangents
from netket_qsntk.kernels import architectures as _architectures  # noqa: F401  registers the models
from netket_qsntk.kernels import netket_models as _netket  # noqa: F401  registers NetKet's own
from netket_qsntk.kernels import symmetrized_models as _symmetrized  # noqa: F401  registers Symmetrized
from netket_qsntk.kernels.base import InfiniteWidthKernel
from netket_qsntk.kernels.definiteness import DefinitenessReport, positive_definiteness
from netket_qsntk.kernels.dot_product import DotProductKernel
from netket_qsntk.kernels.empirical import EmpiricalKernel, empirical
from netket_qsntk.kernels.entries import Entries
from netket_qsntk.kernels.formula import Formula
from netket_qsntk.kernels.kernel_spectrum import Spectrum, spectrum
from netket_qsntk.kernels.learning_rate import max_learning_rate
from netket_qsntk.kernels.monte_carlo import monte_carlo
from netket_qsntk.kernels.patches import PatchKernel, patches
from netket_qsntk.kernels.qsntk import QSNTK
from netket_qsntk.kernels.registry import infinite_width
from netket_qsntk.kernels.stax import StaxKernel, from_stax
from netket_qsntk.kernels.symmetrized import SymmetrizedKernel, symmetrized

__all__ = [
    "QSNTK",
    "infinite_width",
    "InfiniteWidthKernel",
    "DotProductKernel",
    "Formula",
    "Entries",
    "from_stax",
    "StaxKernel",
    "patches",
    "PatchKernel",
    "symmetrized",
    "SymmetrizedKernel",
    "load_neural_tangents",
    "empirical",
    "EmpiricalKernel",
    "monte_carlo",
    "max_learning_rate",
    "spectrum",
    "Spectrum",
    "positive_definiteness",
    "DefinitenessReport",
]
