"""Entanglement against system size."""

from collections.abc import Iterable, Sequence
from math import isinf, isnan
from typing import TYPE_CHECKING

import numpy as np

from netket_qsntk.errors import EntropyOrderError
from netket_qsntk.plot.style import COLOURS, MARKERS, finish, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from netket_qsntk.entanglement.scaling import ScalingRow


def entropy_scaling(
    table: "Sequence[ScalingRow]",
    *,
    missing: bool = False,
    unit: str = "nats",
    ax: "Axes | None" = None,
) -> "Axes":
    """Average entanglement entropy against the number of sites, one colour a width: the paper's Fig. 1.

    Args:
        table: Rows of :func:`netket_qsntk.entanglement.entropy_scaling`, of one Rényi order.
        missing: Draw what is missing to Page's value instead of the entropy: the corrections of finite width, which
            are too small to see otherwise.
        unit: Of the entropies, "nats" or what the ``log_base`` of the table makes them.
        ax: Matplotlib axes; None makes a figure.

    Returns:
        The axes. Bars are standard errors over members.

    Raises:
        EntropyOrderError: No rows, or rows of several orders.

    Example:
        >>> import netket_qsntk as qs
        >>> table = qs.entanglement.entropy_scaling(
        ...     qs.models.CosNet(1, sigma_w=3.0), sizes=[2, 4], widths=[50], n_members=10)
        >>> qs.plot.entropy_scaling(table).get_ylabel()
        'von Neumann entropy (nats)'
    """
    orders = sorted({row.order for row in table})
    if len(orders) != 1:
        raise EntropyOrderError(
            f"entropy_scaling: the table has rows of the orders {orders}, and one figure shows one: "
            "table.select(order=2)."
        )
    ax, order = new_axes(ax), orders[0]
    rows_of = {width: [r for r in table if r.width == width] for width in _widths(table)}
    sizes, page, maximum = np.array(
        sorted({(r.size, r.page, r.maximum) for r in table}, key=lambda row: row[0])
    ).T
    name = "von Neumann entropy" if order == 1 else rf"Rényi-{order:g} entropy"
    if missing:
        ax.axhline(0, color="black", linewidth=0.8)
    else:
        ax.plot(sizes, maximum, ":", color="black", label="maximum")
        if not any(isnan(p) for p in page):
            ax.plot(sizes, page, "-", color="black", linewidth=1, label="Page")
    for i, (width, rows) in enumerate(rows_of.items()):
        mean, error = np.array([r.mean for r in rows]), np.array([r.error for r in rows])
        y = np.array([r.page for r in rows]) - mean if missing else mean
        ax.errorbar(
            [r.size for r in rows],
            y,
            np.nan_to_num(error),
            fmt=MARKERS[i % 7] + ("-" if missing else ""),
            linewidth=1,
            markersize=5,
            capsize=2,
            color=COLOURS[i % 7],
            label="infinite width" if isinf(width) else f"width {width:g}",
        )
    ax.set_xticks(sizes)
    ax.set_xlabel("number of sites")
    ax.set_ylabel(f"Page value - {name} ({unit})" if missing else f"{name} ({unit})")
    return finish(ax)


def _widths(table: "Iterable[ScalingRow]") -> list[float]:
    return sorted({row.width for row in table})
