"""Activations and their dual kernels: the steps of the layer recursion of wide networks."""

from netket_qsntk.activations.pair import Pair
from netket_qsntk.activations.registry import Activation, activation, quadrature

__all__ = ["Activation", "Pair", "activation", "quadrature"]
