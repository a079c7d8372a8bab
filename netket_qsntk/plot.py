"""Figures: axes in, axes out (matplotlib, extra ``plot``).

Colours are Okabe and Ito's, which people with any colour vision tell apart; predictions are lines, measurements
are points with error bars or bands of one standard error.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from netket_qsntk.errors import MissingDependencyError

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def _pyplot() -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise MissingDependencyError(
            "qs.plot needs matplotlib: pip install 'netket-qsntk[plot]'."
        ) from error
    return plt


def _read(data: Any, key: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(steps, mean, standard error) of a logged key, from a prediction, a NetKet log or its data."""
    data = getattr(data, "data", data)
    if "steps" in data:
        values = np.asarray(data[key])
        return data["steps"], values, np.asarray(data.get(f"{key}/error", np.zeros_like(values)))
    history = data[key]
    return np.asarray(history.iters), np.asarray(history.Mean), np.asarray(history.Sigma)


def training_curves(
    predictions: Mapping[str, Any],
    measurements: Mapping[str, Any] | None = None,
    *,
    keys: tuple[str, ...] = ("loss/train", "loss/test"),
    axes: Any = None,
) -> Any:
    """Losses against optimiser steps, predicted and measured: the paper's Fig. 2.

    Args:
        predictions: Label -> what ``driver.predict(steps)`` returned; drawn as lines with a band of one standard
            error.
        measurements: Label -> a NetKet log of a run (``RuntimeLog``, or its ``data``), or a prediction to be drawn
            as points.
        keys: Logged keys, one panel each.
        axes: Matplotlib axes, as many as keys; None makes a figure.

    Returns:
        The array of axes. Steps are shifted by one on the logarithmic axis, so that step 0 shows.

    Example:
        >>> import numpy as np, netket_qsntk as qs
        >>> curve = {"steps": np.arange(3), "loss/train": np.array([1.0, 0.5, 0.2])}
        >>> axes = qs.plot.training_curves({"infinite width": curve}, keys=("loss/train",))
        >>> axes[0].get_xlabel()
        'optimiser step + 1'
    """
    plt = _pyplot()
    if axes is None:
        _, axes = plt.subplots(
            1,
            len(keys),
            figsize=(4.6 * len(keys), 3.8),
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        axes = axes[0]
    axes = np.atleast_1d(axes)
    names = {"loss/train": "training loss", "loss/test": "test loss", "fidelity": "fidelity"}
    for ax, key in zip(axes, keys, strict=True):
        colours = iter(COLOURS * 4)
        for label, data in predictions.items():
            steps, mean, error = _read(data, key)
            finite = np.isfinite(steps)
            colour = next(colours)
            ax.plot(steps[finite] + 1, mean[finite], color=colour, label=label, zorder=3)
            if error.any():
                low = np.maximum(mean - error, mean.min() / 10)[finite]
                band = (steps[finite] + 1, low, (mean + error)[finite])
                ax.fill_between(*band, color=colour, alpha=0.25, linewidth=0)
        for label, data in (measurements or {}).items():
            steps, mean, error = _read(data, key)
            pick = _log_spaced(steps)
            ax.errorbar(
                steps[pick] + 1,
                mean[pick],
                error[pick],
                fmt="o",
                markersize=3.5,
                linewidth=1,
                color=next(colours),
                label=label,
                zorder=4,
            )
        ax.set_xscale("log")
        ax.set_yscale("log" if key.startswith("loss") else "linear")
        ax.set_xlabel("optimiser step + 1")
        ax.set_title(names.get(key, key))
        ax.grid(alpha=0.3)
    axes[0].set_ylabel(
        "mean square error per configuration" if keys[0].startswith("loss") else keys[0]
    )
    axes[0].legend(frameon=False)
    return axes


def learning_curves(results: Mapping[str, Mapping[str, Any]], *, ax: Any = None) -> Any:
    """Converged test loss against the size of the training set: the paper's Fig. 3.

    Args:
        results: Label -> mapping with ``n_train``, ``loss`` and optionally ``error`` (standard errors), all of one
            length. Labels that contain "infinite" are drawn as lines.
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
    plt = _pyplot()
    if ax is None:
        _, ax = plt.subplots(figsize=(5.2, 4.0), layout="constrained")
    for colour, (label, data) in zip(COLOURS * 4, results.items(), strict=False):
        error = data.get("error")
        style = "-" if "infinite" in label else "o"
        ax.errorbar(
            data["n_train"], data["loss"], error, fmt=style, color=colour, label=label, capsize=2
        )
    ax.set_yscale("log")
    ax.set_xlabel("training configurations")
    ax.set_ylabel("test loss (mean square error per configuration)")
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
    return ax


def diagnostics(log: Any, axes: Any = None, *, exact: float | None = None) -> Any:
    """What :class:`~netket_qsntk.callbacks.NTKDiagnostics` logged, beside the loss of the run.

    Args:
        log: A NetKet log of a run (``RuntimeLog``, or its ``data``).
        axes: Three matplotlib axes: the loss, the spectrum, drift and alignment; None makes a figure.
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
    plt = _pyplot()
    data = getattr(log, "data", log)
    if axes is None:
        _, axes = plt.subplots(1, 3, figsize=(13.2, 3.8), layout="constrained")
    axes = np.atleast_1d(axes)
    name = next(key for key in data if hasattr(data[key], "Mean"))
    steps, mean, _ = _read(data, name)
    if exact is None:
        axes[0].plot(steps, np.real(mean), color=COLOURS[0])
        axes[0].set_ylabel(name)
    else:
        axes[0].semilogy(steps, np.abs(np.real(mean) - exact) / abs(exact), color=COLOURS[0])
        axes[0].set_ylabel(f"relative error of {name}")
    axes[0].set_title("training")

    def curve(key: str) -> tuple[np.ndarray, np.ndarray]:
        history = data[f"ntk/{key}"]
        return np.asarray(history.iters), np.asarray(history.values)

    if "ntk/eigenvalues" in data:
        steps, values = curve("eigenvalues")
        floor = values.shape[1] * np.finfo(values.dtype).eps * values[:, :1]
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
        axes[1].margins(x=0.08)
        axes[1].set_title("eigenvalues of the NTK (by rank)")
    else:
        steps, values = curve("largest_eigenvalue")
        axes[1].semilogy(steps, values, color=COLOURS[0], label="largest")
        axes[1].semilogy(
            steps,
            values / curve("condition_number")[1],
            color=COLOURS[5],
            label="smallest above rounding",
        )
        axes[1].legend(frameon=False)
        axes[1].set_title("eigenvalues of the NTK")

    labels = {
        "drift": ("drift of the kernel", COLOURS[1], "-"),
        "alignment": ("update in the top modes", COLOURS[2], "--"),
        "decoupling_error": ("mixing of the parts", COLOURS[3], ":"),
    }
    for key, (label, colour, style) in labels.items():
        if f"ntk/{key}" in data and np.any(curve(key)[1]):
            axes[2].plot(*curve(key), style, color=colour, label=label)
    axes[2].set_ylim(bottom=0)
    axes[2].legend(frameon=False)
    axes[2].set_title("drift and alignment")
    for ax in axes:
        ax.set_xlabel("optimiser step")
        ax.grid(alpha=0.3)
    return axes


def _log_spaced(steps: np.ndarray, count: int = 24) -> np.ndarray:
    """Indices of about ``count`` steps, evenly spaced on a logarithmic axis."""
    wanted = np.geomspace(1, steps[-1] + 1, count) - 1
    return np.unique(np.searchsorted(steps, wanted).clip(max=len(steps) - 1))
