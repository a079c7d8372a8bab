"""Predicted against trained losses of architectures."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from netket_qsntk.plot.style import COLOURS, MARKERS, finish, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from netket_qsntk.dynamics import Ranking


def ranking(
    predicted: "Ranking",
    trained: Mapping[str, Sequence[float]] | None = None,
    *,
    ax: "Axes | None" = None,
) -> "Axes":
    """Architectures by their predicted test loss, and what training made of the prediction.

    Args:
        predicted: A :class:`~netket_qsntk.dynamics.Ranking`.
        trained: Label -> test losses of the trained members. With it trained losses are drawn over predicted ones,
            with standard errors and the identity; without, the predictions as bars, in their order, split into the
            loss of the mean and that from fluctuations.
        ax: Matplotlib axes; None makes a figure.

    Returns:
        The axes. The dotted line is the loss of ψ = 0.

    Example:
        >>> import netket_qsntk as qs
        >>> target = qs.targets.tfim_quench(extent=(2, 2))
        >>> models = {"smooth": qs.models.CosNet(1, 0.1, 1.0), "rough": qs.models.CosNet(1, 0.1, 4.0)}
        >>> found = qs.dynamics.rank(models, target, n_train=10, steps=50)
        >>> qs.plot.ranking(found).get_xlabel()
        'predicted test loss (mean square error per configuration)'
    """
    ax = new_axes(ax, (6.4, 4.4))
    if trained is None:
        place = np.arange(len(predicted.names))[::-1]
        mean, fluctuations = predicted.L_mu[:, -1], predicted.L_gamma[:, -1]
        ax.barh(place, mean, color=COLOURS[0], label="of the mean")
        ax.barh(place, fluctuations, left=mean, color=COLOURS[4], hatch="///", edgecolor="white",
                linewidth=0, label="fluctuations between networks")  # fmt: skip
        ax.axvline(predicted.zero, color="0.3", linestyle=":", label="ψ = 0")
        ax.set_yticks(place, [str(name) for name in predicted.names])
        ax.set_xlabel("predicted test loss (mean square error per configuration)")
        finish(ax)
        # The line of ψ = 0 runs behind the legend.
        ax.legend(framealpha=1.0, edgecolor="none", fontsize="small")
        ax.grid(axis="y", visible=False)
        return ax
    losses = [np.asarray(trained[name], dtype=float) for name in predicted.names]
    means = np.array([values.mean() for values in losses])
    errors = np.array([v.std(ddof=1) / len(v) ** 0.5 if len(v) > 1 else 0.0 for v in losses])
    x = predicted.total[:, -1]
    for i, name in enumerate(predicted.names):
        ax.errorbar(
            x[i],
            means[i],
            errors[i],
            fmt=MARKERS[(i + i // 7) % 7],
            color=COLOURS[i % 7],
            markersize=6,
            capsize=3,
            label=str(name),
            zorder=3,
        )
    ends = np.array([min(x.min(), means.min()), max(x.max(), means.max())]) * [0.85, 1.18]
    ax.plot(ends, ends, color="0.6", linewidth=1, zorder=1)
    ax.axvline(predicted.zero, color="0.3", linestyle=":", linewidth=1, zorder=1)
    ax.axhline(predicted.zero, color="0.3", linestyle=":", linewidth=1, zorder=1)
    ax.loglog()
    ax.set_xlim(*ends)
    ax.set_ylim(*ends)
    ax.set_aspect("equal")
    from matplotlib import ticker  # late: it is optional

    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(ticker.LogFormatterSciNotation(minor_thresholds=(np.inf, np.inf)))
        axis.set_minor_formatter(ticker.NullFormatter())
    ax.set_xlabel("predicted test loss (mean square error per configuration)")
    ax.set_ylabel("trained test loss (mean square error per configuration)")
    finish(ax, legend=False)
    ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1.02, 1.0))
    return ax
