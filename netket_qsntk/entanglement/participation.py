r"""Participation: over how many configurations the weight |ψ|² of a random network is spread.

.. math:: S_n = \frac{1}{1-n} \log \sum_x p(x)^n, \qquad p = |\psi|^2/\langle\psi|\psi\rangle .

|ψ|² = e^{2f₁} is a Gibbs measure with Gaussian energies. While Σ_x |ψ|^{2n} fluctuates little from one network to
the next, annealed averages describe every network; beyond, a few networks dominate them and the typical network
freezes on few configurations (:func:`~netket_qsntk.entanglement.parting`).
"""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Literal

import numpy as np
from scipy.special import gammaln, logsumexp, xlogy

from netket_qsntk.alert import alert
from netket_qsntk.entanglement.annealed import log_norm_moment
from netket_qsntk.entanglement.ensembles import DenseEnsemble, GaussianEnsemble, HammingEnsemble
from netket_qsntk.entanglement.estimate import Estimate
from netket_qsntk.entanglement.log_normal import LogNormalEnsemble
from netket_qsntk.entanglement.occupations import occupations
from netket_qsntk.entanglement.orders import check_log_base, check_order, check_whole
from netket_qsntk.entanglement.parting import log_states, parting
from netket_qsntk.entanglement.probabilities import renyi_entropy
from netket_qsntk.entanglement.replica_sums import norm_exponent
from netket_qsntk.entanglement.replicas import fillings, site_classes
from netket_qsntk.entanglement.sampling import sample_wavefunctions
from netket_qsntk.errors import EntropyOrderError, FreezingWarning
from netket_qsntk.process import check_count

Ensemble = GaussianEnsemble | LogNormalEnsemble
# Amplitudes of the wave functions drawn at once.
_BLOCK = 2**22


def participation_entropy(
    ensemble: Ensemble,
    n: float = 2,
    *,
    average: Literal["annealed", "quenched"] = "annealed",
    n_draws: int = 1000,
    seed: int = 0,
    log_base: float = math.e,
) -> Estimate:
    r"""Participation entropy of an ensemble of wave functions, in their basis of configurations.

    ``"annealed"``: :math:`\frac{1}{1-n}\log\big(E\sum_x|\psi|^{2n} / E(\sum_x|\psi|^2)^n\big)`, in closed form at any
    number of sites (normalised as the ratio of moments). ``"quenched"``: the average of S_n over draws.

    Args:
        ensemble: Gaussian or log-normal (:func:`netket_qsntk.entanglement.ensemble`).
        n: Order: 2, 3, 4, … annealed; any order > 0 quenched, 1 for Shannon's.
        average: Which of the two.
        n_draws: Wave functions drawn for the quenched average.
        seed: Seed of NumPy's generator for them.
        log_base: Base of the logarithm; e gives nats.

    Returns:
        The entropy as an :class:`Estimate`; error zero if annealed.

    Raises:
        EntropyOrderError: An order without this average, or an unknown average.
        EnsembleError: Fewer than two draws.
        SystemTooLargeError: A quenched average over too many configurations.

    Warns:
        FreezingWarning: Annealed beyond the point where it stops describing typical networks (:func:`parting`).

    Example:
        >>> ensemble = LogNormalEnsemble.hamming(0.02 * 0.9 ** np.arange(101))
        >>> round(participation_entropy(ensemble, 2) / math.log(2), 3)
        99.885
    """
    check_log_base(log_base)
    _check_average(average)
    if average == "annealed":
        if n == 1 and n is not True:
            raise EntropyOrderError(
                "n=1 is a pole of the annealed average; take participation_entropy(…, 1, average='quenched')."
            )
        n = check_whole(n, "annealed participation (average='quenched' takes any n > 0)", least=2)
        if isinstance(ensemble, LogNormalEnsemble):
            _warn(ensemble, n)
        log_moment = log_participation_moment(ensemble, n) - log_norm_moment(ensemble, n)
        return Estimate(log_moment / (1 - n) / math.log(log_base))
    check_order(n)
    drawn = _probabilities(ensemble, n_draws, seed)
    values = np.concatenate([renyi_entropy(p, n, log_base=log_base) for p in drawn])
    return Estimate(values.mean(), values.std(ddof=1) / math.sqrt(len(values)))


def effective_samples(
    ensemble: Ensemble,
    n_samples: int,
    *,
    average: Literal["annealed", "quenched"] = "annealed",
    n_draws: int = 100,
    seed: int = 0,
) -> Estimate:
    r"""Effective number of samples that drawing ``n_samples`` configurations from |ψ|² gives at initialisation.

    .. math:: n_{\text{eff}} = \frac{n}{1 + (n-1)\sum_x p(x)^2}

    is the inverse participation of the empirical distribution, n²/Σ_x n_x² with n_x the number of times that x came
    (n for different samples, 1 where all are the same): two samples coincide with probability Σp². It is of
    independent samples; a Markov chain has fewer.

    Args:
        ensemble: Gaussian or log-normal.
        n_samples: Samples drawn from one network.
        average: ``"annealed"``: with the closed form of E Σp². ``"quenched"``: averaged over drawn networks.
        n_draws: How many of them.
        seed: Seed of NumPy's generator for them.

    Returns:
        An :class:`Estimate` between 1 and ``n_samples``.

    Raises:
        EntropyOrderError: An unknown average.
        EnsembleError: No samples, or fewer than two draws.

    Example:
        >>> calm, rough = (LogNormalEnsemble.hamming(v * 0.9 ** np.arange(21)) for v in (0.1, 1.0))
        >>> effective_samples(calm, 1000) > 998, effective_samples(rough, 1000) < 990
        (True, True)
    """
    _check_average(average)
    check_count(n_samples, "n_samples")
    if average == "annealed":
        share = math.exp(-participation_entropy(ensemble, 2))
        return Estimate(n_samples / (1 + (n_samples - 1) * share))
    shares = np.concatenate([np.sum(p**2, axis=1) for p in _probabilities(ensemble, n_draws, seed)])
    values = n_samples / (1 + (n_samples - 1) * shares)
    return Estimate(values.mean(), values.std(ddof=1) / math.sqrt(len(values)))


