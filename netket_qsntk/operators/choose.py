"""Which structure a kernel has on given configurations, and which is cheapest."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from netket_qsntk._units import human_bytes
from netket_qsntk.errors import StructureError
from netket_qsntk.kernels.base import InfiniteWidthKernel, check_configurations
from netket_qsntk.kernels.dot_product import DotProductKernel
from netket_qsntk.operators.base import KernelOperator
from netket_qsntk.operators.basis import local_values
from netket_qsntk.operators.dense import Dense
from netket_qsntk.operators.hypercube import Hypercube
from netket_qsntk.operators.kronecker import MAX_BASIS, Kronecker
from netket_qsntk.operators.shared import Shared
from netket_qsntk.operators.tiled import Tiled
from netket_qsntk.parallel import SharedMatrix, n_devices

Which = Literal["ntk", "nngp"]
Structure = Literal["dense", "hypercube", "kronecker", "shared", "tiled"]

# Bytes of the largest matrix that is stored on each device without being asked for.
DENSE_BYTES = 2**31

# A stored entry costs about as much in a product (8 bytes from memory) as this many numbers of one pass of a
# transform, measured at n = 4096.
_ENTRY_COST = 2.0


class _Candidate(NamedTuple):
    build: Callable[[str], KernelOperator]
    work: float
    property: str


def choose(
    kernel: InfiniteWidthKernel,
    x: Any,
    y: Any = None,
    *,
    which: Which = "ntk",
    hint: Structure | None = None,
) -> KernelOperator:
    """The kernel between configurations as the cheapest exact operator.

    - On spins of two opposite values every kernel of inner products is a function of the Hamming distance:
      :class:`Hypercube`.
    - A translation-invariant product over sites (CosNet and GaussNet), for any local states: :class:`Kronecker`,
      and their NTK the same with an insertion.
    - Otherwise the matrix, if it fits in 2 GB: :class:`Dense`. Where there are several devices, in rows on them, if
      the part of each fits: :class:`Shared`.
    - Otherwise blocks that are never stored: :class:`Tiled`.

    A structure is passed over for the matrix where the matrix is small and its products are cheaper (a small batch
    of a large basis).

    Args:
        kernel: An infinite-width kernel.
        x: Rows: configurations (n, sites).
        y: Columns; None for the same batch, which makes the operator symmetric and positive semidefinite.
        which: ``"ntk"`` or ``"nngp"``.
        hint: A structure to use instead.

    Returns:
        An operator whose ``reason`` (and ``repr``) says why it is the one.

    Raises:
        StructureError: The structure of ``hint`` does not hold for this kernel on these configurations, and why.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,)))
        >>> qs.operators.choose(kernel, nk.hilbert.Spin(0.5, 10).all_states())
        Hypercube(1024 × 1024, function of the Hamming distance, whole basis of 10 spins, float64, symmetric,
        positive, memory=176 B (as a matrix 8.39 MB), because the kernel depends on inner products alone and the
        inputs are ±1; on the whole basis its spectrum is exact)
    """
    x = check_configurations(x)
    y = None if y is None else check_configurations(y, "y")
    if which not in ("ntk", "nngp"):
        raise StructureError(f"which={which!r}: expected 'ntk' or 'nngp'.")
    n, m = len(x), len(x if y is None else y)
    dense_bytes = 8 * n * m

    def dense(reason: str) -> KernelOperator:
        matrix = kernel.both(x, y)[_SLOT[which]]
        return Dense(matrix, symmetric=y is None, positive=y is None, reason=reason)

    def shared(reason: str) -> KernelOperator:
        matrix = SharedMatrix.of_kernel(kernel, x, y)[_SLOT[which]]
        return Shared(matrix, symmetric=y is None, positive=y is None, reason=reason)

    def tiled(reason: str) -> KernelOperator:
        return Tiled(kernel, x, y, which=which, positive=y is None, reason=reason)

    if hint == "dense":
        return dense("it was asked for")
    if hint == "shared":
        return shared("it was asked for")
    if hint == "tiled":
        return tiled("it was asked for")
    if hint not in (None, "hypercube", "kronecker"):
        raise StructureError(
            f"hint={hint!r}: expected 'dense', 'hypercube', 'kronecker', 'shared', 'tiled' or None."
        )
    why_not = []
    for name, find in (("hypercube", _hypercube), ("kronecker", _kronecker)):
        if hint not in (None, name):
            continue
        found = find(kernel, x, y, which)
        if isinstance(found, str):
            why_not.append(f"{name}: {found}")
            continue
        if hint == name:
            return found.build("it was asked for")
        operator = found.build(found.property)
        if operator.has_cheap_spectrum:
            return found.build(f"{found.property}; on the whole basis its spectrum is exact")
        if dense_bytes > DENSE_BYTES * n_devices() or found.work < _ENTRY_COST * n * m:
            return operator
        why_not.append(
            f"{name}: it would hold, but a product of {found.work:.1g} operations costs more than the matrix of "
            f"{human_bytes(dense_bytes)}"
        )
    if hint is not None:
        raise StructureError(
            f"This kernel is no {hint} on these configurations. {'; '.join(why_not)}."
        )
    known = "; ".join(why_not)
    if dense_bytes <= DENSE_BYTES * n_devices():
        store = dense if n_devices() == 1 else shared
        return store(f"the matrix takes {human_bytes(dense_bytes)}. {known}")
    return tiled(f"the matrix would take {human_bytes(dense_bytes)}. {known}")


_SLOT = {"nngp": 0, "ntk": 1}


def _passes(size: int, number: int) -> float:
    return number * size * max(1.0, np.log2(size))


def _hypercube(kernel: InfiniteWidthKernel, x: Any, y: Any, which: Which) -> _Candidate | str:
    if not isinstance(kernel, DotProductKernel):
        return "the kernel is not known to depend on inner products alone"
    u, v = _encoded(kernel, x, y)
    s = np.abs(u.flat[0]) if u.size else 1.0
    if s == 0 or any(not np.all(np.abs(t) == s) for t in (u, v) if t is not None):
        return "the inputs are not ±1"
    d = u.shape[1]
    if d > 30 or d > np.log2(MAX_BASIS):
        return f"a vector over 2^{d} configurations takes {human_bytes(8 * 2.0**d)}"
    h = np.arange(d + 1)
    values = kernel.values(d, d * s**2, d * s**2, (d - 2 * h) * s**2)[_SLOT[which]]
    return _Candidate(
        lambda reason: Hypercube(values, u, v, positive=v is None, reason=reason),
        _passes(2**d, 2),
        "the kernel depends on inner products alone and the inputs are ±1",
    )


def _kronecker(kernel: InfiniteWidthKernel, x: Any, y: Any, which: Which) -> _Candidate | str:
    invariant = getattr(getattr(kernel, "formula", None), "translation_invariant_nngp", False)
    if not (isinstance(kernel, DotProductKernel) and invariant):
        return "the kernel is not known to be a product over sites"
    u, v = _encoded(kernel, x, y)
    states = local_values(*(t for t in (u, v) if t is not None))
    q, d = len(states), u.shape[1]
    if d * np.log2(max(q, 2)) > np.log2(MAX_BASIS):
        return f"vectors over {q}^{d} configurations do not fit into memory"
    parts = _one_site(kernel, d, states, which)
    if parts is None:
        return "the kernel is not a product over sites"
    factor, scale, slope = parts
    insertion = None if slope == 0 else (slope, np.outer(states, states))
    return _Candidate(
        lambda reason: Kronecker(
            factor,
            d,
            u,
            v,
            local_states=states,
            scale=scale,
            insertion=insertion,
            positive=v is None,
            reason=reason,
        ),
        _passes(q**d, 1 if insertion is None else 3) * q / 2,
        "the kernel is a product over sites"
        + ("" if insertion is None else ", times a function linear in x·y"),
    )


def _one_site(
    kernel: DotProductKernel, d: int, states: np.ndarray, which: Which
) -> tuple[np.ndarray, float, float] | None:
    """κ(a, b), α and β with kernel(x, y) = (α + β x·y) Π κ(x_j, y_j); None if that does not hold.

    Read off at single sites and then checked at random configurations, so that a kernel which only claims to be
    a product is not believed.
    """
    a, b = np.meshgrid(states, states, indexing="ij")
    nngp = np.asarray(kernel.values(d, a * a, b * b, a * b)[0])
    zero = [np.asarray(t) for t in kernel.values(d, 0.0, 0.0, np.zeros(1))]
    factor = nngp / zero[0]
    slot = _SLOT[which]
    scale = float(zero[slot][0])
    one = float(np.asarray(kernel.values(d, 1.0, 1.0, np.ones(1))[slot])[0])
    slope = one - scale
    if abs(slope) <= 4e-16 * abs(scale):
        slope = 0.0
    draws = np.random.default_rng(0).choice(len(states), size=(2, 16, d))
    x, y = states[draws[0]], states[draws[1]]
    inner = ((x * x).sum(-1), (y * y).sum(-1), (x * y).sum(-1))
    exact = np.asarray(kernel.values(d, *inner)[slot])
    product = factor[draws[0], draws[1]].prod(-1) * (scale + slope * inner[2])
    if not np.allclose(product, exact, rtol=1e-11, atol=0):
        return None
    return factor, scale, slope


def _encoded(kernel: DotProductKernel, x: Any, y: Any) -> tuple[Any, Any]:
    return np.asarray(kernel.encode(x)), None if y is None else np.asarray(kernel.encode(y))
