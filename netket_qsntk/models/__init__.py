"""Wave functions with a Gaussian-process limit, as flax modules that NetKet trains.

Each model maps configurations of shape (…, sites) to log ψ of shape (…); ``method="psi"`` gives ψ itself.
"""

from netket_qsntk.models.choose_centres import choose_centres
from netket_qsntk.models.infinite_width import InfiniteWidth
from netket_qsntk.networks import (
    CosNet,
    FourierFeatures,
    GaussNet,
    Symmetrized,
    WaveFunction,
    WideMLP,
)

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
