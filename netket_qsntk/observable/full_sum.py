"""Entropies of one state held in full."""

import netket as nk

from netket_qsntk.entanglement.spectrum import entropies
from netket_qsntk.errors import ObservableError
from netket_qsntk.observable.entropy import EnsembleEntropy, EntanglementEntropy


@nk.vqs.expect.dispatch
def _full_sum(state: nk.vqs.FullSumState, entropy: EntanglementEntropy) -> nk.stats.Stats:
    entropy.check_state(state)
    value = entropies(
        state.to_array(),  # logarithms relative to the largest: any norm will do
        entropy.hilbert,
        entropy.partition,
        n=entropy.n,
        log_base=entropy.log_base,
    )
    return nk.stats.Stats(mean=float(value), error_of_mean=0.0, variance=0.0)


def _refuse(state: nk.vqs.VariationalState) -> nk.stats.Stats:
    raise ObservableError(
        f"EnsembleEntropy averages over an ensemble, and a {type(state).__name__} is one wave "
        "function. Use EntanglementEntropy(hilbert, partition, n) for it, or an ensemble: "
        "qs.vqs.EnsembleState(hilbert, model, n_members) or qs.vqs.InfiniteState(hilbert, model)."
    )


@nk.vqs.expect.dispatch
def _no_ensemble_full_sum(state: nk.vqs.FullSumState, entropy: EnsembleEntropy) -> nk.stats.Stats:
    return _refuse(state)


@nk.vqs.expect.dispatch
def _no_ensemble_samples(
    state: nk.vqs.MCState, entropy: EnsembleEntropy, chunk_size: int | None
) -> nk.stats.Stats:
    return _refuse(state)
