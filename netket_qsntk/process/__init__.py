"""The Gaussian process that infinitely wide networks are, read by states and by entropies."""

from netket_qsntk.process.draws import draw

__all__ = ["draw"]
