"""The kernel of :class:`netket_qsntk.models.Symmetrized`."""

from netket_qsntk.kernels.arguments import Trainable
from netket_qsntk.kernels.base import InfiniteWidthKernel
from netket_qsntk.kernels.registry import infinite_width
from netket_qsntk.kernels.symmetrized import SymmetrizedKernel
from netket_qsntk.networks import Symmetrized


@infinite_width.register
def _symmetrized(model: Symmetrized, trainable: Trainable = "all") -> InfiniteWidthKernel:
    kernel = infinite_width(model.network, trainable)
    if model.symmetry.dimension > 1:
        kernel = kernel * (1 / model.symmetry.dimension)
    return SymmetrizedKernel(kernel, model.symmetry)
