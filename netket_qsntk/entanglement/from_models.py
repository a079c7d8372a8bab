"""From a model to its ensemble at infinite width, in the cheapest exact form."""

from collections.abc import Callable
from typing import Any

import jax
import netket as nk
import numpy as np
from netket.hilbert import DiscreteHilbert

from netket_qsntk.entanglement.ensembles import (
    DenseEnsemble,
    GaussianEnsemble,
    HammingEnsemble,
    ProductEnsemble,
    ProductKernel,
)
from netket_qsntk.entanglement.log_normal import LogNormalEnsemble
from netket_qsntk.errors import SystemTooLargeError
from netket_qsntk.kernels import DotProductKernel, InfiniteWidthKernel
from netket_qsntk.process import GaussianProcess

# Beyond this many basis states a dense covariance is more than 2 GiB.
_MAX_DENSE = 2**14


def site_values(encode: Callable[[Any], Any] | None, hilbert: DiscreteHilbert) -> np.ndarray | None:
    """What an encoding makes of each local state, or None when it does not act on every site alike.

    Args:
        encode: Configurations (n, sites) to real vectors; None is the identity.
        hilbert: The space. Constrained spaces, fermions and mixed sites give None: they are no
            product of equal sites.

    Example:
        >>> site_values(None, nk.hilbert.Spin(0.5, 200))
        array([ 1., -1.])
    """
    local = getattr(hilbert, "local_states", None)
    if local is None or hilbert.constrained or isinstance(hilbert, nk.hilbert.SpinOrbitalFermions):
        return None
    values = np.asarray(local, dtype=float)
    if encode is None:
        return values
    # Each local state everywhere, and once beside another: that is where a site-wise map shows.
    uniform = np.repeat(values[:, None], hilbert.size, axis=1)
    mixed = np.resize(values, hilbert.size)[None, :]
    encoded = [np.asarray(encode(x), dtype=float) for x in (uniform, mixed)]
    if encoded[0].shape != uniform.shape:
        return None
    result = encoded[0][:, 0]
    if np.any(encoded[0] != result[:, None]) or np.any(
        encoded[1][0] != np.resize(result, hilbert.size)
    ):
        return None
    return result


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
        >>> import netket_qsntk as qs
        >>> ensemble(qs.models.WideMLP(widths=(10,)), nk.hilbert.Spin(0.5, 30)).n_sites
        30
        >>> ensemble(qs.models.CosNet(10, output="log_psi"), nk.hilbert.Spin(0.5, 200))
        LogNormalEnsemble(log ψ = ProductEnsemble(proper, ProductKernel(200 sites, 1 different, local dimension 2,
        scale=1)))
    """
    process = model if isinstance(model, GaussianProcess) else GaussianProcess.of(model, hilbert)
    readout = process.readout
    if readout.reference is None:
        fields = _structured(process.kernel, hilbert) or _dense(process.kernel, hilbert)
        return LogNormalEnsemble(fields) if readout.is_log else fields
    dense = _dense(process.kernel, hilbert)
    reference = np.asarray(readout.reference(np.asarray(hilbert.all_states())))
    if readout.is_log:
        return LogNormalEnsemble(dense, reference)
    factor = np.exp(reference)
    # A real ψ, or one without E ψψ = 0, keeps its relation: e^r C e^r.
    relation = None if dense.relation is None else factor[:, None] * dense.relation * factor
    return DenseEnsemble(factor[:, None] * dense.covariance * factor.conj(), hilbert, relation)


gaussian_ensemble = ensemble


def _structured(
    kernel: InfiniteWidthKernel, hilbert: DiscreteHilbert
) -> ProductEnsemble | HammingEnsemble | None:
    two_parts = kernel.n_parts == 2
    if isinstance(kernel, DotProductKernel):
        values = site_values(kernel.encode, hilbert)
        if values is not None and getattr(kernel.formula, "translation_invariant_nngp", False):
            product = _product(kernel, hilbert)
            return ProductEnsemble.from_parts(product, product if two_parts else None)
        if values is not None and len(values) == 2 and values[0] == -values[1] and hilbert.size > 1:
            k = _hamming(kernel, hilbert)
            return HammingEnsemble.from_parts(k, k if two_parts else None)
    return None


def _dense(kernel: InfiniteWidthKernel, hilbert: DiscreteHilbert) -> DenseEnsemble:
    if not hilbert.is_indexable or hilbert.n_states > _MAX_DENSE:
        raise SystemTooLargeError(
            f"{kernel!r} has no structure on {hilbert}, and a dense "
            f"covariance is held up to {_MAX_DENSE} basis states. On unconstrained spins "
            "annealed_renyi takes CosNet, GaussNet and WideMLP at any number of sites; otherwise use "
            "fewer sites and average entropies over members."
        )
    dense = np.asarray(kernel.nngp(np.asarray(hilbert.all_states())))
    return DenseEnsemble.from_parts(dense, dense if kernel.n_parts == 2 else None, hilbert)


def _product(kernel: DotProductKernel, hilbert: DiscreteHilbert) -> ProductKernel:
    """Configurations that differ on one site show that site's factor."""
    local = np.asarray(hilbert.local_states)  # type: ignore[attr-defined]
    x = np.full((len(local), hilbert.size), local[0])
    x[:, 0] = local
    table = _few_values(kernel, x, x)
    return ProductKernel(table / table[0, 0], n_sites=hilbert.size, scale=float(table[0, 0]))


def _hamming(kernel: DotProductKernel, hilbert: DiscreteHilbert) -> np.ndarray:
    """Kernel between one configuration and those with its first h spins flipped."""
    d = hilbert.size
    up, down = np.asarray(hilbert.local_states)  # type: ignore[attr-defined]
    flipped = np.where(np.arange(d) < np.arange(d + 1)[:, None], down, up)
    return _few_values(kernel, flipped[:1], flipped)[0]


def _few_values(kernel: DotProductKernel, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # A kernel is compiled anew for every σ; for a few hundred numbers that takes longer than they do.
    with jax.disable_jit():
        return np.asarray(kernel.nngp(x, y))
