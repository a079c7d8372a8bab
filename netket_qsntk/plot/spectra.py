"""Eigenvalues of kernels, and where a target lies among them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from netket_qsntk.plot.style import COLOURS, LINES, finish, new_row

if TYPE_CHECKING:
    from netket_qsntk.kernels import Spectrum
    from netket_qsntk.plot.style import Panels


def spectra(spectra: "Mapping[str, Spectrum]", *, axes: "Panels | None" = None) -> np.ndarray:
    """Eigenvalues against rank, and how much of the loss the leading modes hold.

    Args:
        spectra: Label -> :class:`~netket_qsntk.kernels.Spectrum`. Where all were made with a residual there is a
            second panel: the part of the loss in the modes that the leading ones leave out.
        axes: Matplotlib axes, one or two; None makes a figure.

    Returns:
        The array of axes. Eigenvalues are in units of the largest, so that at the same fraction of their stability
        limits kernels train at the rates shown; those below the rounding error are not drawn.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> kernel = qs.kernels.infinite_width(qs.models.CosNet(1, sigma_w=2.0))
        >>> found = qs.kernels.spectrum(kernel, nk.hilbert.Spin(0.5, 4).all_states())
        >>> qs.plot.spectra({"CosNet": found})[0].get_xlabel()
        'rank of the mode'
    """
    aligned = all(s.shares is not None for s in spectra.values())
    axes = new_row(axes, 1 + aligned, (4.9, 3.9))
    for i, (label, found) in enumerate(spectra.items()):
        style = {"color": COLOURS[i % 7], "linestyle": LINES[(i // 7 + i) % 4], "label": label}
        shown = found.eigenvalues > found.floor
        ranks = np.arange(1, len(found.eigenvalues) + 1)
        axes[0].plot(ranks[shown], found.eigenvalues[shown] / found.largest, **style)
        if aligned:
            left = 1 - np.append(0, np.cumsum(found.alignment))
            axes[1].plot(np.append(ranks, len(ranks) + 1), np.maximum(left, 1e-16), **style)
    for ax in axes:
        ax.set_xscale("log")
        ax.set_xlabel("rank of the mode")
        finish(ax, legend=False)
    axes[0].set_yscale("log")
    axes[0].set_ylabel("eigenvalue / largest eigenvalue")
    if aligned:
        axes[1].set_xlabel("modes of larger eigenvalue + 1")
        axes[1].set_ylabel("part of the loss outside of them")
        axes[1].set_ylim(0, 1.05)
    finish(axes[0])
    return axes
