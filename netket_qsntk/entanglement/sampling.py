"""Exact draws of whole wave functions from Gaussian ensembles."""

import numpy as np

from netket_qsntk.entanglement.dense import real_spectrum
from netket_qsntk.entanglement.ensembles import (
    DenseEnsemble,
    GaussianEnsemble,
    HammingEnsemble,
    ProductEnsemble,
    ProductKernel,
    check_positive,
)
from netket_qsntk.entanglement.hypercube import apply_site_matrices
from netket_qsntk.errors import EnsembleError, SystemTooLargeError
from netket_qsntk.hamming import hamming_spectrum

_MAX_STATES = 2**30
_HADAMARD = np.array([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2)


def sample_wavefunctions(
    ensemble: GaussianEnsemble, n_members: int, seed: int | np.random.Generator
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
        are in).

    Raises:
        SystemTooLargeError: More than 2**30 amplitudes.

    Example:
        >>> ensemble = HammingEnsemble.from_parts(0.5 ** np.arange(11.0))
        >>> psi = sample_wavefunctions(ensemble, 3, seed=0)
        >>> psi.shape
        (3, 1024)
    """
    rng = np.random.default_rng(seed)
    if isinstance(ensemble, HammingEnsemble):
        n_states = 2**ensemble.n_sites
    elif isinstance(ensemble, ProductEnsemble):
        # Python integers: 200 sites must not overflow before they are refused.
        n_states = 1
        for kappa in ensemble.kernels[0].sites:
            n_states *= len(kappa)
    elif isinstance(ensemble, DenseEnsemble):
        return _dense(ensemble, n_members, rng)
    else:
        raise EnsembleError(
            "Expected a ProductEnsemble, HammingEnsemble or DenseEnsemble, got "
            f"{type(ensemble).__name__}."
        )
    if n_states * n_members > _MAX_STATES:
        raise SystemTooLargeError(
            f"{n_members} wave functions on {ensemble.n_sites} sites are {n_members} × "
            f"{float(n_states):.3g} amplitudes. Averages need none of them: annealed_renyi and "
            "normalized_purity take the ensemble itself at any number of sites."
        )
    draws = [
        _coloured(ensemble, i, (n_members, n_states), rng) for i in range(len(ensemble.kernels))
    ]
    if ensemble.is_proper:
        # Re and Im each have half of Γ.
        return draws[0] * np.sqrt(0.5)
    return draws[0].real + (1j * draws[1].real if len(draws) > 1 else 0j)


def _coloured(
    ensemble: ProductEnsemble | HammingEnsemble,
    part: int,
    shape: tuple[int, int],
    rng: np.random.Generator,
) -> np.ndarray:
    """White noise, circular with E|ξ|² = 2 if the ensemble is proper, times a root of a kernel."""
    if isinstance(ensemble, ProductEnsemble):
        kernel = ensemble.kernels[part]
        noise = _noise(shape, rng, ensemble.is_proper) * np.sqrt(kernel.scale)
        return apply_site_matrices(_square_roots(kernel), noise)
    values = ensemble.kernels[part]
    d = ensemble.n_sites
    spectrum = hamming_spectrum(values)
    # Per eigenvalue, before multiplicities: rounding here is relative to the largest.
    spectrum = (
        check_positive(spectrum, "the covariance") * 2.0**d if np.any(values) else spectrum * 0
    )
    weight = np.bitwise_count(np.arange(2**d))
    noise = _noise(shape, rng, ensemble.is_proper) * np.sqrt(spectrum)[weight]
    return apply_site_matrices([_HADAMARD] * d, noise)


def _noise(shape: tuple[int, int], rng: np.random.Generator, circular: bool) -> np.ndarray:
    real = rng.standard_normal(shape)
    return real + 1j * rng.standard_normal(shape) if circular else real


def _square_roots(kernel: ProductKernel) -> list[np.ndarray]:
    roots: dict[int, np.ndarray] = {}
    for kappa in kernel.sites:
        if id(kappa) not in roots:
            values, vectors = np.linalg.eigh(kappa)
            roots[id(kappa)] = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.conj().T
    return [roots[id(kappa)] for kappa in kernel.sites]


def _dense(ensemble: DenseEnsemble, n_members: int, rng: np.random.Generator) -> np.ndarray:
    values, vectors = real_spectrum(ensemble)
    scales = np.sqrt(check_positive(values, "the covariance"))
    noise = _noise((n_members, len(values)), rng, ensemble.is_proper)
    draw = (noise * scales) @ vectors.T
    if ensemble.is_proper:
        return draw * np.sqrt(0.5) + 0j
    real, imag = np.split(draw, 2, axis=1)
    return real + 1j * imag
