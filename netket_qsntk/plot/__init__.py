"""Figures: axes in, axes out (matplotlib, extra ``plot``).

Every function draws one figure, on given axes or on new ones, and returns the axes; titles, limits and files are the
caller's. Colours are Okabe and Ito's, which people with any colour vision tell apart, and no two things differ in
colour alone; predictions are lines, measurements are points with error bars, or bands, of one standard error.
Without matplotlib a :class:`~netket_qsntk.errors.MissingDependencyError` says how to get it.
"""

from netket_qsntk.plot.diagnostics import diagnostics
from netket_qsntk.plot.entropy_scaling import entropy_scaling
from netket_qsntk.plot.learnability import learnability
from netket_qsntk.plot.learning import learning_curves
from netket_qsntk.plot.loss_curves import training_curves
from netket_qsntk.plot.ranked_losses import ranking
from netket_qsntk.plot.spectra import spectra
from netket_qsntk.plot.style import COLOURS
from netket_qsntk.plot.width import width_corrections

__all__ = [
    "COLOURS",
    "diagnostics",
    "entropy_scaling",
    "learnability",
    "learning_curves",
    "ranking",
    "spectra",
    "training_curves",
    "width_corrections",
]
