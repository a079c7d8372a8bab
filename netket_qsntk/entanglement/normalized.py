r"""Averages over an ensemble of *normalised* wave functions, as one integral.

.. math:: E\Big[\frac{\mathrm{Tr}\,\tilde\rho_A^n}{(\mathrm{Tr}\,\tilde\rho)^n}\Big]
    = \frac{1}{(n-1)!} \int_0^\infty dt\, t^{n-1}\, E\big[e^{-t\psi^\dagger\psi}\big]\,
    E_t[\mathrm{Tr}\,\tilde\rho_A^n]

because :math:`X^{-n} = \int t^{n-1} e^{-tX} dt/(n-1)!`; the factor :math:`e^{-t\psi^\dagger\psi}`
turns one Gaussian ensemble into another, of covariance Γ_t = Γ(1 + tΓ)⁻¹ when it is proper, so
the inner average is again a sum over contractions. For ψ = e^f it does not: the Laplace
transform of a sum of log-normal weights is no closed form, even of one weight, and its expansion in moments diverges.
Only where |ψ| is the same for all networks is the norm no random number, and the ratio of moments is the average.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from netket_qsntk.entanglement.covariances import check_positive
from netket_qsntk.entanglement.dense_moments import four_index, moment_of_tables, real_spectrum
from netket_qsntk.entanglement.diagonal import local_spectrum
from netket_qsntk.entanglement.ensembles import DenseEnsemble, GaussianEnsemble
from netket_qsntk.entanglement.log_normal import LogNormalEnsemble
from netket_qsntk.entanglement.partition import Bipartition, bipartition, check_partition
from netket_qsntk.entanglement.replica_sums import log_normal_moment, log_normal_norm
from netket_qsntk.errors import EntropyOrderError

# Tails below exp(-45) of the peak are left out: 3e-20.
_TAIL = 45.0
_MAX_HALVINGS = 7


def normalized_purity(
    ensemble: GaussianEnsemble | LogNormalEnsemble, partition: Sequence[int], *, rtol: float = 1e-10
) -> float:
    r"""Exact average purity E[Tr ρ_A²] of the normalised wave functions of a Gaussian ensemble.

    .. math:: \int_0^\infty t\,dt\, \det(1+t\Gamma)^{-1}
        \big[\mathrm{Tr}(\mathrm{Tr}_B\Gamma_t)^2 + \mathrm{Tr}(\mathrm{Tr}_A\Gamma_t)^2\big],
        \qquad \Gamma_t = \Gamma(1+t\Gamma)^{-1}

    for a proper ensemble; an improper one has the square root of the determinant of twice the
    size, and the third pairing. Γ = 1 gives (d_A + d_B)/(d_A d_B + 1). -log of it is a lower
    bound of the average Rényi-2 entropy (Jensen).

    Args:
        ensemble: Product and Hamming ensembles go through spectra with multiplicities, at tens or
            hundreds of sites; a dense one costs a few products of matrices.
        partition: Sites of A.
        rtol: Relative accuracy of the quadrature, at least 1e-13.

    Raises:
        EntropyOrderError: An accuracy out of range, one that was not reached, or a log-normal ensemble with a modulus
            that varies, which has no closed form.
        PartitionError: See :func:`check_partition`.
        SystemTooLargeError: A covariance that does not fit in memory, or a spectrum below rounding.

    Example:
        >>> from netket_qsntk.entanglement import ProductEnsemble, ProductKernel
        >>> white = ProductEnsemble(ProductKernel(np.eye(2), n_sites=5))
        >>> bool(np.isclose(normalized_purity(white, [0, 1]), (4 + 8) / (32 + 1), rtol=1e-12))
        True
    """
    sites = check_partition(partition, ensemble.n_sites)
    return normalized_moment(ensemble, sites, 2, rtol=rtol)


def normalized_moment(
    ensemble: GaussianEnsemble | LogNormalEnsemble,
    sites: tuple[int, ...],
    n: int,
    *,
    rtol: float = 1e-10,
) -> float:
    """E[Tr ρ_Aⁿ] over normalised wave functions, for n from 2 to 6 and sorted ``sites``."""
    if not 1e-13 <= rtol < 1:
        raise EntropyOrderError(f"rtol={rtol!r}: expected a relative accuracy from 1e-13 to 1.")
    if isinstance(ensemble, LogNormalEnsemble):
        if ensemble.has_fixed_modulus:
            # The norm is one number times a common factor of ψ, which cancels in either average.
            return math.exp(log_normal_moment(ensemble, sites, n) - log_normal_norm(ensemble, n))
        raise EntropyOrderError(
            "normalization='exact': averages over normalised states of networks of log ψ have no closed form, unless "
            "|ψ| is fixed. Take normalization='ratio', or draws with an error: "
            "qs.vqs.InfiniteState(hilbert, model).expect("
            "qs.observable.EnsembleEntropy(hilbert, partition, n, 'annealed'))."
        )
    if isinstance(ensemble, DenseEnsemble):
        log_integrand = _dense_integrand(ensemble, sites, n)
    else:
        spectrum = local_spectrum(ensemble, sites)

        def log_integrand(t: float) -> float:
            return math.log(spectrum.tilted(t).moment(n)) - spectrum.log_determinant(t)

    return _integrate(lambda u: n * u + log_integrand(math.exp(u)), rtol) / math.factorial(n - 1)


def _dense_integrand(
    ensemble: DenseEnsemble, sites: tuple[int, ...], n: int
) -> Callable[[float], float]:
    """log of E exp(-t ψ†ψ) · E_t Tr ρ̃ⁿ, with Γ scaled to trace one."""
    cut = bipartition(ensemble.hilbert, sites)
    values, vectors = real_spectrum(ensemble)
    proper = ensemble.is_proper
    values = check_positive(values, "the covariance")
    values = values / np.sum(values)
    rate = 1.0 if proper else 2.0
    if proper and n == 2:
        overlaps = _purity_form(vectors, cut)

        def moment(tilted: np.ndarray) -> float:
            return float(tilted @ overlaps @ tilted)

    else:
        dimension = len(ensemble.covariance)
        fields = vectors if proper else vectors[:dimension] + 1j * vectors[dimension:]

        def moment(tilted: np.ndarray) -> float:
            weighted = fields * tilted
            gamma = four_index(weighted @ fields.conj().T, cut)
            return moment_of_tables(
                gamma, None if proper else four_index(weighted @ fields.T, cut), n
            )

    def log_integrand(t: float) -> float:
        log_determinant = np.sum(np.log1p(rate * t * values)) / rate
        return math.log(moment(values / (1 + rate * t * values))) - float(log_determinant)

    return log_integrand


def _purity_form(vectors: np.ndarray, cut: Bipartition) -> np.ndarray:
    """Q of E Tr ρ̃² = Σ_kl λ_k λ_l Q_kl: Tr ρ_k^A ρ_l^A + Tr ρ_k^B ρ_l^B of eigenvectors k, l."""
    tables = np.zeros((vectors.shape[1], *cut.shape), vectors.dtype)
    signed = vectors.T if cut.signs is None else vectors.T * cut.signs
    tables[:, cut.rows, cut.columns] = signed
    form = np.zeros((len(tables),) * 2)
    for z in (tables, tables.swapaxes(1, 2)):
        reduced = (z @ z.conj().swapaxes(1, 2)).reshape(len(z), -1)
        form += (reduced @ reduced.conj().T).real
    return form


def _integrate(log_f: Callable[[float], float], rtol: float) -> float:
    """∫ exp(log_f(u)) du over the real line, for a single bump with exponential tails.

    The trapezoidal rule converges geometrically in 1/h for such analytic integrands, so h is
    halved until two values agree; the last one is then better than their difference.
    """
    h, values = 0.5, {0: log_f(0.0)}
    for direction in (-1, 1):
        k = direction
        while True:
            values[k] = log_f(k * h)
            if values[k] < max(values.values()) - _TAIL:
                break
            k += direction
    low, high = min(values), max(values)
    top = max(values.values())
    total = sum(math.exp(v - top) for v in values.values())
    for _ in range(_MAX_HALVINGS):
        middle = sum(math.exp(log_f((k + 0.5) * h) - top) for k in range(low, high))
        refined = (total + middle) / 2
        change = abs(refined - total)
        # The new grid has twice the points, numbered from twice the old bounds.
        total, h, low, high = total + middle, h / 2, 2 * low, 2 * high
        if change <= rtol * refined:
            break
    else:
        raise EntropyOrderError(
            f"The average over normalised states did not converge to rtol={rtol:g}; ask for less "
            "accuracy."
        )
    return h * total * math.exp(top)
