"""What the ensemble of a network is: NNGP, NTK and QS-NTK, infinite width in closed form, finite width measured."""

from netket_qsntk.kernels import architectures as _architectures  # noqa: F401  registers the models
from netket_qsntk.kernels.base import InfiniteWidthKernel
from netket_qsntk.kernels.dot_product import DotProductKernel
from netket_qsntk.kernels.empirical import EmpiricalKernel, empirical
from netket_qsntk.kernels.learning_rate import max_learning_rate
from netket_qsntk.kernels.qsntk import QSNTK
from netket_qsntk.kernels.registry import infinite_width

__all__ = [
    "QSNTK",
    "DotProductKernel",
    "EmpiricalKernel",
    "InfiniteWidthKernel",
    "empirical",
    "infinite_width",
    "max_learning_rate",
]
