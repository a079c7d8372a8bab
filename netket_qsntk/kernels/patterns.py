r"""Symmetrised kernels of patches by counts of patterns, without a sum over the group.

Where patches are images of one another, :math:`|G|^{-2}P^{-1}\sum_{gg'}\sum_p k((gx)_p, (g'y)_p)` depends on x and y
by how often each pattern of a patch occurs alone: it is :math:`\sum_{uv} n_u(x)\,k(u, v)\,n_v(y)` over the
:math:`2^s` patterns of s sites, n counted over the images of a patch under the whole group.
"""

from typing import NamedTuple

import jax.numpy as jnp
import netket as nk
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from netket_qsntk.errors import SymmetryError
from netket_qsntk.kernels.arguments import Which
from netket_qsntk.kernels.base import InfiniteWidthKernel, Scaled, Sum
from netket_qsntk.kernels.patches import PatchKernel
from netket_qsntk.operators import HammingTable
from netket_qsntk.symmetry.orbits import look_up
from netket_qsntk.symmetry.projection import Projection
from netket_qsntk.tracing import is_traced

# Sites of a patch whose patterns are counted.
_LARGEST = 12
Part = tuple[float, PatchKernel]


class Patterns(NamedTuple):
    """Where to look for patterns, a pytree: configuration x has at place r number ``up @ powers[:, r] + first[r]``.

    Attributes:
        powers: (sites, R) float.
        first: Number at which the patterns of its shape begin, (R,).
        shares: What one occurrence counts, (R,).
    """

    powers: Array | np.ndarray
    first: Array | np.ndarray
    shares: Array | np.ndarray

    def numbers(self, up: Array) -> Array:
        """The numbers of the patterns of configurations (n, sites) of booleans: (n, R) int32."""
        return (up.astype(self.shares.dtype) @ self.powers).astype(jnp.int32) + self.first

    def sums(self, up: Array, values: Array) -> Array:
        """Sums of values (n_patterns, k) over the patterns of configurations (n, sites): (n, k)."""
        shares, numbers = jnp.asarray(self.shares), self.numbers(up)
        return jnp.stack([look_up(v, numbers) @ shares for v in values.T], axis=-1)

    def counts(self, up: Array, n_patterns: int) -> Array:
        """How often each pattern occurs in configurations (n, sites) of booleans: (n, n_patterns)."""
        kind, codes = self.shares.dtype, self.numbers(up)
        rows = jnp.arange(len(up))[:, None]
        zero = jnp.zeros((len(up), n_patterns), kind) + (up[:, :1] & False).astype(kind)
        return zero.at[rows, codes].add(jnp.broadcast_to(self.shares, codes.shape))


def parted(kernel: InfiniteWidthKernel) -> tuple[list[Part], InfiniteWidthKernel | None]:
    """A kernel as a sum of kernels of patches, with factors, and of one without (None if that is empty)."""
    if isinstance(kernel, PatchKernel):
        return [(1.0, kernel)], None
    if isinstance(kernel, Scaled) and not is_traced(kernel.factor):
        local, rest = parted(kernel.kernel)
        factor = float(kernel.factor)
        return [(factor * f, k) for f, k in local], None if rest is None else factor * rest
    if isinstance(kernel, Sum):
        pairs = [parted(term) for term in kernel.terms]
        others = [rest for _, rest in pairs if rest is not None]
        local = [part for parts, _ in pairs for part in parts]
        return local, sum(others[1:], others[0]) if others else None
    return [], kernel


def counted(
    parts: list[Part], symmetry: Projection | None, dtype: DTypeLike = float
) -> Patterns | None:
    """What is counted in x, or None where the sum over the group does not come to counts."""
    if symmetry is None or not np.all(np.asarray(symmetry.characters) == 1) or not parts:
        return None
    orbits = [_orbit(kernel, symmetry) for _, kernel in parts]
    known = [orbit for orbit in orbits if orbit is not None]
    if len(known) < len(orbits):
        return None
    shapes = [_once(kernel, orbit) for (_, kernel), orbit in zip(parts, known, strict=True)]
    return _patterns(shapes, symmetry.sites, dtype)


def columns(
    parts: list[Part],
    symmetry: Projection,
    up: np.ndarray,
    states: tuple[float, float],
    which: Which,
) -> np.ndarray:
    """Σ_v k(u, v) n_v(y) for configurations y (m, sites) of booleans: (patterns, m)."""
    made = []
    for factor, kernel in parts:
        orbit = _orbit(kernel, symmetry)
        if orbit is None:
            raise SymmetryError(
                "The patches are no images of one another under the symmetry group. Take a group that holds the "
                "translations of the lattice, or qs.kernels.patches(…, sites=…) of one orbit."
            )
        size = kernel.sites.shape[1]
        count = _counts(orbit, up)
        if symmetry.spin_flip is not None:
            # The pattern with all spins turned has the complementary number.
            count = (count + symmetry.spin_flip * count[:, ::-1]) / 2
        bits = np.arange(2**size)[:, None] >> np.arange(size)[::-1] & 1
        patterns = np.where(bits, *states)
        product = kernel.kernel.operator(patterns, which=which).matvec(count.T)
        made.append(factor * np.asarray(product))
    return np.concatenate(made)


def _orbit(kernel: PatchKernel, symmetry: Projection) -> np.ndarray | None:
    """The images of a patch under the group, (L, s), or None where the patches are not all among them."""
    if kernel.sites.shape[1] > _LARGEST or kernel.n_sites != symmetry.sites:
        return None
    sites = np.asarray(kernel.sites)
    orbit = np.unique(np.asarray(symmetry.permutations)[:, sites[0]], axis=0)
    known = {row.tobytes() for row in orbit.astype(np.int32)}
    return orbit if all(row.tobytes() in known for row in sites.astype(np.int32)) else None


def _once(kernel: PatchKernel, orbit: np.ndarray) -> np.ndarray:
    """Each patch of an orbit once, where the order of its sites makes no difference to the sum over the others."""
    size = orbit.shape[1]
    structure = kernel.kernel.structure(nk.hilbert.Spin(0.5, size)) if size > 1 else None
    if not isinstance(structure, HammingTable):
        return orbit
    return orbit[np.unique(np.sort(orbit, axis=1), axis=0, return_index=True)[1]]


def _patterns(shapes: list[np.ndarray], n_sites: int, dtype: DTypeLike) -> Patterns:
    powers = np.zeros((n_sites, sum(map(len, shapes))), dtype)
    first, shares, at, start = [], [], 0, 0
    for sites in shapes:
        number, size = sites.shape
        for column, row in enumerate(sites, at):
            powers[row, column] = 2.0 ** np.arange(size)[::-1]
        first.append(np.full(number, start, np.int32))
        shares.append(np.full(number, 1 / number, dtype))
        at, start = at + number, start + 2**size
    return Patterns(powers, np.concatenate(first), np.concatenate(shares))


def _counts(sites: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Relative numbers of the patterns at ``sites`` (L, s) in configurations (m, sites): (m, 2^s)."""
    size = sites.shape[1]
    codes = up[:, sites] @ (1 << np.arange(size)[::-1])
    flat = codes + 2**size * np.arange(len(up))[:, None]
    counts = np.bincount(flat.ravel(), minlength=len(up) * 2**size)
    return counts.reshape(len(up), -1) / len(sites)
