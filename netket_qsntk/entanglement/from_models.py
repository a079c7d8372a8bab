"""From a model to its Gaussian ensemble at infinite width, in the cheapest exact form."""

from collections.abc import Callable
from typing import Any

import numpy as np
from netket.hilbert import DiscreteHilbert, HomogeneousHilbert

from netket_qsntk.entanglement.ensembles import (
    DenseEnsemble,
    GaussianEnsemble,
    HammingEnsemble,
    ProductEnsemble,
    ProductKernel,
)
from netket_qsntk.errors import SystemTooLargeError
from netket_qsntk.kernels import InfiniteWidthKernel, infinite_width
from netket_qsntk.operators import HammingTable, SiteProduct, Structure, Unstructured

# Beyond this many basis states a dense covariance is more than 2 GiB.
_MAX_DENSE = 2**14


def site_values(encode: Callable[[Any], Any] | None, hilbert: DiscreteHilbert) -> np.ndarray | None:
    """What an encoding makes of each local state, or None when it does not act on every site alike.

    Looked at on random configurations, where an encoding that mixes sites shows.

    Args:
        encode: Configurations (n, sites) to real vectors; None is the identity.
        hilbert: The space. Constrained spaces and fermions give None: they are no product of equal sites.

    Example:
        >>> import netket as nk
        >>> site_values(None, nk.hilbert.Spin(0.5, 200))
        array([ 1., -1.])
    """
    if hilbert.constrained or not isinstance(hilbert, HomogeneousHilbert):
        return None
    local = np.asarray(hilbert.local_states, dtype=float)
    if encode is None:
        return local
    drawn = np.random.default_rng(0).integers(len(local), size=(8 * len(local), hilbert.size))
    encoded = np.asarray(encode(local[drawn]), dtype=float)
    if encoded.shape != drawn.shape:
        return None
    found = [np.unique(encoded[drawn == i]) for i in range(len(local))]
    return np.concatenate(found) if all(len(values) == 1 for values in found) else None


def gaussian_ensemble(model: Any, hilbert: DiscreteHilbert) -> GaussianEnsemble:
    """The Gaussian process that a model's ψ is at infinite width, with its kernel's structure.

    CosNet and GaussNet on unconstrained spaces are products over sites, and every WideMLP on
    unconstrained spins 1/2 is a function of the Hamming distance: both work at hundreds of sites.
    Everything else (fixed particle number, fermions, Fourier features) becomes a dense covariance
    over the basis.

    Args:
        model: A model, or a kernel, that :func:`netket_qsntk.kernels.infinite_width` knows.
        hilbert: NetKet's space of the configurations.

    Raises:
        UnknownKernelError: The model has no known infinite-width kernel.
        SystemTooLargeError: The kernel has no structure on this space and the basis is too large
            to hold it.

    Example:
        >>> import netket_qsntk as qs
        >>> gaussian_ensemble(qs.models.WideMLP(widths=(10,)), nk.hilbert.Spin(0.5, 30)).n_sites
        30
    """
    kernel = infinite_width(model)
    two_parts = kernel.n_parts == 2
    structure = _sitewise(kernel, hilbert)
    if isinstance(structure, SiteProduct):
        product = ProductKernel(
            np.asarray(structure.factor), n_sites=hilbert.size, scale=float(structure.scale)
        )
        return ProductEnsemble.from_parts(product, product if two_parts else None)
    if isinstance(structure, HammingTable) and hilbert.size > 1:
        k = np.asarray(structure.values)
        return HammingEnsemble.from_parts(k, k if two_parts else None)
    if not hilbert.is_indexable or hilbert.n_states > _MAX_DENSE:
        raise SystemTooLargeError(
            f"The kernel of {type(model).__name__} has no structure on {hilbert}, and a dense "
            f"covariance is held up to {_MAX_DENSE} basis states. On unconstrained spins "
            "annealed_renyi takes CosNet, GaussNet and WideMLP at any number of sites; otherwise use "
            "fewer sites and average entropies over members."
        )
    dense = np.asarray(kernel.nngp(np.asarray(hilbert.all_states())))
    return DenseEnsemble.from_parts(dense, dense if two_parts else None, hilbert)


def _sitewise(kernel: InfiniteWidthKernel, hilbert: DiscreteHilbert) -> Structure:
    """The covariance's structure in terms of single sites of an unconstrained space."""
    if hilbert.constrained or not isinstance(hilbert, HomogeneousHilbert):
        return Unstructured(f"{hilbert} is no product of equal sites")
    structure = kernel.structure(hilbert, which="nngp")
    if isinstance(structure, Unstructured) or not structure.sitewise:
        return Unstructured("the encoding mixes sites")
    if isinstance(structure, HammingTable):
        return structure.as_product() or structure
    return structure
