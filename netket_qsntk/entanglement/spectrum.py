"""Entanglement of given wave functions: Schmidt spectrum by SVD, and its entropies."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from jax.typing import ArrayLike
from netket.hilbert import DiscreteHilbert

from netket_qsntk.entanglement.orders import check_log_base, orders_of
from netket_qsntk.entanglement.partition import bipartition, check_partition
from netket_qsntk.entanglement.probabilities import renyi_entropy, tsallis_entropy
from netket_qsntk.entanglement.threads import in_threads
from netket_qsntk.errors import AmplitudesError, EntropyOrderError

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
    return _each_member(_spectrum, amplitudes, hilbert, partition)


def _spectrum(tables: list[np.ndarray]) -> np.ndarray:
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
    return _moments(amplitudes, hilbert, partition, [2])[..., 0]


# Orders whose moments take products of matrices and no decomposition.
_PRODUCT_ORDERS = (2, 3, 4)


def _moments(
    amplitudes: ArrayLike, hilbert: DiscreteHilbert, partition: Sequence[int], orders: Sequence[int]
) -> np.ndarray:
    """Tr ρ_Aⁿ for each n among 2, 3, 4, (…, orders), from ρ_A and its square."""

    def moments(tables: list[np.ndarray]) -> np.ndarray:
        norm: Any = 0.0
        total: Any = 0.0
        for table in tables:
            if table.shape[-2] > table.shape[-1]:
                table = table.swapaxes(-2, -1)
            norm = norm + np.linalg.vector_norm(table, axis=(-2, -1)) ** 2
            total = total + np.stack(_traces(table, orders), axis=-1)
        return np.minimum(total / norm[:, None] ** np.asarray(orders), 1.0)

    return _each_member(moments, amplitudes, hilbert, partition)


def _traces(table: np.ndarray, orders: Sequence[int]) -> list[np.ndarray]:
    """Tr (M M†)ⁿ for each n and each M of (members, rows, columns)."""
    if list(orders) == [2]:
        return [_gram_square(table)]
    gram = table @ table.conj().swapaxes(-2, -1)
    square = gram @ gram if max(orders) > 2 else gram
    pairs = {2: (gram, gram), 3: (gram, square), 4: (square, square)}
    return [_inner(*pairs[n]) for n in orders]


def _gram_square(table: np.ndarray) -> np.ndarray:
    """Tr (M M†)² for each M of (members, rows, columns)."""
    if not np.iscomplexobj(table):
        gram = table @ table.swapaxes(-2, -1)
        return _inner(gram, gram)
    # M M† = X Xᵀ + i(K - Kᵀ) with X = (Re M, Im M) and K = Im M (Re M)ᵀ: the first product is
    # symmetric, so that both together are half the work of a complex one.
    x = np.concatenate([table.real, table.imag], axis=-1)
    columns = table.shape[-1]
    k = x[..., columns:] @ x[..., :columns].swapaxes(-2, -1)
    symmetric, skew = x @ x.swapaxes(-2, -1), k - k.swapaxes(-2, -1)
    return _inner(symmetric, symmetric) + _inner(skew, skew)


def _inner(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Re Tr A†B for each pair of matrices."""
    return np.vecdot(a.reshape(len(a), -1), b.reshape(len(b), -1)).real


def _each_member(
    function: Callable[[list[np.ndarray]], np.ndarray],
    amplitudes: ArrayLike,
    hilbert: DiscreteHilbert,
    partition: Sequence[int],
) -> np.ndarray:
    """``function`` of ψ(a, b) of each connected block, (members, rows, columns), over all members."""
    cut = bipartition(hilbert, check_partition(partition, hilbert.size))
    psi = np.asarray(amplitudes)
    if psi.ndim == 0 or psi.shape[-1] != hilbert.n_states:
        raise AmplitudesError(
            f"amplitudes have shape {psi.shape}; expected (…, {hilbert.n_states}), one for each "
            f"state of {hilbert} in the order of hilbert.all_states(), as state.to_array() "
            "returns them."
        )
    psi = psi.astype(np.complex128 if np.iscomplexobj(psi) else np.float64, copy=False)
    flat = np.ascontiguousarray(psi.reshape(-1, hilbert.n_states))
    result = in_threads(
        lambda rows: function(cut.tables(_scaled(flat[rows]))), len(flat), hilbert.n_states
    )
    return result.reshape(psi.shape[:-1] + result.shape[1:])


def _singular_values(table: np.ndarray) -> np.ndarray:
    if min(table.shape[-2:]) == 1:
        return np.linalg.norm(table, axis=(-2, -1))[..., None]
    return np.linalg.svd(table, compute_uv=False)


def _scaled(psi: np.ndarray) -> np.ndarray:
    """Members (members, n_states) whose norms neither overflow nor underflow to the power of twice an order."""
    numbers = psi.view(np.float64)
    scale = np.maximum(np.max(numbers, axis=-1), -np.min(numbers, axis=-1))[:, None]
    if not np.all(np.isfinite(scale)):
        raise AmplitudesError("amplitudes have nan or inf among them: no entropy is defined.")
    if not np.all(scale > 0):
        raise AmplitudesError("amplitudes are all zero: the state cannot be normalised.")
    ordinary = np.all((scale > 1e-30) & (scale < 1e30))
    return psi if ordinary else psi / scale


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

    One singular value decomposition of each member serves every order; where all orders are among 2, 3
    and 4, products of matrices do instead. Members are spread over the processor's cores. Spaces with
    a fixed particle number or magnetisation are decomposed sector by sector, fermions with their
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
    orders = orders_of(n)
    check_log_base(log_base)
    if all(order in _PRODUCT_ORDERS for order in orders):
        whole = [int(order) for order in orders]
        moments = _moments(amplitudes, hilbert, partition, whole)
        columns = [
            (1 - m if kind == "tsallis" else -np.log(m) / math.log(log_base)) / (order - 1)
            for order, m in zip(whole, np.moveaxis(moments, -1, 0), strict=True)
        ]
    else:
        p = entanglement_spectrum(amplitudes, hilbert, partition)
        columns = [
            tsallis_entropy(p, order)
            if kind == "tsallis"
            else renyi_entropy(p, order, log_base=log_base)
            for order in orders
        ]
    return columns[0] if np.ndim(n) == 0 else np.stack(columns, axis=-1)