def _check_average(average: str) -> None:
    if average not in ("annealed", "quenched"):
        raise EntropyOrderError(f"average={average!r}: expected 'annealed' or 'quenched'.")


def _warn(ensemble: LogNormalEnsemble, n: int) -> None:
    found = max((parting(ensemble, order) for order in (1, n)), key=lambda p: p.log_fluctuation)
    if found.parted:
        alert(
            f"Σ|ψ|^{2 * found.order} fluctuates over networks by more than its mean (log E Z²/(E Z)² = "
            f"{found.log_fluctuation:.3g}): the annealed participation is that of a few networks, not of typical "
            f"ones. It parts at {found.scale:.3g} times this covariance. Take average='quenched' or a smaller scale.",
            FreezingWarning,
        )


def log_participation_moment(ensemble: Ensemble, n: int) -> float:
    """log E Σ_x |ψ(x)|^{2n}.

    Args:
        ensemble: Gaussian or log-normal.
        n: A whole number >= 1.

    Raises:
        EntropyOrderError: ``n`` is none.

    Example:
        >>> round(math.exp(log_participation_moment(HammingEnsemble([1.0, 0.5, 0.25]), 2)))  # 4 · 2!
        8
    """
    n = check_whole(n, "moment of the participation")
    if isinstance(ensemble, LogNormalEnsemble):
        fields = ensemble.fields
        if isinstance(fields, DenseEnsemble):
            relation = 0.0 if fields.relation is None else np.diag(fields.relation).real
            exponent = n**2 * (np.diag(fields.covariance).real + relation)
            if ensemble.reference is not None:
                exponent = exponent + 2 * n * ensemble.reference.real
            return float(logsumexp(exponent))
        one = fillings(site_classes(fields, range(fields.n_sites), 1), 1, merge=False)
        return float(logsumexp(one.log_multiplicity + n**2 * norm_exponent(fields, one.sums, 1)))
    # |ψ|² = λ₁ z₁² + λ₂ z₂² with standard normal z, λ = (Γ ± |C|)/2.
    log_multiplicity, first, second = _variances(ensemble)
    total = np.zeros_like(first)
    for k in range(n + 1):
        odd = math.prod(range(2 * k - 1, 0, -2)) * math.prod(range(2 * (n - k) - 1, 0, -2))
        total += math.comb(n, k) * odd * first**k * second ** (n - k)
    with np.errstate(divide="ignore"):
        return float(logsumexp(log_multiplicity + np.log(total)))


def _variances(ensemble: GaussianEnsemble) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log multiplicity, λ₁ and λ₂ of each class of configurations."""
    if isinstance(ensemble, HammingEnsemble):
        k = [kernel[0] for kernel in ensemble.kernels]
        pair = [k[0] / 2] * 2 if ensemble.is_proper else k
        return np.array([ensemble.n_sites * math.log(2)]), np.array([pair[0]]), np.array([pair[1]])
    if isinstance(ensemble, DenseEnsemble):
        gamma = np.diag(ensemble.covariance).real
        c = 0.0 * gamma if ensemble.relation is None else np.abs(np.diag(ensemble.relation))
        return np.zeros(len(gamma)), (gamma + c) / 2, (gamma - c) / 2
    log_multiplicity, logs = np.zeros(1), [np.zeros(1)] * len(ensemble.kernels)
    kinds = Counter(
        tuple(tuple(np.diag(kernel.sites[i]).real.tolist()) for kernel in ensemble.kernels)
        for i in range(ensemble.n_sites)
    )
    for diagonals, count in kinds.items():
        filled = occupations(count, len(diagonals[0]))
        ways = gammaln(count + 1) - gammaln(filled + 1).sum(axis=1)
        log_multiplicity = np.add.outer(log_multiplicity, ways).ravel()
        # No site in a state that never occurs: zero times the logarithm of zero is zero here.
        logs = [
            np.add.outer(have, xlogy(filled, d).sum(axis=1)).ravel()
            for have, d in zip(logs, diagonals, strict=True)
        ]
    values = [kernel.scale * np.exp(x) for kernel, x in zip(ensemble.kernels, logs, strict=True)]
    if ensemble.is_proper:
        return log_multiplicity, values[0] / 2, values[0] / 2
    return log_multiplicity, values[0], values[1] if len(values) > 1 else 0 * values[0]


def _probabilities(ensemble: Ensemble, n_draws: int, seed: int) -> Iterator[np.ndarray]:
    """|ψ|²/⟨ψ|ψ⟩ of drawn wave functions, in blocks."""
    check_count(n_draws, "n_draws", least=2)
    fields = ensemble.fields if isinstance(ensemble, LogNormalEnsemble) else ensemble
    block = int(max(1, _BLOCK // math.exp(min(log_states(fields), 80.0))))
    rng = np.random.default_rng(seed)
    for start in range(0, n_draws, block):
        psi = sample_wavefunctions(ensemble, min(block, n_draws - start), rng)
        p = np.abs(psi) ** 2
        yield p / p.sum(axis=1, keepdims=True)
