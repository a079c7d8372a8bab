"""Losses against optimiser steps."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from netket_qsntk.plot.style import (
    COLOURS,
    LINES,
    MARKERS,
    Log,
    band,
    finish,
    log_spaced,
    new_row,
    read,
)

if TYPE_CHECKING:
    from netket_qsntk.plot.style import Panels

_TITLES = {"loss/train": "training loss", "loss/test": "test loss", "fidelity": "fidelity"}


def training_curves(
    predictions: Mapping[str, Log],
    measurements: Mapping[str, Log] | None = None,
    *,
    keys: tuple[str, ...] = ("loss/train", "loss/test"),
    ylabel: str = "mean square error per configuration",
    axes: "Panels | None" = None,
) -> np.ndarray:
    """Losses against optimiser steps, predicted and measured: the paper's Fig. 2.

    Args:
        predictions: Label -> what ``driver.predict(steps)`` returned; drawn as lines with a band of one standard
            error.
        measurements: Label -> a NetKet log of a run (``RuntimeLog``, or its ``data``), or a prediction to be drawn
            as points.
        keys: Logged keys, one panel each.
        ylabel: What the losses are, with its unit; panels of other keys are labelled by their names.
        axes: Matplotlib axes, as many as keys; None makes a figure.

    Returns:
        The array of axes. Steps are shifted by one on the logarithmic axis, so that step 0 shows. Of a prediction
        for infinitely many steps, after which nothing changes, nothing is drawn.

    Example:
        >>> import numpy as np, netket_qsntk as qs
        >>> curve = {"steps": np.arange(3), "loss/train": np.array([1.0, 0.5, 0.2])}
        >>> axes = qs.plot.training_curves({"infinite width": curve}, keys=("loss/train",))
        >>> axes[0].get_xlabel()
        'optimiser step + 1'
    """
    losses = [key.startswith("loss") for key in keys]
    axes = new_row(axes, len(keys), (4.6, 3.8), sharey=all(losses))
    for ax, key, is_loss in zip(axes, keys, losses, strict=True):
        ax.set_xscale("log")
        ax.set_yscale("log" if is_loss else "linear")
        for i, (label, data) in enumerate(predictions.items()):
            steps, mean, error = read(data, key)
            shown = np.isfinite(steps)
            style = {"color": COLOURS[i % 7], "linestyle": LINES[i % 4], "zorder": 3}
            ax.plot(steps[shown] + 1, mean[shown], label=label, **style)
            band(ax, steps[shown] + 1, mean[shown], error[shown], COLOURS[i % 7])
        for i, (label, data) in enumerate((measurements or {}).items()):
            steps, mean, error = read(data, key)
            pick = log_spaced(steps[np.isfinite(steps)])
            ax.errorbar(
                steps[pick] + 1,
                mean[pick],
                error[pick],
                fmt=MARKERS[i % 7],
                markersize=3.5,
                linewidth=1,
                color=COLOURS[(i + len(predictions)) % 7],
                label=label,
                zorder=4,
            )
        ax.set_xlabel("optimiser step + 1")
        ax.set_title(_TITLES.get(key, key))
        if not is_loss:
            ax.set_ylabel(key)
        finish(ax, legend=False)
    if losses[0]:
        axes[0].set_ylabel(ylabel)
    finish(axes[0])
    return axes
