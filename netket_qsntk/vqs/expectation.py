"""Expectation values over ensembles, through NetKet's ``expect``."""

from typing import Any

import jax.numpy as jnp
import netket as nk
import numpy as np

from netket_qsntk.errors import HilbertMismatchError, UnsupportedObservableError
from netket_qsntk.vqs.ensemble import EnsembleState
from netket_qsntk.vqs.infinite import InfiniteState


def over_members(values: Any) -> nk.stats.Stats:
    """Mean, standard error of the mean and variance of one number per member: (n_members,)."""
    values = np.asarray(values)
    m = len(values)
    mean = values.mean()
    variance = float(np.mean(np.abs(values - mean) ** 2) * m / (m - 1)) if m > 1 else 0.0
    return nk.stats.Stats(
        mean=mean.item(), error_of_mean=float(np.sqrt(variance / m)), variance=variance
    )


def _check(state: Any, operator: Any) -> None:
    if operator.hilbert != state.hilbert:
        raise HilbertMismatchError(
            f"The operator acts on {operator.hilbert}, the ensemble lives on {state.hilbert}. Build both on the "
            "same Hilbert space."
        )


def _values(operator: nk.operator.DiscreteOperator, sparse: Any, psi: np.ndarray) -> np.ndarray:
    """⟨ψ|O|ψ⟩ of each normalised ψ, (members,)."""
    values = np.sum(psi.conj().T * (sparse @ psi.T), axis=0)
    return np.asarray(_real_if_hermitian(operator, values))


def _real_if_hermitian(operator: Any, values: Any) -> Any:
    return values.real if operator.is_hermitian else values


@nk.vqs.expect.dispatch
def _expect_ensemble(
    state: EnsembleState, operator: nk.operator.DiscreteOperator
) -> nk.stats.Stats:
    _check(state, operator)
    psi = np.asarray(state.to_array())
    return over_members(_values(operator, operator.to_sparse(), psi))


@nk.vqs.expect.dispatch
def _expect_observable(
    state: EnsembleState, observable: nk.observable.AbstractObservable
) -> nk.stats.Stats:
    values = [state.get_state(i).expect(observable).mean for i in range(state.n_members)]
    return over_members([complex(v) if np.iscomplexobj(v) else float(v) for v in values])


@nk.vqs.expect.dispatch
def _expect_infinite_observable(
    state: InfiniteState, observable: nk.observable.AbstractObservable
) -> nk.stats.Stats:
    raise UnsupportedObservableError(
        f"{type(observable).__name__} is no operator: its average over an infinite ensemble is no trace with a "
        "covariance. Use an operator, or EnsembleState(hilbert, model, n_members), which averages any observable."
    )


@nk.vqs.expect.dispatch
def _expect_infinite(
    state: InfiniteState, operator: nk.operator.DiscreteOperator
) -> nk.stats.Stats:
    """Networks of ψ: E⟨ψ|O|ψ⟩ / E⟨ψ|ψ⟩, over unnormalised members, the way a density matrix averages.

    The moments of e^f are those of a few networks with large f: there the average over drawn, normalised members.
    """
    _check(state, operator)
    if state.process.readout.is_log:
        sparse = operator.to_sparse()
        values = [_values(operator, sparse, np.asarray(psi)) for psi in state.draws()]
        return over_members(np.concatenate(values))
    mean, covariance = np.asarray(state.mean), np.asarray(state.covariance)
    matrix = operator.to_sparse().tocoo()
    # Tr O(Γ + μμ†) over the nonzero elements of O
    elements = covariance[matrix.col, matrix.row] + mean[matrix.col] * mean[matrix.row].conj()
    norm = np.trace(covariance) + np.vdot(mean, mean).real
    value = _real_if_hermitian(operator, jnp.asarray(np.sum(matrix.data * elements) / norm))
    return nk.stats.Stats(mean=value.item(), error_of_mean=0.0, variance=0.0)


@nk.vqs.local_estimators.dispatch
def _no_samples(
    state: InfiniteState, operator: nk.operator.AbstractOperator, chunk_size: Any
) -> nk.stats.LocalEstimatorsBatch:
    raise UnsupportedObservableError(
        "InfiniteState has no samples x of one wave function, and so no local estimators: state.expect(operator) "
        "averages over the ensemble, and nk.vqs.MCState(sampler, model) samples one network."
    )


@nk.vqs.expect_and_grad.dispatch
def _no_gradient(
    state: InfiniteState, operator: nk.operator.AbstractOperator, *args: Any, **options: Any
) -> Any:
    return state.expect_and_grad(operator)


@nk.vqs.expect_and_forces.dispatch
def _no_forces(
    state: InfiniteState, operator: nk.operator.AbstractOperator, *args: Any, **options: Any
) -> Any:
    return state.expect_and_forces(operator)
