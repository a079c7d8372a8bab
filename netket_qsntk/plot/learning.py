"""Test losses against the size of the training set."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from netket_qsntk.plot.style import COLOURS, LINES, MARKERS, Measured, band, finish, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def learning_curves(
    results: Mapping[str, Measured],
    *,
    zero: Measured | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Converged test loss against the size of the training set: the paper's Fig. 3.

    Args:
        results: Label -> mapping with ``n_train``, ``loss`` and optionally ``error`` (standard errors), all of one
            length. Labels that contain "infinite" are drawn as lines with a band, others as points with bars.
        zero: Likewise ``n_train`` and ``loss`` of the wave function that is zero everywhere: what not to learn
            anything costs.
        ax: Matplotlib axes; None makes a figure.

    Returns:
        The axes.

    Example:
        >>> import netket_qsntk as qs
        >>> ax = qs.plot.learning_curves(
        ...     {"infinite width": {"n_train": [100, 200], "loss": [2e-4, 1e-4]}})
        >>> ax.get_ylabel()
        'test loss (mean square error per configuration)'
    """
    ax = new_axes(ax)
    ax.set_yscale("log")
    lines = points = 0
    for i, (label, data) in enumerate(results.items()):
        x, loss, error = data["n_train"], data["loss"], data.get("error")
        colour = COLOURS[i % 7]
        if "infinite" in label:
            ax.plot(x, loss, LINES[lines % 4], color=colour, label=label)
            if error is not None:
                band(ax, x, loss, error, colour)
            lines += 1
        else:
            fmt = MARKERS[points % 7]
            ax.errorbar(x, loss, error, fmt=fmt, ms=4.5, color=colour, label=label, capsize=2)
            points += 1
    if zero is not None:
        ax.plot(zero["n_train"], zero["loss"], ":", color="0.5", label="ψ = 0")
    ax.set_xlabel("training configurations")
    ax.set_ylabel("test loss (mean square error per configuration)")
    return finish(ax)
