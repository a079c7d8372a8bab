"""Predicted learning curves, with what was measured."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from netket_qsntk.learning import LearningCurve, StochasticCurve
from netket_qsntk.plot.style import COLOURS, LINES, MARKERS, Measured, finish, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Part = Literal["total", "L_mu", "L_gamma"]


def learnability(
    curves: Mapping[str, LearningCurve | StochasticCurve],
    measured: Mapping[str, Measured] | None = None,
    *,
    part: Part = "total",
    zero: float | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Losses against the size of the training set, or against steps on new samples, predicted by levels.

    Args:
        curves: Label -> :class:`~netket_qsntk.learning.LearningCurve`, or
            :class:`~netket_qsntk.learning.StochasticCurve`; one kind for a figure.
        measured: Label -> mapping with ``n_train`` (or ``steps``), ``loss`` and optionally ``error``; drawn as
            points, in the colour of the curve with the same label.
        part: ``"total"``, ``"L_mu"`` or ``"L_gamma"``.
        zero: Loss of ψ = 0, 1/N for a target of unit norm: losses are divided by it.
        ax: Matplotlib axes; None makes a figure.

    Returns:
        The axes.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> kernel = qs.kernels.infinite_width(qs.models.CosNet(1, 1.0, 2.0))
        >>> levels = qs.learning.levels(kernel, nk.hilbert.Spin(0.5, 100))
        >>> power = qs.learning.product_state([[1.0, 0.5]] * 100).powers()
        >>> curve = qs.learning.learning_curve(levels, power, [10, 100, 1000])
        >>> qs.plot.learnability({"CosNet": curve}, zero=2.0**-100).get_xlabel()
        'training configurations'
    """
    ax = new_axes(ax)
    unit = 1.0 if zero is None else zero
    measured = {} if measured is None else measured
    labels = [*curves, *(label for label in measured if label not in curves)]
    for i, label in enumerate(labels):
        colour = COLOURS[i % len(COLOURS)]
        if label in curves:
            curve = curves[label]
            size = curve.n_train if isinstance(curve, LearningCurve) else curve.steps
            values = {"total": curve.total, "L_mu": curve.L_mu, "L_gamma": curve.L_gamma}[part]
            order = np.argsort(np.asarray(size))
            line = LINES[i % len(LINES)]
            ax.plot(
                np.asarray(size)[order],
                np.asarray(values)[order] / unit,
                line,
                color=colour,
                label=label,
            )
        if label in measured:
            data = measured[label]
            x = data["n_train"] if "n_train" in data else data["steps"]
            error = data.get("error")
            ax.errorbar(
                x,
                np.asarray(data["loss"]) / unit,
                None if error is None else np.asarray(error) / unit,
                fmt=MARKERS[i % len(MARKERS)],
                ms=4.5,
                color=colour,
                capsize=2,
                label=None if label in curves else label,
            )
    ax.set_yscale("log")
    stochastic = any(isinstance(curve, StochasticCurve) for curve in curves.values())
    if not stochastic:
        ax.set_xscale("log")
    ax.set_xlabel("steps" if stochastic else "training configurations")
    name = {"total": "loss", "L_mu": "loss of the mean", "L_gamma": "fluctuations"}[part]
    where = "" if stochastic else "on unseen configurations"
    ax.set_ylabel(f"{name} {where}".strip() + ("" if zero is None else " / that of ψ = 0"))
    return finish(ax)
