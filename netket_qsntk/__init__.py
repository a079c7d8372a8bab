"""Infinite neural network quantum states for NetKet.

What a wide network will do (its ensemble, its entanglement, its whole training curve), before and beside
training it. After Luo & Halverson, *Infinite neural network quantum states*, arXiv:2112.00723.

- A VMC run predicted: ``driver.InfiniteWidthVMC_SR``; its settings: ``advise``; watched: ``callbacks``.
- An infinitely wide network that NetKet trains, on any number of sites: ``models.InfiniteWidth``.
- Networks and their limit: ``models``, ``readout``, ``kernels``, ``symmetry``, ``vqs``.
- Supervised training, trained and in closed form: ``targets``, ``losses``, ``driver``, ``dynamics``.
- Learning curves without a training set: ``learning``.
- Entanglement of states and of whole ensembles: ``entanglement``, ``observable``.
- Large kernels, devices, figures: ``operators``, ``parallel``, ``plot``.

>>> import netket as nk, netket_qsntk as qs
>>> kernel = qs.kernels.infinite_width(qs.models.CosNet(width=100, sigma_a=1.0, sigma_w=1.0))
>>> kernel.nngp(nk.hilbert.Spin(0.5, 3).all_states()).shape
(8, 8)
"""

from types import ModuleType

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


def __dir__() -> list[str]:
    """What is meant for users, for completion by tab."""
    return [*__all__, "__version__"]


def _show_public_names(namespace: ModuleType) -> None:
    """Leave the files of a namespace out of what ``dir`` and completion list, as NetKet does."""
    names = list(namespace.__all__)
    namespace.__dir__ = lambda: names  # type: ignore[method-assign]


for _namespace in [value for name, value in globals().items() if name in __all__]:
    if isinstance(_namespace, ModuleType) and "__all__" in vars(_namespace):
        _show_public_names(_namespace)
