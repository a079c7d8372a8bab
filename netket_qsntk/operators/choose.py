"""From a structure to an operator: which is cheapest on given configurations."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from netket_qsntk._units import human_bytes
from netket_qsntk.errors import StructureError
from netket_qsntk.operators.base import KernelOperator
from netket_qsntk.operators.hypercube import Hypercube
from netket_qsntk.operators.kronecker import MAX_BASIS, Kronecker
from netket_qsntk.operators.structure import HammingTable, SiteProduct, Structure, Unstructured
from netket_qsntk.parallel import n_devices

Hint = Literal["dense", "hypercube", "kronecker", "shared", "tiled"]

# Bytes of the largest matrix that is stored on each device without being asked for.
DENSE_BYTES = 2**31

# A stored entry costs about as much in a product (8 bytes from memory) as this many numbers of one pass of a
# transform, measured at n = 4096.
_ENTRY_COST = 2.0

_HINTS = ("dense", "hypercube", "kronecker", "shared", "tiled")


class Stored(NamedTuple):
    """How to make the operators that need entries: each takes the reason and gives the operator."""

    dense: Callable[[str], KernelOperator]
    shared: Callable[[str], KernelOperator]
    tiled: Callable[[str], KernelOperator]


class _Candidate(NamedTuple):
    build: Callable[[str], Hypercube | Kronecker]
    work: float


def choose(
    structure: Structure,
    u: np.ndarray,
    v: np.ndarray | None,
    stored: Stored,
    *,
    hint: Hint | None = None,
) -> KernelOperator:
    """The cheapest exact operator of a structure between coordinates u (n, d) and v (m, d); None for the same batch.

    - A table over the Hamming distance: :class:`Hypercube`.
    - A product over sites, alone or times a function linear in x·y: :class:`Kronecker`.
    - Otherwise the matrix, if it fits in 2 GB: :class:`Dense`. Where there are several devices, in rows on them, if
      the part of each fits: :class:`Shared`.
    - Otherwise blocks that are never stored: :class:`Tiled`.

    A structure is passed over for the matrix where the matrix is small and its products are cheaper (a small batch
    of a large basis).

    Raises:
        StructureError: The structure of ``hint`` does not hold on these configurations, and why.
    """
    if hint not in (None, *_HINTS):
        raise StructureError(f"hint={hint!r}: expected one of {_HINTS}, or None.")
    if hint in ("dense", "shared", "tiled"):
        return stored._asdict()[hint]("it was asked for")
    n, m = len(u), len(u if v is None else v)
    dense_bytes = 8 * n * m
    found = _candidates(structure, u, v)
    if hint is not None:
        wanted = found.get(hint, f"the kernel is not known to be one: {structure.reason}")
        if isinstance(wanted, str):
            raise StructureError(f"This kernel is no {hint} on these configurations: {wanted}.")
        return wanted.build("it was asked for")
    why_not = [] if found else [structure.reason]
    for name, candidate in found.items():
        if isinstance(candidate, str):
            why_not.append(f"{name}: {candidate}")
            continue
        operator = candidate.build(structure.reason)
        if operator.has_cheap_spectrum:
            return operator._with(
                reason=f"{structure.reason}; on the whole basis its spectrum is exact"
            )
        if dense_bytes > DENSE_BYTES * n_devices() or candidate.work < _ENTRY_COST * n * m:
            return operator
        why_not.append(
            f"{name}: it would hold, but a product of {candidate.work:.1g} operations costs more than the matrix of "
            f"{human_bytes(dense_bytes)}"
        )
        break
    known = "; ".join(why_not)
    if dense_bytes <= DENSE_BYTES * n_devices():
        store = stored.dense if n_devices() == 1 else stored.shared
        return store(f"the matrix takes {human_bytes(dense_bytes)}. {known}")
    return stored.tiled(f"the matrix would take {human_bytes(dense_bytes)}. {known}")


def _candidates(
    structure: Structure, u: np.ndarray, v: np.ndarray | None
) -> dict[str, _Candidate | str]:
    """The structured operators by name, cheapest first; a reason in the place of one that does not fit."""
    if isinstance(structure, Unstructured):
        return {}
    if isinstance(structure, HammingTable):
        product = structure.as_product()
        found = {"hypercube": _hypercube(structure, u, v)}
        return found if product is None else {**found, "kronecker": _kronecker(product, u, v)}
    return {"kronecker": _kronecker(structure, u, v)}


def _passes(size: int, number: int) -> float:
    return number * size * max(1.0, np.log2(size))


def _hypercube(table: HammingTable, u: np.ndarray, v: np.ndarray | None) -> _Candidate | str:
    d = table.d
    if d > 30 or 2**d > MAX_BASIS:
        return f"a vector over 2^{d} configurations takes {human_bytes(8 * 2.0**d)}"
    middle = (table.states[0] + table.states[1]) / 2
    x, y = (None if t is None else (np.sign(t - middle) if middle else t) for t in (u, v))
    return _Candidate(
        lambda reason: Hypercube(table.values, x, y, positive=v is None, reason=reason),
        _passes(2**d, 2),
    )


def _kronecker(product: SiteProduct, u: np.ndarray, v: np.ndarray | None) -> _Candidate | str:
    states, d = np.asarray(product.states), product.d
    q = len(states)
    if d * np.log2(max(q, 2)) > np.log2(MAX_BASIS):
        return f"vectors over {q}^{d} configurations do not fit into memory"
    insertion = None if product.is_pure else (product.slope, np.outer(states, states))
    return _Candidate(
        lambda reason: Kronecker(
            product.factor,
            d,
            u,
            v,
            local_states=states,
            scale=product.scale,
            insertion=insertion,
            positive=v is None,
            reason=reason,
        ),
        _passes(q**d, 1 if insertion is None else 3) * q / 2,
    )
