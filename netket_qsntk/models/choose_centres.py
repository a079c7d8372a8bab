"""Which of many configurations to take as centres: pivoted Cholesky."""

from collections.abc import Callable
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from netket_qsntk.errors import InvalidConfigurationsError
from netket_qsntk.kernels.base import InfiniteWidthKernel
from netket_qsntk.kernels.group_sums import two_states
from netket_qsntk.kernels.registry import infinite_width
from netket_qsntk.models import centres as centre
from netket_qsntk.symmetry.orbits import distinct, words

Rows = tuple[Callable[[int], np.ndarray], np.ndarray]


def choose_centres(
    network: Any,
    candidates: ArrayLike,
    n_centres: int,
    *,
    keep: ArrayLike | None = None,
    which: Literal["ntk", "nngp"] = "ntk",
    tolerance: float = 1e-10,
) -> np.ndarray:
    r"""The centres that leave least unexplained: pivots of a Cholesky decomposition of Θ on the candidates.

    At each step the candidate x is taken whose function Θ(·, x) is farthest from the span of those taken before, by
    Θ(x, x) - Θ_xY Θ_YY⁻¹ Θ_Yx; repeated and symmetric copies, and candidates within the span, are left out.
    Cost: n_centres² · candidates operations, and n_centres · candidates numbers.

    Args:
        network: A model with an infinite-width kernel, or the kernel.
        candidates: Configurations (n, sites) or (chains, n, sites), for instance ``vs.samples``.
        n_centres: How many to take at most.
        keep: Configurations (m, sites) that are taken first.
        which: ``"ntk"`` or ``"nngp"``.
        tolerance: Candidates that are explained up to this fraction of the largest Θ(x, x) are left out.

    Returns:
        (M, sites), M <= n_centres: fewer where the candidates span no more.

    Raises:
        InvalidConfigurationsError: No configurations, or no positive number of centres.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> net = qs.models.CosNet(1, parts="real")
        >>> qs.models.choose_centres(net, nk.hilbert.Spin(0.5, 4).all_states(), 3)
        array([[ 1,  1,  1,  1],
               [-1, -1, -1, -1],
               [ 1,  1, -1, -1]], dtype=int8)
    """
    if n_centres < 1:
        raise InvalidConfigurationsError(f"n_centres={n_centres}: expected a positive number.")
    kernel = network if isinstance(network, InfiniteWidthKernel) else infinite_width(network)
    x = centre.check_configurations(candidates)
    first = 0
    if keep is not None:
        kept = centre.check_configurations(keep)
        first, x = len(kept), np.concatenate([kept, x])
    states = two_states(x)
    symmetry = centre.taken_apart(kernel)[1]
    if states is None:
        different = np.sort(np.unique(x, axis=0, return_index=True)[1])
    else:
        different = distinct(x > (states[0] + states[1]) / 2, symmetry)
    first = int((different < first).sum())
    x = x[different]
    return x[pivots(kernel, x, n_centres, first, which, tolerance)]


def pivots(
    kernel: InfiniteWidthKernel,
    x: np.ndarray,
    n_centres: int,
    first: int,
    which: Literal["ntk", "nngp"],
    tolerance: float,
) -> np.ndarray:
    """Indices of the configurations chosen, the ``first`` ones of x before others."""
    row_of, diagonal = _rows_of(kernel, x, which)
    least = tolerance * float(diagonal.max(initial=0.0))
    n = min(n_centres, len(x))
    factor, taken = np.zeros((n, len(x))), []
    for step in range(n):
        ahead = diagonal[:first]
        pivot = (
            int(np.argmax(ahead)) if ahead.max(initial=0.0) > least else int(np.argmax(diagonal))
        )
        if diagonal[pivot] <= least:
            break
        row = row_of(pivot) - factor[:step, pivot] @ factor[:step]
        factor[step] = row / np.sqrt(diagonal[pivot])
        diagonal = diagonal - factor[step] ** 2
        diagonal[pivot] = 0.0
        taken.append(pivot)
    return np.array(taken, int)


def _rows_of(kernel: InfiniteWidthKernel, x: np.ndarray, which: Literal["ntk", "nngp"]) -> Rows:
    """Rows of the kernel on the candidates by their number, and its diagonal."""
    values = centre.evaluator(kernel, x, which, float)
    if "middle" not in values:
        diagonal = np.array(kernel.diagonals(x)[which == "ntk"])
        at = kernel.ntk if which == "ntk" else kernel.nngp
        return lambda i: np.asarray(at(x[i : i + 1], x))[0], diagonal
    if "columns" in values:
        return _by_patterns(values, x)
    return _by_bits(values, x)


def _by_patterns(values: centre.Variables, x: np.ndarray) -> Rows:
    columns = np.asarray(values["columns"])
    up = jnp.asarray(x > float(values["middle"]))
    counts = np.asarray(centre.pattern_places(values).counts(up, len(columns)))
    diagonal = np.einsum("ij,ji->i", counts, columns)
    if "table" not in values:
        return lambda i: counts[i] @ columns, diagonal
    row_of, other = _by_bits(values, x)
    return lambda i: counts[i] @ columns + row_of(i), diagonal + other


def _by_bits(values: centre.Variables, x: np.ndarray) -> Rows:
    # In NumPy: the number of candidates differs from call to call, and XLA would compile for each.
    orbits, table = np.asarray(values["orbits"]), np.asarray(values["table"])
    weights = np.asarray(values.get("weights", np.full(len(orbits), 1 / len(orbits))))
    own = np.asarray(words(x > float(values["middle"])))

    def look_up(bits: np.ndarray) -> np.ndarray:
        h = np.bitwise_count(bits ^ orbits).sum(1, dtype=np.int32)
        return weights @ np.take(table, h)

    return lambda i: look_up(own[:, i, None]), look_up(own)
