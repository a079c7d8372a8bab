"""Kernels of networks that look at patches of a lattice: sums of local kernels."""

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from netket.graph import Lattice
from netket.utils import HashableArray

from netket_qsntk.errors import InvalidConfigurationsError, InvalidModelError
from netket_qsntk.kernels.arguments import Which, check_configurations
from netket_qsntk.kernels.base import InfiniteWidthKernel, KernelModule
from netket_qsntk.tracing import is_traced


class PatchKernel(KernelModule):
    r"""Mean of a kernel over the patches of a lattice, :math:`P^{-1}\sum_p k(x_p, y_p)`; made by :func:`patches`.

    Attributes:
        kernel: k, on configurations of one patch.
        sites: Sites of each patch, (P, sites of a patch), in corresponding order.
        n_sites: Sites of the lattice.
    """

    kernel: InfiniteWidthKernel
    sites: HashableArray = eqx.field(static=True)
    n_sites: int = eqx.field(static=True)

    def __init__(self, kernel: InfiniteWidthKernel, sites: HashableArray, n_sites: int) -> None:
        self.kernel, self.sites, self.n_sites = kernel, sites, n_sites
        self.n_parts, self.trainable = kernel.n_parts, kernel.trainable

    @property
    def is_real(self) -> bool:
        """Whether the kernel is."""
        return self.kernel.is_real

    @property
    def mean_follows_norm(self) -> bool:
        """Whether that of the kernel does."""
        return self.kernel.mean_follows_norm

    def both(self, x: ArrayLike, y: ArrayLike | None = None) -> tuple[Array, Array]:
        """(NNGP, NTK) between configurations x (n, sites) and y (m, sites): two arrays (n, m)."""
        one = self._taken(x, "x")
        two = one if y is None else self._taken(y, "y")
        total = self._mean(lambda u, v: jnp.stack(self.kernel.both(u, v)), one, two)
        return total[0], total[1]

    def matrix(self, x: ArrayLike, y: ArrayLike | None = None, which: Which = "ntk") -> Array:
        """One of the two kernels: (n, m)."""
        one = self._taken(x, "x")
        two = one if y is None else self._taken(y, "y")
        return self._mean(lambda u, v: self.kernel.matrix(u, v, which), one, two)

    def diagonals(self, x: ArrayLike) -> tuple[Array, Array]:
        """(K(x, x), Θ(x, x)) for each configuration: two arrays (n,)."""
        one = self._taken(x, "x")
        total = self._mean(lambda u, _: jnp.stack(self.kernel.diagonals(u)), one, one)
        return total[0], total[1]

    def _taken(self, x: ArrayLike, name: str) -> Array:
        found = check_configurations(x, name)
        if found.shape[1] != self.n_sites:
            raise InvalidConfigurationsError(
                f"{name} has shape {found.shape}: expected (n, {self.n_sites}), configurations of the lattice whose "
                "patches were given."
            )
        # (patches, n, sites of a patch); NumPy's stays NumPy's, of which values are known.
        return found[:, np.asarray(self.sites)].swapaxes(0, 1)

    def _mean(self, values: Any, x: Array, y: Array) -> Array:
        if not is_traced((x, y)):
            total = jnp.asarray(values(x[0], y[0]))
            for u, v in zip(x[1:], y[1:], strict=True):
                total = total + values(u, v)
            return total / len(x)

        def add(total: Array, pair: tuple[Array, Array]) -> tuple[Array, None]:
            return total + values(*pair), None

        shape = jax.eval_shape(values, x[0], y[0])
        start = jnp.zeros(shape.shape, shape.dtype)
        return jax.lax.scan(add, start, (x, y))[0] / len(x)

    @property
    def description(self) -> str:
        """The local architecture and its patches."""
        number, size = self.sites.shape
        return f"{self.kernel.description} on {number} patches of {size} of {self.n_sites} sites"

    def __repr__(self) -> str:
        number, size = self.sites.shape
        return f"PatchKernel({self.kernel!r}, {number} patches of {size} sites)"


