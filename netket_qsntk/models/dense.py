"""The dense layer under the name that version 0.1 had for it."""

from netket_qsntk.networks.dense_layer import Dense

__all__ = ["Dense"]
