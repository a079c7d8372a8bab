"""Levels of a kernel on all configurations, or on a sector: its eigenvalues with their multiplicities."""

import equinox as eqx
import jax.numpy as jnp
import netket as nk
import numpy as np
from jax import Array
from netket.utils import HashableArray
from netket.utils.group import PermutationGroup
from numpy.typing import ArrayLike

from netket_qsntk.errors import NoLevelsError
from netket_qsntk.kernels.base import InfiniteWidthKernel
from netket_qsntk.kernels.symmetrized import SymmetrizedKernel
from netket_qsntk.learning.product_levels import product_levels, site_functions
from netket_qsntk.learning.schemes import Scheme, hamming_scheme, johnson_scheme, spectrum
from netket_qsntk.learning.tables import DistanceTable, check_kernel, read_table
from netket_qsntk.symmetry import Projection, multiplicities, projection

__all__ = ["Levels", "check_levels", "levels"]

# Beyond, the number of configurations exceeds the largest float64.
_MOST_SITES = 1000


class Levels(eqx.Module):
    """Eigenvalues of a kernel's matrix between all configurations, and how many eigenvectors each has.

    A pytree whose leaves are the eigenvalues: derivatives pass through them.

    Attributes:
        eigenvalues: λ_w of the NTK, (levels,).
        nngp_eigenvalues: Those of the NNGP, (levels,).
        n_states: Number of configurations N.
        n_parts: 2 for complex ψ, 1 for real ψ.
        configurations: What the configurations are, in words.
        site_functions: For sites of more than two states the eigenvectors of one site, (q, q) as columns.
        sites: (d,) for all configurations of d spins, (d, up) for a sector, () for anything else.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(1,), sigma_b=0.1))
        >>> found = qs.learning.levels(kernel, nk.hilbert.Spin(0.5, 8))
        >>> found.multiplicities.tolist(), bool(found.eigenvalues[0] > found.eigenvalues[2])
        ([1.0, 8.0, 28.0, 56.0, 70.0, 56.0, 28.0, 8.0, 1.0], True)
    """

    eigenvalues: Array
    nngp_eigenvalues: Array
    site_functions: Array | None
    n_states: float = eqx.field(static=True)
    n_parts: int = eqx.field(static=True)
    configurations: str = eqx.field(static=True)
    sites: tuple[int, ...] = eqx.field(static=True)
    _counts: HashableArray = eqx.field(static=True)
    _signs: HashableArray = eqx.field(static=True)

    def __init__(
        self,
        eigenvalues: Array,
        nngp_eigenvalues: Array,
        multiplicities: ArrayLike,
        n_states: float,
        parities: ArrayLike,
        n_parts: int = 2,
        configurations: str = "configurations",
        site_functions: Array | None = None,
        sites: tuple[int, ...] = (),
    ) -> None:
        try:
            self.eigenvalues = jnp.asarray(eigenvalues)
            self.nngp_eigenvalues = jnp.asarray(nngp_eigenvalues)
        except (TypeError, ValueError) as error:
            raise NoLevelsError(
                f"Levels takes arrays of eigenvalues, got a {type(eigenvalues).__name__} and a "
                f"{type(nngp_eigenvalues).__name__}: qs.learning.levels(kernel, hilbert) makes levels of a kernel."
            ) from error
        shapes = [np.shape(t) for t in (eigenvalues, nngp_eigenvalues, multiplicities, parities)]
        if len(shapes[0]) != 1 or len(set(shapes)) > 1:
            raise NoLevelsError(
                f"eigenvalues, nngp_eigenvalues, multiplicities, parities have shapes {shapes}: expected (levels,)."
            )
        self.site_functions = site_functions
        self.n_states = float(n_states)
        self.n_parts = n_parts
        self.configurations = configurations
        self.sites = sites
        self._counts = HashableArray(np.asarray(multiplicities, dtype=float))
        self._signs = HashableArray(np.asarray(parities, dtype=int))

    @property
    def multiplicities(self) -> np.ndarray:
        """m_w, (levels,) float64, exact up to 2⁵³."""
        return np.asarray(self._counts)

    @property
    def parities(self) -> np.ndarray:
        """Behaviour of each level under the flip of all spins, (levels,): 1 even, -1 odd, 0 neither."""
        return np.asarray(self._signs)

    @property
    def scheme(self) -> Scheme | None:
        """The distances between the configurations, where all functions of these levels are learned."""
        if not self.sites:
            return None
        return hamming_scheme(*self.sites) if len(self.sites) == 1 else johnson_scheme(*self.sites)

    @property
    def n_functions(self) -> float:
        """Σ m_w: N, or the number of symmetric functions (orbits of the group)."""
        return float(self.multiplicities.sum())

    @property
    def spectrum(self) -> Array:
        """μ_w = λ_w/N, the levels as a function's mean squares see them."""
        return self.eigenvalues / self.n_states

    @property
    def nngp_spectrum(self) -> Array:
        """ν_w: those of the NNGP."""
        return self.nngp_eigenvalues / self.n_states

    def __len__(self) -> int:
        return self.eigenvalues.shape[0]

    def __repr__(self) -> str:
        return f"Levels({len(self)} levels of {self.configurations}, n_parts={self.n_parts})"


