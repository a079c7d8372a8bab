"""What all figures share: colours, markers, new axes, and how logs and predictions are read."""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import netket as nk
import numpy as np
from jax.typing import ArrayLike
from netket.utils.history import History, HistoryDict

from netket_qsntk.errors import MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    Panels = Axes | Sequence[Axes] | np.ndarray

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
LINES = ("-", "--", "-.", ":")

# Numbers of a figure by their names, of one length each.
Numbers = ArrayLike | Sequence[float]
Measured = Mapping[str, Numbers]
# A run's log, or its data.
RunLog: TypeAlias = nk.logging.RuntimeLog | HistoryDict
# The same, or what a driver predicts.
Log: TypeAlias = RunLog | Measured


def pyplot() -> ModuleType:
    """matplotlib.pyplot, or an error that says how to get it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise MissingDependencyError(
            "qs.plot needs matplotlib: pip install 'netket-qsntk[plot]'."
        ) from error
    return plt


def new_axes(ax: "Axes | None", size: tuple[float, float] = (5.4, 4.0)) -> "Axes":
    """The axes given, or those of a new figure."""
    if ax is None:
        _, ax = pyplot().subplots(figsize=size, layout="constrained")
    return ax


def new_row(
    axes: "Panels | None", panels: int, size: tuple[float, float], **options: object
) -> np.ndarray:
    """An array of as many axes as panels: those given, or a new row of them."""
    if axes is None:
        _, axes = pyplot().subplots(
            1,
            panels,
            figsize=(size[0] * panels, size[1]),
            squeeze=False,
            layout="constrained",
            **options,
        )
    return np.atleast_1d(np.asarray(axes, dtype=object)).ravel()


def finish(ax: "Axes", *, legend: bool = True) -> "Axes":
    """Grid and legend, alike in all figures."""
    ax.grid(alpha=0.3)
    ax.set_axisbelow(True)
    if legend and ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize="small")
    return ax


def band(ax: "Axes", x: Numbers, mean: Numbers, error: Numbers, colour: str) -> None:
    """One standard error to both sides of a line; kept above zero on a logarithmic axis."""
    mean, error = np.asarray(mean), np.asarray(error)
    if np.any(error):
        low = np.maximum(mean - error, mean / 10) if ax.get_yscale() == "log" else mean - error
        ax.fill_between(x, low, mean + error, color=colour, alpha=0.25, linewidth=0)


def data_of(log: Log) -> Mapping[str, Any]:
    """What was logged, by its key, of a run or as it is."""
    return log.data if isinstance(log, nk.logging.RuntimeLog) else log


def has_mean(logged: History) -> bool:
    """Whether a mean with its error was logged, not a plain number."""
    try:
        logged.Mean  # noqa: B018  NetKet's histories answer by name
    except AttributeError:
        return False
    return True


def read(data: Log, key: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(steps, mean, standard error) of a logged key, from a prediction, a NetKet log or its data."""
    logged = data_of(data)
    if "steps" in logged:
        values = np.asarray(logged[key])
        return (
            np.asarray(logged["steps"]),
            values,
            np.asarray(logged.get(f"{key}/error", np.zeros_like(values))),
        )
    history = logged[key]
    if not has_mean(history):
        values = np.real(np.asarray(history.values))
        return np.asarray(history.iters), values, np.zeros_like(values)
    return np.asarray(history.iters), np.real(np.asarray(history.Mean)), np.asarray(history.Sigma)


def log_spaced(steps: np.ndarray, count: int = 24) -> np.ndarray:
    """Indices of about ``count`` steps, evenly spaced on a logarithmic axis; none of none."""
    if not len(steps):
        return np.zeros(0, int)
    wanted = np.geomspace(1, steps[-1] + 1, count) - 1
    return np.unique(np.searchsorted(steps, wanted).clip(max=len(steps) - 1))
