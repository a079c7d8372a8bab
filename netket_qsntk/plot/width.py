"""Distances from the infinite-width limit."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from netket_qsntk.plot.style import COLOURS, LINES, MARKERS, Measured, finish, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def width_corrections(
    distances: Mapping[str, Measured],
    *,
    exponents: Mapping[str, float] | None = None,
    ylabel: str = "distance from the infinite-width limit",
    ax: "Axes | None" = None,
) -> "Axes":
    """How something measured at finite width approaches its limit, beside the power law that theory gives.

    Args:
        distances: Label -> mapping with ``width``, ``distance`` (positive) and optionally ``error`` (standard
            errors), all of one length.
        exponents: Label -> exponent p of a line N^p through the widest of its points whose distance is known to
            three standard errors. For kernels of networks theory gives -1/2, for averages over networks -1.
        ylabel: What is measured, with its unit.
        ax: Matplotlib axes; None makes a figure.

    Returns:
        The axes, both logarithmic.

    Example:
        >>> import netket_qsntk as qs
        >>> ax = qs.plot.width_corrections(
        ...     {"kernel": {"width": [10, 1000], "distance": [0.3, 0.03]}}, exponents={"kernel": -0.5})
        >>> [line.get_label() for line in ax.get_lines()][-1]
        '$N^{-0.5}$'
    """
    ax = new_axes(ax)
    ax.loglog()
    for i, (label, data) in enumerate(distances.items()):
        width, distance = np.asarray(data["width"], float), np.asarray(data["distance"], float)
        error = np.zeros_like(distance) if data.get("error") is None else np.asarray(data["error"])
        # A bar to zero or below has no end on a logarithmic axis: it is drawn down to a tenth.
        low = np.minimum(error, 0.9 * distance)
        bars = np.array([low, error]) if error.any() else None
        colour = COLOURS[i % 7]
        ax.errorbar(
            width, distance, bars, fmt=MARKERS[i % 7], ms=5, color=colour, capsize=2, label=label
        )
        if exponents and label in exponents:
            known = np.flatnonzero(distance > 3 * error)
            anchor = known[np.argmax(width[known])] if len(known) else 0
            power = exponents[label]
            ax.plot(
                width,
                distance[anchor] * (width / width[anchor]) ** power,
                LINES[1 + i % 3],
                color=colour,
                linewidth=1,
                label=f"$N^{{{power:g}}}$",
            )
    ax.set_xlabel("width N")
    ax.set_ylabel(ylabel)
    return finish(ax)
