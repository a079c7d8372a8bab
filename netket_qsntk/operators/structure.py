"""What a kernel can be known by on lattice configurations: a Hamming table, a product over sites, or entries alone.

These are answers, not detectors: plain numbers that operators, ensembles, samplers, spectra and learning curves are
made from. :mod:`netket_qsntk.kernels.structure_search` finds them.

A structure is one of *coordinates*: the real numbers that a kernel's encoding makes of a configuration. They are
``sitewise`` where every coordinate is one function of the site of the same number: then coordinates are relabelled
local states, and statements about sites (partitions, correlations of w spins) follow.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk.tracing import on_host

# Relative deviation within which numbers of a table count as equal.
TOLERANCE = 1e-11


class HammingTable(eqx.Module):
    """k(x, y) = values[number of coordinates in which x and y differ], coordinates taking two values.

    Attributes:
        values: k(0), …, k(d): (d + 1,).
        states: The two values of a coordinate, larger first.
        sitewise: See the module's text.
        reason: How it is known.

    Example:
        >>> import jax.numpy as jnp
        >>> table = HammingTable(jnp.array([4.0, 2.0, 1.0]), (1.0, -1.0), True, "of an example")
        >>> table.d, table.as_product().factor.tolist()
        (2, [[1.0, 0.5], [0.5, 1.0]])
    """

    values: Array
    states: tuple[float, float] = eqx.field(static=True)
    sitewise: bool = eqx.field(static=True)
    reason: str = eqx.field(static=True)

    @property
    def d(self) -> int:
        """Number of coordinates."""
        return self.values.shape[0] - 1

    def __repr__(self) -> str:
        return f"HammingTable(d={self.d}, states={self.states}, sitewise={self.sitewise}, because {self.reason})"

    def entries(self, u: ArrayLike, v: ArrayLike) -> Array:
        """The kernel between known coordinates u (n, d) and v (m, d): (n, m)."""
        first, second = (np.asarray(t) == self.states[0] for t in (u, v))
        equal = first.astype(np.float32) @ second.T.astype(np.float32)
        up = first.sum(-1)[:, None] + second.sum(-1)[None, :]
        return _at(self.values, np.rint(up - 2 * equal).astype(np.int32))

    def as_product(self) -> "SiteProduct | None":
        """The same kernel as a product over sites, where k(h) = k(0) rʰ; else None, also for traced values."""
        if isinstance(self.values, jax.core.Tracer):
            return None
        k = np.asarray(self.values)
        if k[0] == 0 or not np.allclose(k[1:] * k[0], k[:-1] * k[1], rtol=TOLERANCE, atol=0):
            return None
        r = self.values[1] / self.values[0]
        one = jnp.ones_like(r)
        return SiteProduct(
            factor=jnp.stack([jnp.stack([one, r]), jnp.stack([r, one])]),
            scale=self.values[0],
            slope=jnp.zeros_like(r),
            states=self.states,
            d=self.d,
            is_pure=True,
            sitewise=self.sitewise,
            reason=f"{self.reason}, which falls geometrically",
        )


class SiteProduct(eqx.Module):
    r"""A product over coordinates of one factor, alone or times a function linear in their inner product.

    .. math:: k(u, v) = (\alpha + \beta\, u\cdot v) \prod_j \kappa(u_j, v_j)

    Attributes:
        factor: κ between the values a coordinate takes, in the order of ``states``: (q, q).
        scale: α.
        slope: β; 0 for a product alone.
        states: The values a coordinate takes, largest first: (q,).
        d: Number of coordinates.
        is_pure: Whether β = 0, for kernels of this kind.
        sitewise: See the module's text.
        reason: How it is known.
    """

    factor: Array
    scale: Array
    slope: Array
    states: tuple[float, ...] = eqx.field(static=True)
    d: int = eqx.field(static=True)
    is_pure: bool = eqx.field(static=True)
    sitewise: bool = eqx.field(static=True)
    reason: str = eqx.field(static=True)

    def __repr__(self) -> str:
        return (
            f"SiteProduct(d={self.d}, states={self.states}, is_pure={self.is_pure}, sitewise={self.sitewise}, "
            f"because {self.reason})"
        )

    def entries(self, u: ArrayLike, v: ArrayLike) -> Array:
        """The kernel between known coordinates u (n, d) and v (m, d): (n, m)."""
        one, two = np.asarray(u, float), np.asarray(v, float)
        order = np.argsort(self.states)
        increasing = np.asarray(self.states)[order]
        i, j = (order[np.searchsorted(increasing, t)] for t in (one, two))
        product = self.scale + self.slope * (one @ two.T)
        for site in range(self.d):
            product = product * _at(self.factor, (i[:, site][:, None], j[:, site][None, :]))
        return product


def _at(table: Array, index: np.ndarray | tuple[np.ndarray, ...]) -> Array:
    """Entries of a table: on the host where they are known, where nothing has to be compiled."""
    return on_host(table)[index]


class Unstructured(eqx.Module):
    """Nothing is known but single entries.

    Attributes:
        reason: Why neither a table nor a product holds.
    """

    reason: str = eqx.field(static=True)

    def __repr__(self) -> str:
        return f"Unstructured(because {self.reason})"


Structure = HammingTable | SiteProduct | Unstructured
