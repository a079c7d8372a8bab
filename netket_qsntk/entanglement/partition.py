"""Which sites belong to A, and where each basis state goes in the A × B table of amplitudes."""

import math
from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax.numpy as jnp
import netket as nk
import numpy as np
from jax import Array
from netket.hilbert import DiscreteHilbert
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from netket_qsntk.errors import PartitionError, SystemTooLargeError
from netket_qsntk.tracing import on_host


def check_partition(partition: Collection[int], n_sites: int) -> tuple[int, ...]:
    """The sites of A in increasing order.

    Args:
        partition: Indices of the sites of A in any order: a list, a set, a range or an array. B is the rest.
        n_sites: Number of sites of the whole system.

    Raises:
        PartitionError: Not a list of integers, empty, every site, a site outside 0…n_sites-1 or
            named twice.

    Example:
        >>> check_partition([3, 0], 6)
        (0, 3)
    """
    example = f"partition={list(range(max(1, n_sites // 2)))}"
    try:
        given = np.asarray(list(partition) if isinstance(partition, Set) else partition)
    except ValueError:  # lists of unequal lengths
        given = np.array(None)
    if given.ndim != 1 or (given.size and not np.issubdtype(given.dtype, np.integer)):
        raise PartitionError(
            f"partition={partition!r}: expected a list of site indices, as in {example}."
        )
    if given.size == 0:
        raise PartitionError(
            f"partition is empty: subsystem A needs at least one of the {n_sites} sites, as in "
            f"{example}."
        )
    outside = given[(given < 0) | (given >= n_sites)]
    if outside.size:
        raise PartitionError(
            f"partition has sites {outside.tolist()} outside 0…{n_sites - 1}; a valid one is "
            f"{example}."
        )
    sites, counts = np.unique(given, return_counts=True)
    if sites.size < given.size:
        raise PartitionError(
            f"partition names the sites {sites[counts > 1].tolist()} more than once."
        )
    if sites.size == n_sites:
        raise PartitionError(
            f"partition has all {n_sites} sites, so B is empty and every entropy is zero; leave "
            f"at least one site out, as in {example}."
        )
    return tuple(int(i) for i in sites)