def levels(
    kernel: InfiniteWidthKernel,
    hilbert: nk.hilbert.DiscreteHilbert,
    *,
    group: PermutationGroup | Projection | None = None,
    character: Array | np.ndarray | None = None,
) -> Levels:
    r"""The levels of an infinite-width kernel on a Hilbert space: any number of sites.

    On all configurations of d spins a kernel of inner products is a function of the Hamming distance h, and level w
    holds the C(d, w) parities of w spins,

    .. math:: \lambda_w = \sum_h k(h)\, K_h(w)

    (Krawtchouk polynomials). At a fixed magnetisation level j holds the C(d,j) - C(d,j-1) functions of total spin
    d/2 - j (Johnson scheme, :func:`netket_qsntk.learning.schemes.johnson_scheme`). Sites of more states have levels
    where the kernel is a product over sites (CosNet and GaussNet with ``trainable="readout"``). A symmetry group
    leaves the eigenvalues and lowers the multiplicities (:func:`netket_qsntk.symmetry.multiplicities`).

    Args:
        kernel: From :func:`netket_qsntk.kernels.infinite_width`, or :func:`netket_qsntk.kernels.symmetrized`, whose
            group it then brings.
        hilbert: Spins or fermions with two states a site, all of them or at a fixed number; or any sites.
        group: A NetKet permutation group, or a :class:`netket_qsntk.symmetry.Projection` (with a spin flip), of the
            symmetrised kernel.
        character: Of one of its irreducible representations; None is the trivial one.

    Returns:
        The levels, by the size of the sets of spins (all configurations), by j (a sector).

    Raises:
        NoLevelsError: The kernel has no levels there, and why; or ``hilbert`` is no discrete Hilbert space.
        InvalidModelError: ``kernel`` is no kernel, but its model for example.
        SymmetryError: The group does not fit the sites.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> kernel = qs.kernels.infinite_width(qs.models.WideMLP(widths=(8,), sigma_b=0.1))
        >>> qs.learning.levels(kernel, nk.hilbert.Spin(0.5, 100))
        Levels(101 levels of all configurations of 100 spins, n_parts=2)
        >>> qs.learning.levels(kernel, nk.hilbert.Spin(0.5, 6, total_sz=0)).multiplicities.tolist()
        [1.0, 5.0, 9.0, 5.0]
    """
    check_kernel(kernel, "levels")
    if not isinstance(hilbert, nk.hilbert.DiscreteHilbert):
        raise NoLevelsError(
            f"levels takes a Hilbert space of configurations that can be counted, got a {type(hilbert).__name__}: "
            "nk.hilbert.Spin(0.5, 10) makes one."
        )
    if isinstance(kernel, SymmetrizedKernel):
        if group is not None or character is not None:
            raise NoLevelsError("The kernel is symmetrised already: leave group and character out.")
        group, kernel = kernel.symmetry, kernel.kernel
    if hilbert.size > _MOST_SITES:
        raise NoLevelsError(
            f"{hilbert.size} sites: the number of configurations is no float64. Expected at most {_MOST_SITES}."
        )
    table = read_table(kernel, hilbert)
    symmetry = None if group is None else projection(group, character, sites=hilbert.size)
    if isinstance(table, DistanceTable):
        return _of_distances(table, kernel.n_parts, symmetry)
    if symmetry is not None:
        raise NoLevelsError(
            f"Symmetric levels are known for sites of two states only, got {len(table.ntk)}: leave group out."
        )
    return Levels(
        *product_levels(table),
        n_parts=kernel.n_parts,
        configurations=f"all configurations of {table.d} sites of {len(table.ntk)} states",
        site_functions=jnp.asarray(site_functions(table)[1]),
    )


def check_levels(given: object, function: str) -> None:
    """Raise NoLevelsError where a function of levels was given something else, such as a kernel or a model."""
    if not isinstance(given, Levels):
        raise NoLevelsError(
            f"{function} takes levels, got a {type(given).__name__}: qs.learning.levels(kernel, hilbert) makes them, "
            "with kernel = qs.kernels.infinite_width(model)."
        )


def _of_distances(table: DistanceTable, n_parts: int, symmetry: Projection | None) -> Levels:
    scheme = table.scheme
    n_states = float(scheme.n_states)
    counts, words, scale = np.array(scheme.multiplicities, dtype=float), scheme.name, 1.0
    sites = table.sites
    if symmetry is not None:
        counts = _symmetric(scheme, symmetry)
        words += f" with {symmetry.order} symmetries"
        scale, sites = 1.0 / symmetry.dimension, ()
    return Levels(
        eigenvalues=scale * n_states * spectrum(table.ntk, scheme),
        nngp_eigenvalues=scale * n_states * spectrum(table.nngp, scheme),
        multiplicities=counts,
        n_states=n_states,
        parities=np.array(scheme.parities),
        n_parts=n_parts,
        configurations=words,
        sites=sites,
    )


def _symmetric(scheme: Scheme, symmetry: Projection) -> np.ndarray:
    d = symmetry.sites
    whole = scheme is hamming_scheme(d)
    return multiplicities(symmetry, d, n_up=None if whole else len(scheme.distances) - 1)
