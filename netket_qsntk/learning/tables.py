"""What a kernel is on the configurations of a Hilbert space: a function of distances, or a product over sites."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from jax import Array
from netket.hilbert import DiscreteHilbert

from netket_qsntk.errors import InvalidModelError, NoLevelsError
from netket_qsntk.kernels.base import InfiniteWidthKernel
from netket_qsntk.learning.schemes import Scheme, hamming_scheme, johnson_scheme
from netket_qsntk.operators import HammingTable

__all__ = ["DistanceTable", "SiteTable", "check_kernel", "read_table"]

_DRAWS = 12
_AGREE = 1e-9


class DistanceTable(NamedTuple):
    """A kernel that depends on the distance alone."""

    scheme: Scheme
    nngp: Array
    """(relations,) K at each distance."""
    ntk: Array
    """(relations,) Θ at each distance."""

    @property
    def sites(self) -> tuple[int, ...]:
        """(d,) for all configurations of d sites, (d, up) for a sector."""
        last = self.scheme.distances[-1]
        if len(self.scheme.distances) == last + 1:
            return (last,)
        # m_1 = d - 1 for a sector of more than one configuration.
        up = last // 2
        return (self.scheme.multiplicities[1] + 1, up) if up else ()


class SiteTable(NamedTuple):
    """A kernel that is a product over sites of q > 2 states, all combinations of which occur."""

    d: int
    nngp: Array
    """(q, q) one factor of K, scaled to K = Π."""
    ntk: Array
    """(q, q) one factor of Θ."""


def check_kernel(given: object, function: str) -> None:
    """Raise InvalidModelError where a function of a kernel was given something else, such as its model."""
    if not isinstance(given, InfiniteWidthKernel):
        raise InvalidModelError(
            f"{function} takes a kernel, got a {type(given).__name__}: qs.kernels.infinite_width(model) makes one."
        )


def read_table(
    kernel: InfiniteWidthKernel, hilbert: nk.hilbert.DiscreteHilbert
) -> DistanceTable | SiteTable:
    """The kernel's values, read off at a few configurations and verified at random ones.

    Raises:
        NoLevelsError: The kernel is neither a function of the distance nor a product over sites there.
    """
    draws = _random(hilbert, _DRAWS)
    states = np.unique(draws)
    if len(states) > 2 or _local_size(hilbert) > 2:
        return _sites(kernel, hilbert)
    low, high = states[0], states[-1]
    up = draws == high
    scheme = _scheme(hilbert, up)
    known = [kernel.structure(hilbert, which=which) for which in ("nngp", "ntk")]
    tables = [t.values for t in known if isinstance(t, HammingTable) and t.sitewise]
    if len(tables) == 2:
        nngp, ntk = (t[np.array(scheme.distances)] for t in tables)
        return DistanceTable(scheme, nngp, ntk)
    # A kernel of occupations 0 and 1 depends on more than the distance, but not at a fixed number.
    base = up[0]
    rows = np.stack([_at_distance(base, h) for h in scheme.distances])
    nngp, ntk = (
        jnp.asarray(t)[0]
        for t in kernel.both(np.where(base, high, low)[None], _as(rows, high, low))
    )
    _verify(kernel, up, high, low, scheme, (nngp, ntk))
    return DistanceTable(scheme, nngp, ntk)


def _random(hilbert: DiscreteHilbert, n: int) -> np.ndarray:
    return np.asarray(hilbert.random_state(jax.random.key(0), n))


def _local_size(hilbert: DiscreteHilbert) -> int:
    sizes = np.unique(np.asarray(hilbert.shape))
    return int(sizes[-1])


def _as(up: np.ndarray, high: Any, low: Any) -> np.ndarray:
    return np.where(up, high, low)


def _scheme(hilbert: DiscreteHilbert, up: np.ndarray) -> Scheme:
    d, counts = up.shape[1], np.unique(up.sum(1))
    if not hilbert.constrained:
        return hamming_scheme(d)
    scheme = johnson_scheme(d, int(counts[0]))
    same_size = not hilbert.is_indexable or hilbert.n_states == scheme.n_states
    if len(counts) > 1 or not same_size:
        raise NoLevelsError(
            f"{hilbert} is neither the whole basis of its sites nor a sector with a fixed number of them up: kernels "
            "have no levels there. Draw training sets instead: qs.dynamics.LinearDynamics."
        )
    return scheme


def _at_distance(base: np.ndarray, h: int) -> np.ndarray:
    """A configuration at Hamming distance h with, for even h, as many sites up where that can be."""
    ups, downs = np.flatnonzero(base), np.flatnonzero(~base)
    half = h // 2
    flipped = base.copy()
    if h % 2 == 0 and half <= min(len(ups), len(downs)):
        flipped[np.concatenate([ups[:half], downs[:half]])] ^= True
    else:
        flipped[:h] ^= True
    return flipped


def _verify(
    kernel: InfiniteWidthKernel,
    up: np.ndarray,
    high: Any,
    low: Any,
    scheme: Scheme,
    tables: tuple[Array, Array],
) -> None:
    distance = (up[:, None] != up[None]).sum(-1)
    place = np.searchsorted(np.array(scheme.distances), distance)
    x = _as(up, high, low)
    for name, table, found in zip(("NNGP", "NTK"), tables, kernel.both(x), strict=True):
        table, found = jax.lax.stop_gradient((table, found))
        if isinstance(table, jax.core.Tracer):
            continue
        if not np.allclose(
            np.asarray(table)[place], found, rtol=_AGREE, atol=_AGREE * abs(table[0])
        ):
            raise NoLevelsError(
                f"The {name} of {kernel!r} is no function of the distance on {scheme.name}: it has no levels there. "
                "Draw training sets instead: qs.dynamics.LinearDynamics."
            )


def _sites(kernel: InfiniteWidthKernel, hilbert: DiscreteHilbert) -> SiteTable:
    if hilbert.constrained:
        raise NoLevelsError(
            f"{hilbert} has more than two states a site and a constraint: kernels have no levels on it. Use the "
            "whole basis, or draw training sets: qs.dynamics.LinearDynamics."
        )
    shape = np.asarray(hilbert.shape)
    if len(set(shape)) > 1:
        raise NoLevelsError(
            f"{hilbert} has sites of different sizes: expected the same number of states on each."
        )
    values = np.asarray([hilbert.states_at_index(i) for i in range(hilbert.size)], dtype=float)
    d, q = values.shape
    first = np.broadcast_to(values[:, 0], (q, d)).copy()
    first[:, 0] = values[0]
    rows, factors = first, []
    draws = np.random.default_rng(0).integers(q, size=(2, _DRAWS, d))
    x, y = (np.take_along_axis(values.T, t, axis=0) for t in draws)
    for name, at_sites, exact in zip(
        ("NNGP", "NTK"), kernel.both(rows), kernel.both(x, y), strict=True
    ):
        scale = at_sites[0, 0]
        factor = at_sites / scale
        found = scale * factor[draws[0][:, None], draws[1][None]].prod(-1)
        pair = jax.lax.stop_gradient((found, exact))
        if not isinstance(pair[0], jax.core.Tracer) and not np.allclose(*pair, rtol=_AGREE, atol=0):
            hint = (
                " With trainable='readout' the NTK is one where the NNGP is."
                if name == "NTK"
                else ""
            )
            raise NoLevelsError(
                f"The {name} of {kernel!r} is no product over the {d} sites of {q} states: it has no levels on "
                f"{hilbert}.{hint} Or draw training sets: qs.dynamics.LinearDynamics."
            )
        factors.append(factor * scale ** (1 / d))
    return SiteTable(d, *factors)
