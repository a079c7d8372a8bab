"""Averages of Tr ρ_Aⁿ over Gaussian ensembles, and the entropies made of them."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from netket_qsntk.entanglement.dense_moments import dense_moment, real_spectrum
from netket_qsntk.entanglement.diagonal import local_spectrum
from netket_qsntk.entanglement.ensembles import (
    DenseEnsemble,
    GaussianEnsemble,
    HammingEnsemble,
    ProductEnsemble,
)
from netket_qsntk.entanglement.log_normal import LogNormalEnsemble
from netket_qsntk.entanglement.normalized import normalized_moment
from netket_qsntk.entanglement.occupations import log_binomials
from netket_qsntk.entanglement.orders import check_log_base, check_replicas, check_whole
from netket_qsntk.entanglement.partition import check_partition
from netket_qsntk.entanglement.products import product_log_moment, product_power_ratios
from netket_qsntk.entanglement.replica_sums import log_normal_moment, log_normal_norm
from netket_qsntk.errors import EnsembleError, EntropyOrderError

Normalization = Literal["ratio", "exact", "none"]
Ensemble = GaussianEnsemble | LogNormalEnsemble


def log_average_moment(
    ensemble: Ensemble,
    partition: Sequence[int],
    n: int = 2,
    *,
    normalization: Normalization = "ratio",
) -> float:
    r"""log of the ensemble average of Tr ρ_Aⁿ, by Wick's theorem.

    :math:`E\,\mathrm{Tr}\,\tilde\rho_A^n` is a sum over pairings of the 2n fields (n! for a
    proper ensemble, (2n-1)!! for another), each a product of index loops; no sum over
    configurations of several replicas is taken. With n = 2 and a proper ensemble it is Tr (Tr_B
    Γ)² + Tr (Tr_A Γ)². Costs: a :class:`ProductEnsemble` takes small matrices at any number of
    sites, a :class:`HammingEnsemble` sums over (d_A + 1)(d_B + 1) numbers, a
    :class:`DenseEnsemble` contracts matrices. A :class:`LogNormalEnsemble` sums over the overlaps of n
    replicas: hundreds of spins at n = 2,
    and at n = 3 with equal parts.

    Args:
        ensemble: The ensemble; its wave functions have random norms.
        partition: Sites of A.
        n: 2, 3, 4, 5 or 6.
        normalization: ``"ratio"``: E Tr ρ̃ⁿ / E (Tr ρ̃)ⁿ, ``"exact"``: E [Tr ρ̃ⁿ/(Tr ρ̃)ⁿ], the
            average over normalised states (:func:`normalized_purity`), ``"none"``: E Tr ρ̃ⁿ.

    Raises:
        EntropyOrderError: n is not one of these, or an unknown normalisation.
        PartitionError: See :func:`check_partition`.
        SystemTooLargeError: A dense contraction that does not fit in memory.

    Example:
        >>> from netket_qsntk.entanglement import ProductEnsemble, ProductKernel
        >>> white = ProductEnsemble(ProductKernel(np.eye(2), n_sites=5))
        >>> round(math.exp(log_average_moment(white, [0, 1])), 12) == round((4 + 8) / (32 + 1), 12)
        True
    """
    sites = check_partition(partition, ensemble.n_sites)
    n = check_replicas(n)
    if normalization == "exact":
        return math.log(normalized_moment(ensemble, sites, n))
    if normalization not in ("ratio", "none"):
        raise EntropyOrderError(
            f"normalization={normalization!r}: expected 'ratio', 'exact' or 'none'."
        )
    if isinstance(ensemble, LogNormalEnsemble):
        # The norm first: where it has too many overlaps, it says so before the longer sum begins.
        log_norm = 0.0 if normalization == "none" else log_normal_norm(ensemble, n)
        return log_normal_moment(ensemble, sites, n) - log_norm
    if isinstance(ensemble, ProductEnsemble):
        log_moment = product_log_moment(ensemble, sites, n)
    elif isinstance(ensemble, HammingEnsemble):
        log_moment = _hamming_log_moment(ensemble, sites, n)
    elif isinstance(ensemble, DenseEnsemble):
        log_moment = math.log(dense_moment(ensemble, sites, n))
    else:
        raise EnsembleError(
            "Expected a ProductEnsemble, HammingEnsemble, DenseEnsemble or LogNormalEnsemble, got "
            f"{type(ensemble).__name__}."
        )
    return log_moment if normalization == "none" else log_moment - log_norm_moment(ensemble, n)


def log_norm_moment(ensemble: Ensemble, n: int) -> float:
    """log E ⟨ψ|ψ⟩ⁿ, from the cumulants (m-1)! Tr Γᵐ of the norm.

    Args:
        ensemble: As in :func:`log_average_moment`.
        n: 1, 2, 3, …

    Raises:
        EntropyOrderError: n is no whole number >= 1.

    Example:
        >>> from netket_qsntk.entanglement import ProductEnsemble, ProductKernel
        >>> white = ProductEnsemble(ProductKernel(np.eye(2), n_sites=3))
        >>> round(math.exp(log_norm_moment(white, 2)))  # 8 · 9
        72
    """
    n = check_whole(n, "moment of the norm")
    if isinstance(ensemble, LogNormalEnsemble):
        return log_normal_norm(ensemble, n)
    if isinstance(ensemble, ProductEnsemble):
        log_trace = float(np.logaddexp.reduce([k.log_trace for k in ensemble.kernels]))
        powers = product_power_ratios(ensemble, n)
    elif isinstance(ensemble, HammingEnsemble):
        d = ensemble.n_sites
        log_trace = math.log(ensemble.covariance[0]) + d * math.log(2)
        powers = [1.0, _hamming_second_power(ensemble)]
        if n > 2:
            powers = local_spectrum(ensemble, tuple(range(d // 2))).power_sums(n)
    else:
        values = real_spectrum(ensemble)[0]
        rate = 1.0 if ensemble.is_proper else 2.0
        log_trace = math.log(np.sum(values))
        values = values / np.sum(values)
        powers = [float(np.sum(values * (rate * values) ** (m - 1))) for m in range(1, n + 1)]
    cumulants = [math.factorial(m) * p for m, p in enumerate(powers)]
    moments = [1.0]
    for j in range(1, n + 1):
        moments.append(
            sum(
                math.comb(j - 1, m - 1) * cumulants[m - 1] * moments[j - m] for m in range(1, j + 1)
            )
        )
    return n * log_trace + math.log(moments[n])


def _hamming_log_moment(ensemble: HammingEnsemble, sites: tuple[int, ...], n: int) -> float:
    if n > 2:
        spectrum = local_spectrum(ensemble, sites)
        return math.log(spectrum.moment(n)) + n * spectrum.log_trace
    # Sums over distances instead of eigenvalues: every term is positive, at any number of spins.
    d, d_a = ensemble.n_sites, len(sites)
    gamma = ensemble.covariance / ensemble.covariance[0]
    total = sum(_mean_square(gamma[: m + 1]) for m in (d_a, d - d_a))
    if ensemble.relation is not None:
        total += _mean_square(ensemble.relation / ensemble.covariance[0])
    return math.log(total) + 2 * (math.log(ensemble.covariance[0]) + d * math.log(2))


def _hamming_second_power(ensemble: HammingEnsemble) -> float:
    """(Tr Γ² + Tr C²)/(Tr Γ)²."""
    squares = (k for k in (ensemble.covariance, ensemble.relation) if k is not None)
    return sum(_mean_square(k / ensemble.covariance[0]) for k in squares)


def _mean_square(k: np.ndarray) -> float:
    """Mean of k(x, y)² over all pairs of configurations."""
    d = len(k) - 1
    return float(np.exp(log_binomials(d) - d * math.log(2)) @ k**2)


def annealed_renyi(
    ensemble: Ensemble,
    partition: Sequence[int],
    n: int = 2,
    *,
    normalization: Normalization | None = None,
    log_base: float = math.e,
) -> float:
    r"""Annealed Rényi entropy :math:`\log E[\mathrm{Tr}\rho_A^n]/(1-n)` of an ensemble.

    With ``normalization="exact"``, the average over normalised wave functions, it is a lower bound of the
    average entropy (the *quenched* one), by Jensen's inequality. ``"ratio"``, E Tr ρ̃ⁿ / E (Tr ρ̃)ⁿ, weights
    wave functions by their norm: the two agree where norms fluctuate little, and only the first is a bound.
    Eqs. 1-2 and S39 of arXiv:2112.00723 (the first term of S39 is zero when the ensemble is proper).

    Args:
        ensemble: Product kernels (CosNet, GaussNet) at any number of sites, Hamming kernels
            (WideMLP on spins) at tens to hundreds of spins, dense ones as memory allows; or a log-normal ensemble.
        partition: Sites of A.
        n: 2, 3, 4, 5 or 6.
        normalization: ``"exact"`` or ``"ratio"``; see :func:`log_average_moment`. None is the exact one for Hamming
            and product ensembles, as in :class:`~netket_qsntk.observable.EnsembleEntropy`, and the ratio for dense
            covariances, where the exact one is a quadrature over contractions, and for log-normal ensembles, where
            it has no closed form. Say which one you compare.
        log_base: Base of the logarithm; e gives nats.

    Raises:
        EntropyOrderError: n is not an integer from 2 to 6; n = 1 is a pole.
        PartitionError: See :func:`check_partition`.
        SystemTooLargeError: A dense contraction that does not fit in memory.

    Example:
        >>> from netket_qsntk.entanglement import ProductEnsemble, ProductKernel
        >>> kappa = ProductKernel(np.array([[1.0, 0.3], [0.3, 1.0]]), n_sites=200)
        >>> ensemble = ProductEnsemble.from_parts(kappa, kappa)
        >>> round(annealed_renyi(ensemble, range(100), 2, normalization="ratio"), 6)
        60.003801
    """
    if normalization == "none":
        raise EntropyOrderError(
            "An entropy needs normalised moments: normalization='ratio' or 'exact'; for E Tr ρ̃ⁿ "
            "itself call log_average_moment(…, normalization='none')."
        )
    check_log_base(log_base)
    chosen = _chosen(ensemble, normalization)
    log_moment = log_average_moment(ensemble, partition, n, normalization=chosen)
    return log_moment / (1 - int(n)) / math.log(log_base)


def average_tsallis(
    ensemble: Ensemble,
    partition: Sequence[int],
    q: int = 2,
    *,
    normalization: Normalization | None = None,
) -> float:
    r"""Ensemble average of the Tsallis entropy :math:`(E\,\mathrm{Tr}\rho_A^q - 1)/(1-q)`.

    It is linear in Tr ρ^q, so with ``normalization="exact"`` (the default of Gaussian ensembles) this *is* the
    average over normalised states, with no bound involved.

    Args:
        ensemble: As in :func:`annealed_renyi`.
        partition: Sites of A.
        q: 2, 3, 4, 5 or 6.
        normalization: ``"exact"`` or ``"ratio"``; None is the exact one where there is a closed form for it.

    Example:
        >>> from netket_qsntk.entanglement import ProductEnsemble, ProductKernel
        >>> white = ProductEnsemble(ProductKernel(np.eye(2), n_sites=2))
        >>> round(average_tsallis(white, [0]), 12)
        0.2
    """
    if normalization == "none":
        raise EntropyOrderError("An entropy needs normalised moments: 'ratio' or 'exact'.")
    if normalization is None:
        normalization = "ratio" if isinstance(ensemble, LogNormalEnsemble) else "exact"
    log_moment = log_average_moment(ensemble, partition, q, normalization=normalization)
    return -math.expm1(log_moment) / (int(q) - 1)


def _chosen(ensemble: Ensemble, normalization: Normalization | None) -> Normalization:
    if normalization is not None:
        return normalization
    return "exact" if isinstance(ensemble, HammingEnsemble | ProductEnsemble) else "ratio"
