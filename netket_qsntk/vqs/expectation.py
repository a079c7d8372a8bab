"""What NetKet computes of states, for ensembles: averages over members, or a refusal that says what works."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from netket.utils.types import PyTree
from scipy.sparse import csr_matrix

from netket_qsntk.errors import HilbertMismatchError, ObservableError
from netket_qsntk.targets.matrix import sparse_matrix
from netket_qsntk.vqs.ensemble import EnsembleState
from netket_qsntk.vqs.infinite import InfiniteState
from netket_qsntk.vqs.members import over_members


def _check(state: nk.vqs.VariationalState, operator: nk.operator.AbstractOperator) -> None:
    if operator.hilbert != state.hilbert:
        raise HilbertMismatchError(
            f"The operator acts on {operator.hilbert}, the ensemble lives on {state.hilbert}. Build both on the "
            "same Hilbert space."
        )


def _values(
    operator: nk.operator.DiscreteOperator, sparse: csr_matrix, psi: np.ndarray
) -> np.ndarray:
    """⟨ψ|O|ψ⟩ of each normalised ψ, (members,)."""
    values = np.sum(psi.conj().T * (sparse @ psi.T), axis=0)
    return np.asarray(_real_if_hermitian(operator, values))


def _real_if_hermitian(operator: nk.operator.AbstractOperator, values: np.ndarray) -> np.ndarray:
    return values.real if operator.is_hermitian else values


@nk.vqs.expect.dispatch
def _expect_ensemble(
    state: EnsembleState, operator: nk.operator.DiscreteOperator
) -> nk.stats.Stats:
    _check(state, operator)
    psi = np.asarray(state.to_array())
    return over_members(_values(operator, sparse_matrix(operator), psi))


@nk.vqs.expect.dispatch
def _expect_observable(
    state: EnsembleState, observable: nk.observable.AbstractObservable
) -> nk.stats.Stats:
    values = [state.get_state(i).expect(observable).mean for i in range(state.n_members)]
    return over_members(np.array([v if np.iscomplexobj(v) else float(v) for v in values]))


@nk.vqs.expect_and_grad.dispatch
def _expect_and_grad(
    state: EnsembleState,
    operator: nk.operator.AbstractOperator,
    *args: object,
    mutable: bool = False,
    use_covariance: bool | None = None,
) -> tuple[nk.stats.Stats, PyTree]:
    """The average over members, and the gradient of each in NetKet's convention, stacked like ``parameters``."""
    _check(state, operator)
    options = {} if use_covariance is None else {"use_covariance": use_covariance}
    return _of_members(state, lambda one: one.expect_and_grad(operator, mutable=mutable, **options))


@nk.vqs.expect_and_forces.dispatch
def _expect_and_forces(
    state: EnsembleState,
    operator: nk.operator.AbstractOperator,
    *args: object,
    mutable: bool = False,
) -> tuple[nk.stats.Stats, PyTree]:
    """The average over members, and each member's own forces, stacked like ``parameters``."""
    _check(state, operator)
    return _of_members(state, lambda one: one.expect_and_forces(operator, mutable=mutable))


def _of_members(state: EnsembleState, compute: PyTree) -> tuple[nk.stats.Stats, PyTree]:
    found = [compute(state.get_state(i)) for i in range(state.n_members)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(g for _, g in found))
    return over_members(np.array([stats.mean for stats, _ in found])), stacked


@nk.vqs.local_estimators.dispatch
def _local_estimators(
    state: EnsembleState, operator: nk.operator.AbstractOperator, chunk_size: int | None = None
) -> None:
    raise ObservableError(
        f"Local estimators belong to the samples of one wave function, and this is an ensemble of {state.n_members}, "
        "summed over. Use state.expect(operator), or nk.vqs.MCState(sampler, state.model, "
        "variables=state.get_state(i).variables)."
    )


@nk.vqs.expect.dispatch
def _expect_infinite_observable(
    state: InfiniteState, observable: nk.observable.AbstractObservable
) -> nk.stats.Stats:
    raise ObservableError(
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
        sparse = sparse_matrix(operator)
        values = [_values(operator, sparse, np.asarray(psi)) for psi in state.draws()]
        return over_members(np.concatenate(values))
    mean, covariance = np.asarray(state.mean), np.asarray(state.covariance)
    matrix = sparse_matrix(operator).tocoo()
    # Tr O(Γ + μμ†) over the nonzero elements of O
    elements = covariance[matrix.col, matrix.row] + mean[matrix.col] * mean[matrix.row].conj()
    norm = np.trace(covariance) + np.vdot(mean, mean).real
    value = _real_if_hermitian(operator, np.asarray(np.sum(matrix.data * elements) / norm))
    return nk.stats.Stats(mean=value.item(), error_of_mean=0.0, variance=0.0)


@nk.vqs.local_estimators.dispatch
def _no_samples(
    state: InfiniteState, operator: nk.operator.AbstractOperator, chunk_size: object
) -> nk.stats.LocalEstimatorsBatch:
    raise ObservableError(
        "InfiniteState has no samples x of one wave function, and so no local estimators: state.expect(operator) "
        "averages over the ensemble, and nk.vqs.MCState(sampler, model) samples one network."
    )


@nk.vqs.expect_and_grad.dispatch
def _no_gradient(
    state: InfiniteState, operator: nk.operator.AbstractOperator, *args: object, **options: object
) -> None:
    return state.expect_and_grad(operator)


@nk.vqs.expect_and_forces.dispatch
def _no_forces(
    state: InfiniteState, operator: nk.operator.AbstractOperator, *args: object, **options: object
) -> None:
    return state.expect_and_forces(operator)
