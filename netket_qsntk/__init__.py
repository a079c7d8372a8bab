"""Infinite neural network quantum states for NetKet.

What a wide network will do (its ensemble, its entanglement, its whole training curve), before and beside
training it. After Luo & Halverson, *Infinite neural network quantum states*, arXiv:2112.00723.

>>> import netket_qsntk as qs
"""

from netket_qsntk import (
    advice,
    callbacks,
    driver,
    dynamics,
    encodings,
    entanglement,
    errors,
    kernels,
    learning,
    losses,
    models,
    observable,
    operators,
    parallel,
    plot,
    process,
    readout,
    symmetry,
    targets,
    vqs,
)
from netket_qsntk.advice import advise

__version__ = "0.2.0"

__all__ = [
    "advice",
    "advise",
    "callbacks",
    "driver",
    "dynamics",
    "encodings",
    "entanglement",
    "errors",
    "kernels",
    "learning",
    "losses",
    "models",
    "observable",
    "operators",
    "parallel",
    "plot",
    "process",
    "readout",
    "symmetry",
    "targets",
    "vqs",
]
