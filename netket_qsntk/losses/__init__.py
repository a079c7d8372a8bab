"""What training minimises: the value of a loss and its derivative with respect to ψ, defined once."""

from netket_qsntk.losses.base import Loss
from netket_qsntk.losses.energy import Energy
from netket_qsntk.losses.supervised import MSE, Infidelity
from netket_qsntk.losses.tomography import Measurement, Tomography, measure, rotate

__all__ = [
    "MSE",
    "Energy",
    "Infidelity",
    "Loss",
    "Measurement",
    "Tomography",
    "measure",
    "rotate",
]
