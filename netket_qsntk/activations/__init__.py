"""Activations and their dual kernels: the steps of the layer recursion of wide networks."""

from netket_qsntk.activations.named_activations import Activation, activation, quadrature
from netket_qsntk.activations.pair import Pair

__all__ = ["Activation", "Pair", "activation", "quadrature"]
