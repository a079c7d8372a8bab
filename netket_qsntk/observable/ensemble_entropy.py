"""Entropies of ensembles: averages over members, closed forms and draws at infinite width."""

import math
from typing import Any

import jax.numpy as jnp
import netket as nk
import numpy as np
from jax.typing import ArrayLike

from netket_qsntk.entanglement.annealed import annealed_renyi
from netket_qsntk.entanglement.from_models import ensemble
from netket_qsntk.entanglement.log_normal import LogNormalEnsemble
from netket_qsntk.entanglement.orders import MAX_ORDER
from netket_qsntk.entanglement.sampling import sample_scaled
from netket_qsntk.entanglement.spectrum import entropies
from netket_qsntk.errors import SystemTooLargeError
from netket_qsntk.observable.entropy import EnsembleEntropy, EntanglementEntropy
from netket_qsntk.parallel.mesh import over_processes
from netket_qsntk.parallel.mpi import current, over_ranks
from netket_qsntk.targets import check_summable
from netket_qsntk.vqs import EnsembleState, InfiniteState
from netket_qsntk.vqs.members import over_members


@nk.vqs.expect.dispatch
def _members(state: EnsembleState, entropy: EntanglementEntropy) -> nk.stats.Stats:
    entropy.check_state(state)
    psi, _ = _amplitudes(state)
    return over_members(_entropies(psi, entropy))


@nk.vqs.expect.dispatch
def _ensemble(state: EnsembleState, entropy: EnsembleEntropy) -> nk.stats.Stats:
    entropy.check_state(state)
    return _average(*_amplitudes(state), entropy)


@nk.vqs.expect.dispatch
def _infinite(state: InfiniteState, entropy: EntanglementEntropy) -> nk.stats.Stats:
    quenched = EnsembleEntropy(
        entropy.hilbert, entropy.partition, entropy.n, "quenched", entropy.log_base
    )
    return nk.vqs.expect(state, quenched)


@nk.vqs.expect.dispatch
def _infinite_ensemble(state: InfiniteState, entropy: EnsembleEntropy) -> nk.stats.Stats:
    entropy.check_state(state)
    if state.steps:
        return _average_of_draws(state.sample(entropy.n_draws, entropy.seed), entropy)
    initial = ensemble(state.process, state.hilbert)
    exact = entropy.normalization == "exact"
    closed = entropy.n in range(2, MAX_ORDER + 1) and not (
        exact and isinstance(initial, LogNormalEnsemble) and not initial.has_fixed_modulus
    )
    if entropy.average == "annealed" and closed:
        value = annealed_renyi(
            initial,
            entropy.partition,
            int(entropy.n),
            normalization="exact" if exact else "ratio",
            log_base=entropy.log_base,
        )
        return nk.stats.Stats(mean=value, error_of_mean=0.0, variance=0.0)
    drawn, shift = sample_scaled(initial, entropy.n_draws, entropy.seed)
    return _average_of_draws(drawn, entropy, shift)


def _amplitudes(state: EnsembleState) -> tuple[np.ndarray, np.ndarray]:
    """Normalised amplitudes of every member, and the logarithms of their norms."""
    try:
        check_summable(state.hilbert, task="The entropy of members")
    except SystemTooLargeError as error:
        raise SystemTooLargeError(
            f"Entropies of members need all their amplitudes, too many on {state.hilbert}. Averages "
            "without amplitudes: InfiniteState(hilbert, model).expect(EnsembleEntropy(hilbert, "
            "partition, n, 'annealed')) at infinite width, "
            "qs.entanglement.finite_width_purity(model, hilbert, partition) at any width of CosNet "
            "and GaussNet; of one member, an MCState samples integer orders n >= 2."
        ) from error
    psi, log_norms = state.members().normalized(state.hilbert.all_states())
    return np.asarray(psi), np.asarray(log_norms)


def _entropies(psi: object, entropy: EntanglementEntropy | EnsembleEntropy) -> np.ndarray:
    options: Any = {"n": entropy.n, "log_base": entropy.log_base}

    def of_some(psi: np.ndarray) -> np.ndarray:
        return entropies(np.asarray(psi), entropy.hilbert, entropy.partition, **options)

    members = np.asarray(psi)
    if current() is not None:
        return np.asarray(over_ranks(lambda own: jnp.asarray(of_some(own)), members))
    return over_processes(of_some, members)


def _average_of_draws(
    drawn: ArrayLike, entropy: EnsembleEntropy, shift: np.ndarray | float = 0.0
) -> nk.stats.Stats:
    """The average over draws, each of which was divided by e^shift."""
    psi = np.asarray(drawn)
    return _average(psi, np.log(np.linalg.norm(psi, axis=1)) + shift, entropy)


def _average(psi: np.ndarray, log_norms: np.ndarray, entropy: EnsembleEntropy) -> nk.stats.Stats:
    values = _entropies(psi, entropy)
    if entropy.average == "quenched":
        return over_members(values)
    # log E Tr ρⁿ relative to the largest member: at large entropies the moments underflow.
    unit = (1 - entropy.n) * math.log(entropy.log_base)
    logs = values * unit
    if entropy.normalization == "exact":
        norms = np.zeros(len(logs))
    else:
        # Members weighted by ⟨ψ|ψ⟩ⁿ.
        norms = 2 * entropy.n * (log_norms - np.max(log_norms))
    top = np.max(logs)
    weights = np.exp(norms) / np.mean(np.exp(norms))
    moments = over_members(weights * np.exp(logs - top))
    # The mean of the weights is one by division: what they add to the error goes with it.
    ratio = moments.mean
    error = over_members(weights * (np.exp(logs - top) - ratio))
    slope = 1 / (ratio * unit)
    return nk.stats.Stats(
        mean=float((top + math.log(ratio)) / unit),
        error_of_mean=float(abs(slope) * error.error_of_mean),
        variance=float(slope**2 * error.variance),
    )
