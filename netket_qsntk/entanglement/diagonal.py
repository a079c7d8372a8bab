"""Local spectra of structured ensembles: Walsh basis for Hamming functions, site by site else."""

import math
from functools import singledispatch

import numpy as np
from scipy.special import gammaln

from netket_qsntk.entanglement.covariances import check_positive
from netket_qsntk.entanglement.ensembles import (
    HammingEnsemble,
    ProductEnsemble,
)
from netket_qsntk.entanglement.local_spectrum import LocalSpectrum, weighted
from netket_qsntk.entanglement.occupations import log_binomials, occupations
from netket_qsntk.errors import EnsembleError, SystemTooLargeError
from netket_qsntk.hamming import hamming_spectrum

_MAX_ENTRIES = 2**24
_UNIT = "normalization='ratio'"

# Of one site: for each kernel its eigenvalues over its trace, in a basis common to the kernels.
SiteSpectra = tuple[tuple[float, ...], ...]


@singledispatch
def local_spectrum(ensemble: object, sites: tuple[int, ...]) -> LocalSpectrum:
    """The spectrum of an ensemble that is diagonal in a product basis, between ``sites`` and rest.

    Raises:
        EnsembleError: The ensemble is not known to be diagonal in one.
        SystemTooLargeError: Too many classes, multiplicities beyond float64, or a spectrum below
            rounding.
    """
    raise EnsembleError(
        f"A {type(ensemble).__name__} is not known to be diagonal in a basis of products over sites. Expected a "
        "ProductEnsemble or a HammingEnsemble, as qs.entanglement.ensemble(model, hilbert) makes of CosNet, GaussNet "
        "and WideMLP."
    )


@local_spectrum.register
def _(ensemble: HammingEnsemble, sites: tuple[int, ...]) -> LocalSpectrum:
    d, d_a = ensemble.n_sites, len(sites)
    d_b = d - d_a
    a, b = (_multiplicity(log_binomials(m)) for m in (d_a, d_b))
    trace = ensemble.covariance[0]
    classes = np.add.outer(np.arange(d_a + 1), np.arange(d_b + 1))
    tables, missing_a, missing_b = [], [], []
    for kernel in ensemble.kernels:
        k = kernel / trace
        x = _resolved(k, "the covariance on all sites")[classes]
        tables.append(x)
        # The partial trace over B is the same function of the distance on A: it needs no sum.
        missing_a.append(_resolved(k[: d_a + 1], "the covariance on A") - x @ b)
        missing_b.append(_resolved(k[: d_b + 1], "the covariance on B") - a @ x)
    return LocalSpectrum(
        a,
        b,
        tuple(tables),
        ensemble.is_proper,
        tuple(missing_a),
        tuple(missing_b),
        1.0 - sum(float(np.sum(weighted(x, a, b))) for x in tables),
        math.log(trace) + d * math.log(2),
    )


def _resolved(k: np.ndarray, what: str) -> np.ndarray:
    """Spectrum of a Hamming function, unless most of it is below the rounding of its largest."""
    d = len(k) - 1
    spectrum = hamming_spectrum(k)
    weights = np.exp(log_binomials(d) - d * np.log(2))
    rounding = 16 * np.finfo(float).eps * (weights @ np.abs(k))
    if np.min(spectrum) < -rounding:
        check_positive(spectrum, what)
    spectrum = np.where(spectrum > rounding, spectrum, 0.0)
    found, exact = np.exp(log_binomials(d)) @ spectrum**2, weights @ k**2
    if exact > 0 and abs(found - exact) > 1e-10 * exact:
        raise SystemTooLargeError(
            f"Float64 does not resolve the spectrum of {what} at {d} spins: many eigenvalues "
            f"below the rounding of the largest matter together. annealed_renyi with n=2 and {_UNIT} needs no "
            "spectrum and works at any size; a kernel that is a product over sites works at any "
            "n as a ProductEnsemble."
        )
    return spectrum


