"""Wave functions that a function-space driver evolves, held as tables and shown as NetKet states."""

from typing import cast

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from jax import Array
from netket.hilbert import DiscreteHilbert
from netket.operator import DiscreteOperator
from netket.utils.types import PyTree

from netket_qsntk.errors import HilbertMismatchError, InvalidTrainingError
from netket_qsntk.process import GaussianProcess, check_count
from netket_qsntk.readout import FixedReadout, Readout
from netket_qsntk.vqs import EnsembleState, InfiniteState

# Wave functions that are drawn where nobody says how many.
_N_DRAWS = 8


def check_hilbert(hamiltonian: DiscreteOperator, state: nk.vqs.VariationalState) -> None:
    """Raise :class:`HilbertMismatchError` unless both live on one Hilbert space."""
    if hamiltonian.hilbert != state.hilbert:
        raise HilbertMismatchError(
            f"The Hamiltonian lives on {hamiltonian.hilbert}, the state on {state.hilbert}. Build both on the same "
            "Hilbert space."
        )


def initial_log_psi(
    state: nk.vqs.VariationalState, n_members: int | None, seed: int | Array
) -> Array:
    """Log ψ of a state on the whole basis: (n_states,) of one network, (members, n_states) of several or of draws.

    Args:
        state: A NetKet state, an ensemble, or the infinite-width ensemble.
        n_members: Wave functions drawn from the last; None is 8.
        seed: Of the draws.
    """
    x = state.hilbert.all_states()
    if isinstance(state, InfiniteState):
        n = _N_DRAWS if n_members is None else check_count(n_members, "n_members")
        process = state.process
        return process.readout.log_psi(process.sample(n, seed), x)
    if n_members is not None:
        raise InvalidTrainingError(
            f"n_members={n_members}: {type(state).__name__} has an initial function of its own, from which the run "
            "starts. Pass qs.vqs.InfiniteState(hilbert, model) for draws."
        )
    return jnp.asarray(state.log_value(x))


def table_state(hilbert: DiscreteHilbert, log_psi: Array) -> nk.vqs.FullSumState | EnsembleState:
    """A state whose parameters are log ψ on the whole basis: FullSumState of one, EnsembleState of members."""
    model = nk.models.LogStateVector(hilbert, param_dtype=log_psi.dtype)
    variables = {"params": {"logstate": log_psi}}
    if log_psi.ndim == 1:
        return nk.vqs.FullSumState(hilbert, model, variables=variables)
    return EnsembleState(
        hilbert, model, len(log_psi), chunk_size=hilbert.n_states, variables=variables
    )


class MemberTable:
    """Functions f of members on the whole basis, as the parameters of an ensemble: ψ = f, or log ψ by a readout.

    Args:
        process: Of which the functions are drawn: it knows the Hilbert space, the readout and the parts.
    """

    def __init__(self, process: GaussianProcess) -> None:
        self.hilbert = process.hilbert
        readout = process.readout
        self.readout = readout if readout.is_log or readout.reference is not None else None
        self._whole = self.at(self.hilbert.all_states())
        self._is_real = process.n_parts == 1

    @property
    def key(self) -> str:
        """What the parameters are called."""
        return "amplitudes" if self.readout is None else "logstate"

    def at(self, x: np.ndarray) -> FixedReadout:
        """The readout on configurations x (n, sites)."""
        return (Readout() if self.readout is None else self.readout).at(x)

    def state(self, f: Array) -> EnsembleState:
        """Members with functions f (members, n_states)."""
        if self.readout is None:
            return EnsembleState.from_amplitudes(self.hilbert, f)
        return cast(EnsembleState, table_state(self.hilbert, self._whole.log_psi(f)))

    def functions(self, state: EnsembleState) -> Array:
        """f (members, n_states) of such a state."""
        if self.readout is None:
            return state.parameters[self.key]
        f = self._whole.functions(state.parameters[self.key])
        return f.real if self._is_real else f

    def set_functions(self, state: EnsembleState, f: Array) -> None:
        """Give a state the functions f (members, n_states)."""
        state.parameters = {self.key: f if self.readout is None else self._whole.log_psi(f)}


def stats_of(values: Array | np.ndarray, variances: Array | np.ndarray | float) -> nk.stats.Stats:
    """Stats of one wave function (scalars: exact, with the variance of H) or over members (members,)."""
    if jnp.ndim(values) == 0:
        return nk.stats.Stats(mean=float(values), error_of_mean=0.0, variance=float(variances))
    m = len(values)
    spread = float(jnp.var(values, ddof=1)) if m > 1 else 0.0
    return nk.stats.Stats(
        mean=float(jnp.mean(values)), error_of_mean=(spread / m) ** 0.5, variance=spread
    )


def stacked(tree: PyTree) -> PyTree:
    """Trees of one member each as one with a leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *tree)
