"""The tangent kernel during a run."""

from typing import TYPE_CHECKING

import numpy as np

from netket_qsntk.plot.style import COLOURS, RunLog, band, data_of, finish, has_mean, new_row, read

if TYPE_CHECKING:
    from netket_qsntk.plot.style import Panels
from netket_qsntk.spectral import floor_of


def diagnostics(
    log: RunLog, axes: "Panels | None" = None, *, exact: float | None = None
) -> np.ndarray:
    """What :class:`~netket_qsntk.callbacks.NTKDiagnostics` logged, beside the loss of the run.

    Args:
        log: A NetKet log of a run (``RuntimeLog``, or its ``data``).
        axes: Three matplotlib axes: the loss with a band of one standard error, the spectrum, drift and
            alignment; None makes a figure.
        exact: The value that the minimised quantity should reach (a ground state energy): the first panel then
            shows the relative error |L - exact|/|exact|.

    Returns:
        The array of axes.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> H = nk.operator.Ising(hi, nk.graph.Chain(4), h=1.0)
        >>> vs = nk.vqs.FullSumState(hi, nk.models.RBM(), seed=0)
        >>> driver = nk.driver.VMC(H, nk.optimizer.Sgd(0.05), variational_state=vs)
        >>> log = nk.logging.RuntimeLog()
        >>> ntk = qs.callbacks.NTKDiagnostics(every=5, n_samples=16)
        >>> _ = driver.run(11, out=log, callback=ntk, show_progress=False)
        >>> axes = qs.plot.diagnostics(log)
        >>> axes[0].get_ylabel()
        'Energy'
    """
    data = data_of(log)
    axes = new_row(axes, 3, (4.4, 3.8))
    name = next(key for key in data if has_mean(data[key]))
    steps, mean, error = read(data, name)
    if exact is None:
        axes[0].set_ylabel(name)
    else:
        mean, error = np.abs(mean - exact) / abs(exact), error / abs(exact)
        axes[0].set_yscale("log")
        axes[0].set_ylabel(f"relative error of {name}")
    axes[0].plot(steps, mean, color=COLOURS[0])
    band(axes[0], steps, mean, np.nan_to_num(error), COLOURS[0])
    axes[0].set_title("training")

    def curve(key: str) -> tuple[np.ndarray, np.ndarray]:
        history = data[f"ntk/{key}"]
        return np.asarray(history.iters), np.asarray(history.values)

    if "ntk/eigenvalues" in data:
        steps, values = curve("eigenvalues")
        floor = np.array([floor_of(row) for row in values])[:, None]
        ranks = np.unique(np.geomspace(1, values.shape[1], 9).astype(int))
        values = np.where(values > floor, values, np.nan)[:, ranks - 1]
        axes[1].set_yscale("log")
        gap, last = np.log10(np.nanmax(values) / np.nanmin(values)) / 20, np.inf
        for i, (rank, shown) in enumerate(zip(ranks, values.T, strict=True)):
            axes[1].plot(steps, shown, color=COLOURS[0], alpha=1 - 0.8 * i / len(ranks))
            end = np.log10(shown[-1])
            if end < last - gap:
                offset = {"xytext": (4, -3), "textcoords": "offset points", "fontsize": 8}
                axes[1].annotate(f"{rank}", (steps[-1], shown[-1]), **offset)
                last = end
        axes[1].margins(x=0.12)
        axes[1].set_title("eigenvalues of the NTK (by rank)")
    else:
        steps, values = curve("largest_eigenvalue")
        axes[1].semilogy(steps, values, color=COLOURS[0], label="largest")
        axes[1].semilogy(
            steps,
            values / curve("condition_number")[1],
            "--",
            color=COLOURS[1],
            label="smallest above rounding",
        )
        axes[1].set_title("eigenvalues of the NTK")

    # The drift has no upper bound, shares have: an axis for each.
    shares = axes[2].twinx()
    lines = axes[2].plot(*curve("drift"), color=COLOURS[1], label="drift of the kernel")
    labels = {
        "alignment": ("update in the top modes", COLOURS[2], "--"),
        "gradient_alignment": ("gradient in the top modes", COLOURS[0], "-."),
        "decoupling_error": ("mixing of the parts", COLOURS[3], ":"),
    }
    for key, (label, colour, style) in labels.items():
        if f"ntk/{key}" in data and np.any(curve(key)[1]):
            lines += shares.plot(*curve(key), style, color=colour, label=label)
    # Room above the curves for what they are called.
    axes[2].set_ylim(0, 1.45 * max(float(np.max(curve("drift")[1])), 1e-12))
    shares.set_ylim(0, 1.45)
    shares.set_yticks(np.linspace(0, 1, 5))
    shares.set_ylabel("share")
    shares.legend(handles=lines, frameon=False, fontsize="small", loc="upper center")
    axes[2].set_title("drift and alignment")
    axes[1].set_ylabel("eigenvalue")
    axes[2].set_ylabel("relative drift", color=COLOURS[1])
    for ax in axes:
        ax.set_xlabel("optimiser step")
        finish(ax, legend=ax is not axes[2])
    return axes