@local_spectrum.register
def _(ensemble: ProductEnsemble, sites: tuple[int, ...]) -> LocalSpectrum:
    inside = set(sites)
    spectra = _site_spectra(ensemble)
    log_a, values_a = _classes([spectra[i] for i in sites])
    log_b, values_b = _classes([s for i, s in enumerate(spectra) if i not in inside])
    _check_classes(log_a.size * log_b.size)
    traces = np.array([kernel.log_trace for kernel in ensemble.kernels])
    log_trace = float(np.logaddexp.reduce(traces))
    tables = tuple(
        np.exp(u[:, None] + v + share)
        for u, v, share in zip(values_a, values_b, traces - log_trace, strict=True)
    )
    none = (0.0,) * len(tables)
    a, b = _multiplicity(log_a), _multiplicity(log_b)
    return LocalSpectrum(a, b, tables, ensemble.is_proper, none, none, 0.0, log_trace)


def _site_spectra(ensemble: ProductEnsemble) -> list[SiteSpectra]:
    found: dict[tuple[int, ...], SiteSpectra] = {}
    result = []
    for matrices in zip(*(kernel.sites for kernel in ensemble.kernels), strict=True):
        key = tuple(id(m) for m in matrices)
        if key not in found:
            found[key] = _common_spectra([m / np.trace(m).real for m in matrices])
        result.append(found[key])
    return result


def _common_spectra(matrices: list[np.ndarray]) -> SiteSpectra:
    # A generic combination of commuting matrices has their common eigenbasis.
    _, basis = np.linalg.eigh(sum(math.sqrt(i + 2) * m for i, m in enumerate(matrices)))
    rotated = [basis.conj().T @ m @ basis for m in matrices]
    if any(np.max(np.abs(m - np.diag(np.diag(m)))) > 1e-10 for m in rotated):
        raise EnsembleError(
            "The covariances of the two parts do not commute on a site, so no product basis "
            f"diagonalises both. annealed_renyi with {_UNIT} needs none; on small systems a "
            "DenseEnsemble does the rest."
        )
    diagonals = (check_positive(np.diag(m).real, "a one-site matrix") for m in rotated)
    return tuple(tuple(float(x) for x in values) for values in diagonals)


def _classes(sites: list[SiteSpectra]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Log multiplicities and, for each kernel, log eigenvalues of the product over sites."""
    log_multiplicity = np.zeros(1)
    values = [np.zeros(1)] * len(sites[0])
    for spectra in dict.fromkeys(sites):
        count, levels = sites.count(spectra), len(spectra[0])
        _check_classes(log_multiplicity.size * math.comb(count + levels - 1, levels - 1))
        filled = occupations(count, levels)
        multinomials = gammaln(count + 1) - gammaln(filled + 1).sum(axis=1)
        log_multiplicity = np.add.outer(log_multiplicity, multinomials).ravel()
        for k, eigenvalues in enumerate(spectra):
            with np.errstate(divide="ignore"):
                logs = np.where(filled > 0, np.log(eigenvalues), 0.0)
            # Zero times the logarithm of a zero eigenvalue is zero here.
            values[k] = np.add.outer(values[k], (filled * logs).sum(axis=1)).ravel()
    return log_multiplicity, values


def _check_classes(number: int) -> None:
    if number > _MAX_ENTRIES:
        raise SystemTooLargeError(
            f"The sites differ so much that the spectrum has {number:.3g} classes of equal "
            f"eigenvalues. annealed_renyi with {_UNIT} needs none; a ProductKernel of equal sites "
            "has few."
        )


def _multiplicity(logs: np.ndarray) -> np.ndarray:
    if np.max(logs) > 700:
        raise SystemTooLargeError(
            "A multiplicity of the spectrum is beyond float64 (about a thousand spins on one "
            f"side). annealed_renyi with {_UNIT} works there for a ProductEnsemble, and at n=2 "
            "for a HammingEnsemble."
        )
    return np.exp(logs)