def patches(
    kernel: InfiniteWidthKernel,
    lattice: Lattice,
    shape: tuple[int, ...] | None = None,
    *,
    sites: ArrayLike | None = None,
) -> PatchKernel:
    r"""The kernel of networks that see patches of a lattice, :math:`P^{-1}\sum_p k(x_p, y_p)`.

    With k the kernel of a perceptron it is that of a convolutional layer (then dense ones over the channels), read
    out by a dense layer. Averaged over translations (:func:`~netket_qsntk.kernels.symmetrized`) it becomes that of a
    convolutional network with mean pooling, :math:`P^{-2}\sum_{pp'} k(x_p, y_{p'})` (R. Novak et al.,
    arXiv:1810.05148), times the number of translations over P. On two local states that average is a product of
    counts of patterns: no sum over the group remains (:mod:`netket_qsntk.kernels.patterns`).

    Sums of such kernels, ``patches(k, lattice, (3, 3)) + patches(k, lattice, sites=[0, 5])``, look at several shapes.

    Args:
        kernel: k, a kernel of configurations of one patch.
        lattice: A NetKet lattice, such as ``nk.graph.Square(6)``. Patches wrap around periodic axes and stay within
            open ones.
        shape: Unit cells of a patch along each axis.
        sites: Instead, the sites of one patch: all its images under the lattice's translations.

    Raises:
        InvalidModelError: A patch that does not fit, a graph that is no lattice, or no kernel.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> k = qs.kernels.infinite_width(qs.models.WideMLP(widths=(1,), activation="erf"))
        >>> local = qs.kernels.patches(k, nk.graph.Chain(6), (3,))
        >>> local.ntk(nk.hilbert.Spin(0.5, 6).all_states()).shape
        (64, 64)
    """
    if not isinstance(kernel, InfiniteWidthKernel):
        raise InvalidModelError(
            f"patches takes a kernel, got a {type(kernel).__name__}: qs.kernels.infinite_width(model) makes one."
        )
    if not isinstance(lattice, Lattice):
        raise InvalidModelError(
            f"patches takes a NetKet lattice (nk.graph.Square(6), nk.graph.Grid([3, 4]), …), got a "
            f"{type(lattice).__name__}."
        )
    if (shape is None) == (sites is None):
        raise InvalidModelError(
            "patches takes either a shape, such as (3, 3), or the sites of one patch."
        )
    found = _of_shape(lattice, shape) if shape is not None else _of_sites(lattice, sites)
    return PatchKernel(kernel, HashableArray(found), lattice.n_nodes)


def _of_shape(lattice: Lattice, shape: Any) -> np.ndarray:
    extent = np.asarray(lattice.extent)
    lengths = np.atleast_1d(np.asarray(shape))
    whole = np.issubdtype(lengths.dtype, np.integer)
    if (
        lengths.shape != extent.shape
        or not whole
        or np.any(lengths < 1)
        or np.any(lengths > extent)
    ):
        raise InvalidModelError(
            f"patches(shape={shape!r}): expected {len(extent)} numbers of unit cells, from 1 to {extent.tolist()}."
        )
    # Cells of the lattice in the order of its sites, those of one cell beside one another.
    coordinates = np.asarray(lattice.basis_coords)
    inside = len(lattice.site_offsets)
    place = {tuple(row): i for i, row in enumerate(coordinates.tolist())}
    found = []
    for corner in itertools.product(*(range(n) for n in extent)):
        cells = [np.add(corner, step) for step in itertools.product(*(range(n) for n in lengths))]
        if all(np.all((cell < extent) | lattice.pbc) for cell in cells):
            wrapped = [(cell % extent).tolist() for cell in cells]
            found.append([place[(*cell, k)] for cell in wrapped for k in range(inside)])
    return np.array(found, np.int32)


def _of_sites(lattice: Lattice, sites: Any) -> np.ndarray:
    one = np.atleast_1d(np.asarray(sites))
    whole = one.ndim == 1 and one.size > 0 and np.issubdtype(one.dtype, np.integer)
    if not whole or one.min() < 0 or one.max() >= lattice.n_nodes or len(np.unique(one)) < len(one):
        raise InvalidModelError(
            f"patches(sites={sites!r}): expected different sites of the lattice, from 0 to {lattice.n_nodes - 1}."
        )
    moves = np.asarray(lattice.translation_group().to_array())
    return np.unique(moves[:, one], axis=0).astype(np.int32)
