"""From a model to its ensemble at infinite width, in the cheapest exact form."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from netket.hilbert import DiscreteHilbert, HomogeneousHilbert, SpinOrbitalFermions

from netket_qsntk.entanglement.ensembles import (
    DenseEnsemble,
    GaussianEnsemble,
    HammingEnsemble,
    ProductEnsemble,
    ProductKernel,
)
from netket_qsntk.entanglement.log_normal import LogNormalEnsemble
from netket_qsntk.errors import SystemTooLargeError
from netket_qsntk.kernels import InfiniteWidthKernel
from netket_qsntk.operators import HammingTable, Unstructured
from netket_qsntk.process import GaussianProcess

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
        >>> site_values(None, nk.hilbert.Spin(0.5, 200)).tolist()
        [1.0, -1.0]
    """
    if hilbert.constrained or not isinstance(hilbert, HomogeneousHilbert) or _is_fermionic(hilbert):
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


def ensemble(model: Any, hilbert: DiscreteHilbert) -> GaussianEnsemble | LogNormalEnsemble:
    """The ensemble of wave functions that a model is at infinite width, with its kernel's structure.

    Gaussian for networks of ψ, log-normal for networks of log ψ, by the model's readout.

    CosNet and GaussNet on unconstrained spaces are products over sites, and every WideMLP on
    unconstrained spins 1/2 is a function of the Hamming distance: both work at hundreds of sites.
    Everything else (fixed particle number, fermions, Fourier features) becomes a dense covariance
    over the basis.

    Args:
        model: A model, or a kernel (of ψ), that :func:`netket_qsntk.kernels.infinite_width` knows; or a
            :class:`~netket_qsntk.process.GaussianProcess`.
        hilbert: NetKet's space of the configurations.

    Raises:
        UnknownKernelError: The model has no known infinite-width kernel.
        SystemTooLargeError: The kernel has no structure on this space and the basis is too large
            to hold it.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> ensemble(qs.models.WideMLP(widths=(10,)), nk.hilbert.Spin(0.5, 30)).n_sites
        30
        >>> ensemble(qs.models.CosNet(10, output="log_psi"), nk.hilbert.Spin(0.5, 200))
        LogNormalEnsemble(log ψ = HammingEnsemble(proper, 200 sites, function of the Hamming distance))
    """
    process = model if isinstance(model, GaussianProcess) else GaussianProcess.of(model, hilbert)
    readout = process.readout
    if readout.reference is None:
        fields = _structured(process) or _dense(process.kernel, hilbert)
        return LogNormalEnsemble(fields) if readout.is_log else fields
    dense = _dense(process.kernel, hilbert)
    reference = np.asarray(readout.reference(jnp.asarray(hilbert.all_states())))
    if readout.is_log:
        return LogNormalEnsemble(dense, reference)
    factor = np.exp(reference)
    # A real ψ, or one without E ψψ = 0, keeps its relation: e^r C e^r.
    relation = None if dense.relation is None else factor[:, None] * dense.relation * factor
    return DenseEnsemble(factor[:, None] * dense.covariance * factor.conj(), hilbert, relation)


gaussian_ensemble = ensemble


def _structured(process: GaussianProcess) -> ProductEnsemble | HammingEnsemble | None:
    """The ensemble of f by the kernel's structure in terms of single sites, None without one."""
    kernel, hilbert = process.kernel, process.hilbert
    structure = process.structure
    if isinstance(structure, Unstructured) or not structure.sitewise or hilbert.size < 2:
        return None
    two_parts = kernel.n_parts == 2
    if isinstance(structure, HammingTable):
        # Gaussian moments of products are the cheaper ones; the overlaps of log-normal replicas are distances.
        product = None if process.readout.is_log else structure.as_product()
        if product is None:
            k = np.asarray(structure.values)
            return HammingEnsemble.from_parts(k, k if two_parts else None)
        structure = product
    if not structure.is_pure:
        return None
    # Rows in the order of the space's local states, whatever the encoding makes of them.
    local = np.asarray(hilbert.local_states)
    uniform = np.repeat(local[:, None], hilbert.size, axis=1)
    coordinates = np.asarray(kernel.coordinates(uniform))[:, 0]
    order = [structure.states.index(float(value)) for value in coordinates]
    factor = np.asarray(structure.factor)[np.ix_(order, order)]
    kappa = ProductKernel(factor, n_sites=hilbert.size, scale=float(structure.scale))
    return ProductEnsemble.from_parts(kappa, kappa if two_parts else None)


def _dense(kernel: InfiniteWidthKernel, hilbert: DiscreteHilbert) -> DenseEnsemble:
    if not hilbert.is_indexable or hilbert.n_states > _MAX_DENSE:
        raise SystemTooLargeError(
            f"{kernel!r} has no structure on {hilbert}, and a dense "
            f"covariance is held up to {_MAX_DENSE} basis states. On unconstrained spins "
            "annealed_renyi takes CosNet, GaussNet and WideMLP at any number of sites; otherwise use "
            "fewer sites and average entropies over members."
        )
    dense = np.asarray(kernel.nngp(np.asarray(hilbert.all_states())))
    if not kernel.is_real:
        # A complex character meets no function twice: E ψψ = 0, even for one real network.
        return DenseEnsemble(kernel.n_parts * dense, hilbert)
    return DenseEnsemble.from_parts(dense, dense if kernel.n_parts == 2 else None, hilbert)


def _is_fermionic(hilbert: DiscreteHilbert) -> bool:
    """Whether sites are modes of fermions, which an encoding may put together."""
    return isinstance(hilbert, SpinOrbitalFermions)