def fermion_modes(hilbert: DiscreteHilbert, sites: Sequence[int]) -> list[int]:
    """The modes of a fermionic space that sit on the given lattice sites.

    NetKet orders the modes of :class:`~netket.hilbert.SpinOrbitalFermions` by spin first: all
    orbitals with the lowest s_z, then the next. An entropy between *lattice sites* takes every
    spin of a site.

    Args:
        hilbert: The fermions.
        sites: Lattice sites of A.

    Raises:
        PartitionError: No fermions, or sites outside the lattice.

    Example:
        >>> fermion_modes(nk.hilbert.SpinOrbitalFermions(4, s=1 / 2), [0, 1])
        [0, 1, 4, 5]
    """
    if not isinstance(hilbert, nk.hilbert.SpinOrbitalFermions):
        raise PartitionError(
            f"fermion_modes expects SpinOrbitalFermions, got {type(hilbert).__name__}, whose "
            "indices are sites already: pass them as the partition."
        )
    orbitals = hilbert.n_orbitals
    outside = [i for i in sites if not 0 <= i < orbitals]
    if outside:
        raise PartitionError(f"sites {outside} are outside 0…{orbitals - 1}.")
    return [spin * orbitals + i for spin in range(hilbert.size // orbitals) for i in sites]


def _fermionic_spans(hilbert: DiscreteHilbert) -> list[tuple[int, int]]:
    """Index ranges of ``hilbert`` that hold fermionic modes, one for each fermionic factor."""
    factors = hilbert.subspaces if isinstance(hilbert, nk.hilbert.TensorHilbert) else (hilbert,)
    ends = np.cumsum([h.size for h in factors])
    return [
        (int(end) - h.size, int(end))
        for h, end in zip(factors, ends, strict=True)
        if isinstance(h, nk.hilbert.SpinOrbitalFermions)
    ]


def exchange_signs(hilbert: DiscreteHilbert, partition: tuple[int, ...], x: Array) -> Array:
    """Signs ±1 that bring every creation operator of A in front of those of B.

    With NetKet's order of modes, |n⟩ = Π_i (c†_i)^{n_i} |0⟩ with i increasing. A product over A
    times a product over B differs by (-1) for each occupied pair (i in A, j in B) with j < i, and
    only in that order is the matrix ψ(a, b) the one whose singular values are the fermionic
    Schmidt values. Spaces without fermions give +1.

    Args:
        hilbert: The Hilbert space.
        partition: Sorted sites of A.
        x: Configurations (…, size), NumPy or JAX.

    Returns:
        Real signs of shape (…), of the library (NumPy or JAX) that ``x`` is from.
    """
    xp: Any = jnp if isinstance(x, Array) else np
    swaps = xp.zeros(x.shape[:-1], dtype=np.int64)
    in_a = np.isin(np.arange(hilbert.size), partition).astype(np.int64)
    for start, stop in _fermionic_spans(hilbert):
        n = x[..., start:stop].astype(np.int64)
        here = in_a[start:stop]
        swaps = swaps + xp.sum(n * here * xp.cumsum(n * (1 - here), axis=-1), axis=-1)
    return 1.0 - 2.0 * (swaps % 2)


@dataclass(frozen=True, eq=False)
class Bipartition:
    """Where basis state number i of a Hilbert space sits in the table ψ(a, b), and with which sign.

    Attributes:
        rows: Row (configuration of A) of each basis state, shape (n_states,).
        columns: Column (configuration of B), shape (n_states,).
        signs: ±1 for each basis state, :func:`exchange_signs`; None without fermions.
        shape: Numbers of different configurations of A and of B.
        blocks: The connected blocks of the table: arrays (rows, columns) of basis-state numbers,
            -1 where a pair (a, b) is not in the space. An unconstrained space is one block
            without holes; a fixed particle number gives one block for each number in A, and the
            table is never built.
    """

    rows: np.ndarray
    columns: np.ndarray
    signs: np.ndarray | None
    shape: tuple[int, int]
    blocks: tuple[np.ndarray, ...]
    axes: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    def tables(self, psi: np.ndarray) -> list[np.ndarray]:
        """ψ(a, b) with exchange signs for each block, (…, rows, columns), from ψ of (…, n_states)."""
        if self.signs is not None:
            psi = psi * self.signs
        if self.axes is None:
            return [np.where(block < 0, 0.0, psi[..., block]) for block in self.blocks]
        dimensions, order = self.axes
        batch = psi.shape[:-1]
        moved = (*range(len(batch)), *(len(batch) + i for i in order))
        return [psi.reshape(batch + dimensions).transpose(moved).reshape(batch + self.shape)]

    @property
    def max_rank(self) -> int:
        """Largest Schmidt rank that the space allows."""
        return sum(min(block.shape) for block in self.blocks)


@lru_cache(maxsize=16)
def bipartition(hilbert: DiscreteHilbert, partition: tuple[int, ...]) -> Bipartition:
    """The :class:`Bipartition` of a Hilbert space whose basis can be listed.

    Args:
        hilbert: A discrete NetKet space, constrained or not.
        partition: Sorted sites of A, as :func:`check_partition` returns them.

    Raises:
        SystemTooLargeError: The basis cannot be listed.
    """
    if not hilbert.is_indexable:
        raise SystemTooLargeError(
            f"{hilbert} has too many basis states to hold their amplitudes. For ensembles of "
            "networks the closed forms need none: annealed_renyi and normalized_purity on a "
            "ProductEnsemble or HammingEnsemble, finite_width_purity for CosNet and GaussNet; "
            "for one MCState, EntanglementEntropy(hilbert, partition, n=2) samples."
        )
    rest = tuple(i for i in range(hilbert.size) if i not in partition)
    fermionic = bool(_fermionic_spans(hilbert))
    axes = None
    if hilbert.n_states == math.prod(hilbert.shape):
        # The whole product basis in lexicographic order: a transpose says where everything goes.
        n_rows, n_columns = (
            math.prod(int(hilbert.shape[i]) for i in part) for part in (partition, rest)
        )
        shape = (n_rows, n_columns)
        table = np.arange(hilbert.n_states).reshape(hilbert.shape)
        table = table.transpose(partition + rest).reshape(shape)
        rows, columns = np.empty((2, hilbert.n_states), dtype=np.int64)
        rows[table], columns[table] = np.indices(shape, sparse=True)
        blocks: tuple[np.ndarray, ...] = (table,)
        axes = tuple(int(q) for q in hilbert.shape), partition + rest
    else:
        states = np.asarray(hilbert.all_states())
        rows, n_rows = _group(states[:, partition])
        columns, n_columns = _group(states[:, rest])
        shape = (n_rows, n_columns)
        blocks = _blocks(rows, columns, n_rows, n_columns)
    signs = None
    if fermionic:
        signs = np.asarray(exchange_signs(hilbert, partition, on_host(hilbert.all_states())))
    return Bipartition(rows, columns, signs, shape, blocks, axes)


def _group(configurations: np.ndarray) -> tuple[np.ndarray, int]:
    """Number of each row among the distinct rows, and how many those are."""
    _, level = np.unique(configurations, return_inverse=True)
    level = level.reshape(configurations.shape)
    base = int(level.max()) + 1
    if configurations.shape[1] * np.log2(max(base, 2)) < 62:
        keys = level @ base ** np.arange(configurations.shape[1], dtype=np.int64)[::-1]
        distinct, number = np.unique(keys, return_inverse=True)
    else:
        distinct, number = np.unique(configurations, axis=0, return_inverse=True)
    return number.reshape(-1), len(distinct)


def _blocks(
    rows: np.ndarray, columns: np.ndarray, n_rows: int, n_columns: int
) -> tuple[np.ndarray, ...]:
    graph = coo_array(
        (np.ones(len(rows), dtype=np.int8), (rows, n_rows + columns)),
        shape=(n_rows + n_columns,) * 2,
    )
    count, label = connected_components(graph, directed=False)
    blocks = []
    for which in range(count):
        inside = np.flatnonzero(label[rows] == which)
        r, row = np.unique(rows[inside], return_inverse=True)
        c, column = np.unique(columns[inside], return_inverse=True)
        block = np.full((len(r), len(c)), -1, dtype=np.int64)
        block[row, column] = inside
        blocks.append(block)
    return tuple(blocks)
