"""The Gaussian process that infinitely wide networks are, read by states and by entropies."""

from netket_qsntk.process.draws import draw, initial_modes
from netket_qsntk.process.gaussian import GaussianProcess, check_count, readout_of

__all__ = ["GaussianProcess", "check_count", "draw", "initial_modes", "readout_of"]
