"""Wave functions with a Gaussian-process limit, as flax modules that NetKet trains.

Each model maps configurations of shape (…, sites) to log ψ of shape (…); ``method="psi"`` gives ψ itself.
"""

from netket_qsntk.models.base import WaveFunction
from netket_qsntk.models.choose_centres import choose_centres
from netket_qsntk.models.cosnet import CosNet, GaussNet
from netket_qsntk.models.fourier import FourierFeatures
from netket_qsntk.models.infinite_width import InfiniteWidth
from netket_qsntk.models.mlp import WideMLP
from netket_qsntk.models.symmetrized import Symmetrized

__all__ = [
    "CosNet",
    "FourierFeatures",
    "GaussNet",
    "InfiniteWidth",
    "Symmetrized",
    "WaveFunction",
    "WideMLP",
    "choose_centres",
]
