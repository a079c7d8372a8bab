"""Entanglement of given wave functions: Schmidt spectrum by SVD, and its entropies."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jax.typing import ArrayLike
from netket.hilbert import DiscreteHilbert
from scipy.special import xlogy

from netket_qsntk.entanglement.partition import bipartition, check_partition
from netket_qsntk.errors import AmplitudesError, EntropyOrderError

# Numbers of the tables worked on at a time: 2 MB if complex.
_CACHED = 2**17

Kind = Literal["renyi", "tsallis"]


def entanglement_spectrum(
    amplitudes: ArrayLike, hilbert: DiscreteHilbert, partition: Sequence[int]
) -> np.ndarray:
    r"""Eigenvalues of ρ_A = Tr_B |ψ⟩⟨ψ|/⟨ψ|ψ⟩ for each wave function.

    They are the squared singular values of ψ(a, b) over their sum, taken block by block where the
    Hilbert space is constrained (no eigenvalue of a squared matrix is involved, so small ones
    keep their accuracy). Fermionic spaces get the signs of :func:`exchange_signs`.

    Args:
        amplitudes: (…, n_states), real or complex, of any norm, in the order of
            ``hilbert.all_states()``.
        hilbert: NetKet's space of the wave functions.
        partition: Sites of A (modes, for fermions; see :func:`fermion_modes`), in any order.

    Returns:
        Probabilities (…, rank), float64, in decreasing order, each row of sum 1; rank is the
        largest Schmidt rank that the space allows.

    Raises:
        AmplitudesError: Wrong length, not finite, or all zero.
        PartitionError: See :func:`check_partition`.
        SystemTooLargeError: The space cannot be listed.

    Example:
        >>> import netket as nk
        >>> bell = [1.0, 0.0, 0.0, 1.0]
        >>> entanglement_spectrum(bell, nk.hilbert.Spin(0.5, 2), [0])
        array([0.5, 0.5])
    """
    tables = _tables(amplitudes, hilbert, partition)
    squares = np.concatenate([_singular_values(table) for table in tables], axis=-1) ** 2
    if len(tables) > 1:
        squares = -np.sort(-squares, axis=-1)
    return squares / np.sum(squares, axis=-1, keepdims=True)


def purity(amplitudes: ArrayLike, hilbert: DiscreteHilbert, partition: Sequence[int]) -> np.ndarray:
    """Tr ρ_A² for each wave function, by products of matrices: no decomposition is needed.

    Args:
        amplitudes: (…, n_states) of any norm, as in :func:`entanglement_spectrum`.
        hilbert: NetKet's space of the wave functions.
        partition: Sites of A.

    Returns:
        float64 of shape (…), in (0, 1].

    Example:
        >>> import netket as nk
        >>> float(purity([1.0, 0.0, 0.0, 1.0], nk.hilbert.Spin(0.5, 2), [0]))
        0.5
    """
    norm: Any = 0.0
    total: Any = 0.0
    for table in _tables(amplitudes, hilbert, partition):
        if table.shape[-2] > table.shape[-1]:
            table = table.swapaxes(-2, -1)
        flat = table.reshape(-1, *table.shape[-2:])
        rows = max(1, _CACHED // (flat.shape[1] * flat.shape[2]))
        # Some members at a time: what a product needs beside the amplitudes then stays in cache.
        parts = [_norm_and_gram_square(flat[i : i + rows]) for i in range(0, len(flat), rows)]
        squares, grams = (
            np.concatenate(x).reshape(table.shape[:-2]) for x in zip(*parts, strict=True)
        )
        norm, total = norm + squares, total + grams
    return np.minimum(total / norm**2, 1.0)


def _norm_and_gram_square(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """‖M‖² and Tr (M M†)² for each M of (members, rows, columns)."""
    return np.linalg.vector_norm(table, axis=(-2, -1)) ** 2, _gram_square(table)


def _gram_square(table: np.ndarray) -> np.ndarray:
    """Tr (M M†)² for each M of (…, rows, columns)."""
    if not np.iscomplexobj(table):
        return np.linalg.vector_norm(table @ table.swapaxes(-2, -1), axis=(-2, -1)) ** 2
    # M M† = X Xᵀ + i(K - Kᵀ) with X = (Re M, Im M) and K = Im M (Re M)ᵀ: the first product is
    # symmetric, so that both together are half the work of a complex one.
    x = np.concatenate([table.real, table.imag], axis=-1)
    k = table.imag @ table.real.swapaxes(-2, -1)
    return sum(
        np.linalg.vector_norm(m, axis=(-2, -1)) ** 2
        for m in (x @ x.swapaxes(-2, -1), k - k.swapaxes(-2, -1))
    )


def _tables(
    amplitudes: ArrayLike, hilbert: DiscreteHilbert, partition: Sequence[int]
) -> list[np.ndarray]:
    """ψ(a, b) of each connected block, (…, rows, columns)."""
    cut = bipartition(hilbert, check_partition(partition, hilbert.size))
    psi = np.asarray(amplitudes)
    psi = psi.astype(np.complex128 if np.iscomplexobj(psi) else np.float64, copy=False)
    return cut.tables(_checked(psi, hilbert))


def _singular_values(table: np.ndarray) -> np.ndarray:
    if min(table.shape[-2:]) == 1:
        return np.linalg.norm(table, axis=(-2, -1))[..., None]
    return np.linalg.svd(table, compute_uv=False)


def _checked(psi: np.ndarray, hilbert: DiscreteHilbert) -> np.ndarray:
    if psi.ndim == 0 or psi.shape[-1] != hilbert.n_states:
        raise AmplitudesError(
            f"amplitudes have shape {psi.shape}; expected (…, {hilbert.n_states}), one for each "
            f"state of {hilbert} in the order of hilbert.all_states(), as state.to_array() "
            "returns them."
        )
    parts = (psi.real, psi.imag) if np.iscomplexobj(psi) else (psi,)
    scale = sum(np.max(np.abs(part), axis=-1, keepdims=True) for part in parts)
    if not np.all(np.isfinite(scale)):
        raise AmplitudesError("amplitudes have nan or inf among them: no entropy is defined.")
    if not np.all(scale > 0):
        raise AmplitudesError("amplitudes are all zero: the state cannot be normalised.")
    # Only norms that would overflow or underflow when squared need a pass over the amplitudes.
    ordinary = np.all((scale > 1e-100) & (scale < 1e100))
    return psi if ordinary else psi / scale


def renyi_entropy(
    probabilities: ArrayLike, n: float = 1.0, *, log_base: float = math.e
) -> np.ndarray:
    r"""Rényi entropies :math:`S_n = \log(\sum_i p_i^n)/(1-n)` of spectra.

    n = 1 is the von Neumann entropy, n = ∞ the min-entropy -log max p. Close to n = 1 the sum is
    taken as 1 + Σ p (p^{n-1} - 1), so nothing is lost to the small denominator.

    Args:
        probabilities: (…, rank), each row of sum 1.
        n: Order, > 0, ``math.inf`` included.
        log_base: Base of the logarithm; e gives nats, 2 gives bits.

    Returns:
        Entropies of shape (…).

    Raises:
        EntropyOrderError: n is not > 0, or ``log_base`` is not > 0 or is 1.

    Example:
        >>> float(renyi_entropy([0.5, 0.5], 2, log_base=2))
        1.0
    """
    check_order(n)
    check_log_base(log_base)
    p = np.asarray(probabilities, dtype=np.float64)
    if n == 1:
        nats = -np.sum(xlogy(p, p), axis=-1)
    elif math.isinf(n):
        nats = -np.log(np.max(p, axis=-1))
    elif n < 2:
        nats = np.log1p(_power_excess(p, n)) / (1 - n)
    else:
        # Scaled by the largest p: at large n the sum itself underflows.
        top = np.max(p, axis=-1, keepdims=True)
        nats = (n * np.log(top[..., 0]) + np.log(np.sum((p / top) ** n, axis=-1))) / (1 - n)
    return np.maximum(nats, 0.0) / math.log(log_base)


def tsallis_entropy(probabilities: ArrayLike, q: float = 1.0) -> np.ndarray:
    r"""Tsallis entropies :math:`(\sum_i p_i^q - 1)/(1-q)` of spectra.

    q = 1 is the von Neumann entropy in nats.

    Args:
        probabilities: (…, rank), each row of sum 1.
        q: Order, finite and > 0.

    Returns:
        Entropies of shape (…).

    Example:
        >>> float(tsallis_entropy([0.5, 0.5], 2))
        0.5
    """
    check_order(q)
    if math.isinf(q):
        raise EntropyOrderError("The Tsallis entropy tends to zero at q=inf; ask for a finite q.")
    p = np.asarray(probabilities, dtype=np.float64)
    if q == 1:
        return renyi_entropy(p, 1)
    return np.maximum(_power_excess(p, q) / (1 - q), 0.0)


def _power_excess(p: np.ndarray, n: float) -> np.ndarray:
    """Σ pⁿ - 1 for rows of sum 1, accurate when n is near 1."""
    positive = p > 0
    logs = np.log(np.where(positive, p, 1.0))
    return np.sum(np.where(positive, p * np.expm1((n - 1) * logs), 0.0), axis=-1)


def check_order(n: Any) -> None:
    """Raise :class:`EntropyOrderError` unless ``n`` is a number > 0."""
    if not (np.isscalar(n) and np.isreal(n) and n > 0):  # type: ignore[operator]
        raise EntropyOrderError(
            f"entropy of order {n!r}: expected one number > 0 (1 is von Neumann, math.inf the "
            "min-entropy)."
        )


def check_log_base(log_base: float) -> None:
    """Raise :class:`EntropyOrderError` unless ``log_base`` is a number > 0 other than 1."""
    if not (0 < log_base < math.inf and log_base != 1):
        raise EntropyOrderError(f"log_base={log_base!r}: expected a number > 0 other than 1.")


def entropies(
    amplitudes: ArrayLike,
    hilbert: DiscreteHilbert,
    partition: Sequence[int],
    *,
    n: float | Sequence[float] = 1.0,
    kind: Kind = "renyi",
    log_base: float = math.e,
) -> np.ndarray:
    """Entanglement entropies of wave functions between the sites of a partition and the rest.

    One batched singular value decomposition serves every member and every order; n = 2 alone needs
    none. Spaces with a
    fixed particle number or magnetisation are decomposed sector by sector, fermions with their
    exchange signs.

    Args:
        amplitudes: (…, n_states), of any norm, in the order of ``hilbert.all_states()``: one
            state, or the members of an ensemble.
        hilbert: NetKet's space of the wave functions.
        partition: Sites of A in any order (modes, for fermions; see :func:`fermion_modes`).
        n: Order or orders > 0: 1 is von Neumann, ``math.inf`` the min-entropy.
        kind: ``"renyi"`` or ``"tsallis"``.
        log_base: Base of the logarithm of the Rényi entropies; e gives nats. Tsallis has no base.

    Returns:
        float64 of shape (…) for one order, (…, len(n)) for several.

    Raises:
        AmplitudesError: Wrong length, not finite, or all zero.
        EntropyOrderError: An order that is not > 0, an unknown kind.
        PartitionError: See :func:`check_partition`.
        SystemTooLargeError: The space cannot be listed.

    Example:
        >>> import netket as nk
        >>> hi = nk.hilbert.Spin(0.5, 4, total_sz=0)
        >>> entropies(np.ones(6), hi, [0, 1], n=[1, 2]).round(4)
        array([0.8676, 0.6931])
    """
    if kind not in ("renyi", "tsallis"):
        raise EntropyOrderError(f"kind={kind!r}: expected 'renyi' or 'tsallis'.")
    orders: list[Any] = [n] if np.isscalar(n) else list(n)  # type: ignore[arg-type]
    for order in orders:
        check_order(order)
    check_log_base(log_base)
    if orders == [2]:
        mixed = purity(amplitudes, hilbert, partition)
        columns = [1 - mixed if kind == "tsallis" else -np.log(mixed) / math.log(log_base)]
    else:
        p = entanglement_spectrum(amplitudes, hilbert, partition)
        columns = [
            tsallis_entropy(p, order)
            if kind == "tsallis"
            else renyi_entropy(p, order, log_base=log_base)
            for order in orders
        ]
    return columns[0] if np.isscalar(n) else np.stack(columns, axis=-1)
