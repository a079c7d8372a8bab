"""What training minimises: the value of a loss and its derivative with respect to ψ, defined once."""

from netket_qsntk.losses.base import Loss
from netket_qsntk.losses.supervised import MSE, Infidelity

__all__ = ["MSE", "Infidelity", "Loss"]
