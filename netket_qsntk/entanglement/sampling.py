"""Exact draws of whole wave functions from ensembles."""

from collections.abc import Iterable
from functools import reduce

import jax.numpy as jnp
import numpy as np

from netket_qsntk.entanglement.covariances import check_positive
from netket_qsntk.entanglement.dense_moments import real_spectrum
from netket_qsntk.entanglement.ensembles import (
    DenseEnsemble,
    GaussianEnsemble,
    HammingEnsemble,
    ProductEnsemble,
    ProductKernel,
)
from netket_qsntk.entanglement.log_normal import LogNormalEnsemble
from netket_qsntk.errors import EnsembleError, SystemTooLargeError
from netket_qsntk.hamming import hamming_levels
from netket_qsntk.operators.basis_index import BasisIndex
from netket_qsntk.operators.decomposition import (
    Eigendecomposition,
    ParityModes,
    ProductModes,
    StoredModes,
)
from netket_qsntk.operators.transforms import grouped
from netket_qsntk.process.draws import draw

_MAX_STATES = 2**30


def sample_wavefunctions(
    ensemble: GaussianEnsemble | LogNormalEnsemble,
    n_members: int,
    seed: int | np.random.Generator,
) -> np.ndarray:
    r"""Draw ψ on the whole basis, exactly from the ensemble.

    White noise times a square root of the covariance: one small matrix a site for a product kernel,
    Walsh-Hadamard · √λ for a function of the Hamming distance, both O(d 2^d) a member; an
    eigendecomposition for a dense covariance.

    Args:
        ensemble: The ensemble.
        n_members: Number of independent wave functions.
        seed: Seed of NumPy's generator, or a generator.

    Returns:
        (n_members, n_states) complex128, unnormalised, in the lexicographic order of a hilbert
        space's ``all_states()`` (for a product, of the local states that the one-site matrices
        are in). Members of a :class:`LogNormalEnsemble` are divided each by its largest modulus: e^f need not be a
        float.

    Raises:
        SystemTooLargeError: More than 2**30 amplitudes.

    Example:
        >>> ensemble = HammingEnsemble.from_parts(0.5 ** np.arange(11.0))
        >>> psi = sample_wavefunctions(ensemble, 3, seed=0)
        >>> psi.shape
        (3, 1024)
    """
    if isinstance(ensemble, LogNormalEnsemble):
        return sample_scaled(ensemble, n_members, seed)[0]
    rng = np.random.default_rng(seed)
    n_states = _number_of_states(ensemble)
    if n_states * n_members > _MAX_STATES:
        raise SystemTooLargeError(
            f"{n_members} wave functions on {ensemble.n_sites} sites are {n_members} × "
            f"{float(n_states):.3g} amplitudes. Averages need none of them: annealed_renyi and "
            "normalized_purity take the ensemble itself at any number of sites."
        )
    if isinstance(ensemble, DenseEnsemble):
        return _dense(ensemble, n_members, rng)
    draws = []
    for modes in _modes(ensemble):
        noise = _noise((n_members, n_states), rng, ensemble.is_proper)
        draws.append(np.asarray(draw(modes, noise)))
    if ensemble.is_proper:
        # Re and Im each have half of Γ.
        return draws[0] * np.sqrt(0.5)
    return draws[0].real + (1j * draws[1].real if len(draws) > 1 else 0j)


def sample_scaled(
    ensemble: GaussianEnsemble | LogNormalEnsemble,
    n_members: int,
    seed: int | np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """What :func:`sample_wavefunctions` draws, and the logarithm of what each member was divided by, (n_members,).

    Example:
        >>> ensemble = LogNormalEnsemble.hamming([2000.0, 1000.0, 500.0])
        >>> psi, shift = sample_scaled(ensemble, 3, seed=0)
        >>> np.max(np.abs(psi), axis=1).tolist(), bool(np.all(np.abs(shift) > 1))
        ([1.0, 1.0, 1.0], True)
    """
    if not isinstance(ensemble, LogNormalEnsemble):
        return sample_wavefunctions(ensemble, n_members, seed), np.zeros(n_members)
    log_psi = sample_wavefunctions(ensemble.fields, n_members, seed)
    if ensemble.reference is not None:
        log_psi = log_psi + ensemble.reference
    shift = np.max(log_psi.real, axis=1)
    return np.exp(log_psi - shift[:, None]), shift


def _number_of_states(ensemble: GaussianEnsemble) -> int:
    if isinstance(ensemble, HammingEnsemble):
        return 2**ensemble.n_sites
    if isinstance(ensemble, DenseEnsemble):
        return len(ensemble.covariance)
    if not isinstance(ensemble, ProductEnsemble):
        raise EnsembleError(
            "Expected a ProductEnsemble, HammingEnsemble, DenseEnsemble or LogNormalEnsemble, got "
            f"{type(ensemble).__name__}."
        )
    # Python integers: 200 sites must not overflow before they are refused.
    return reduce(lambda n, kappa: n * len(kappa), ensemble.kernels[0].sites, 1)


def _modes(ensemble: HammingEnsemble | ProductEnsemble) -> Iterable[Eigendecomposition]:
    """Eigendecompositions of the covariances, one for each kernel."""
    if isinstance(ensemble, ProductEnsemble):
        return [_product_modes(kernel) for kernel in ensemble.kernels]
    whole = BasisIndex(None, 2**ensemble.n_sites)
    return [ParityModes(level_values=jnp.asarray(_levels(k)), rows=whole) for k in ensemble.kernels]


def _levels(values: np.ndarray) -> np.ndarray:
    if not np.any(values):
        return np.zeros_like(values)
    # Per eigenvalue, before multiplicities: rounding here is relative to the largest.
    return check_positive(hamming_levels(values), "the covariance")


def _product_modes(kernel: ProductKernel) -> ProductModes:
    groups = grouped([len(kappa) for kappa in kernel.sites])
    spectra = [np.linalg.eigh(reduce(np.kron, kernel.sites[group])) for group in groups]
    values = [np.maximum(value, 0.0) for value, _ in spectra]
    values[0] = kernel.scale * values[0]
    n_states = reduce(lambda n, value: n * len(value), values, 1)
    return ProductModes(
        factor_values=tuple(map(jnp.asarray, values)),
        factor_vectors=tuple(jnp.asarray(vectors) for _, vectors in spectra),
        rows=BasisIndex(None, n_states),
    )


def _noise(shape: tuple[int, int], rng: np.random.Generator, circular: bool) -> np.ndarray:
    real = rng.standard_normal(shape)
    return real + 1j * rng.standard_normal(shape) if circular else real


def _dense(ensemble: DenseEnsemble, n_members: int, rng: np.random.Generator) -> np.ndarray:
    values, vectors = real_spectrum(ensemble)
    modes = StoredModes(jnp.asarray(check_positive(values, "the covariance")), jnp.asarray(vectors))
    noise = _noise((n_members, len(values)), rng, ensemble.is_proper)
    drawn = np.asarray(draw(modes, noise))
    if ensemble.is_proper:
        return drawn * np.sqrt(0.5) + 0j
    real, imag = np.split(drawn, 2, axis=1)
    return real + 1j * imag
