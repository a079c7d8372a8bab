"""Many independent networks of one architecture, as one NetKet state."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import netket as nk
from flax import serialization
from jax import Array

from netket_qsntk.errors import AmplitudesError, InvalidEnsembleError
from netket_qsntk.parallel.mpi import over_ranks
from netket_qsntk.targets import check_summable
from netket_qsntk.vqs.evaluate import member_amplitudes, rows_per_chunk
from netket_qsntk.vqs.table import AmplitudeTable
from netket_qsntk.wavefunction import PureWaveFunction, psi_function


class EnsembleState(nk.vqs.VariationalState):
    r"""An ensemble of networks drawn independently from the model's initial distribution.

    ``parameters`` is the pytree of one network with a leading axis of length ``n_members`` on every leaf.
    ``expect`` averages over members: mean and standard error of the members' expectation values (each member
    normalised).

    Args:
        hilbert: A discrete NetKet Hilbert space.
        model: A flax module giving log ψ (any NetKet model); with a method ``psi`` it may have zero amplitudes.
        n_members: Number of networks.
        seed: Integer seed or JAX key; None draws one. Member i depends on the seed and i only, so that an
            ensemble of 20 begins with the members of an ensemble of 10.
        chunk_size: Configurations evaluated at once for a member; None chooses what fits the cache.

    Raises:
        InvalidEnsembleError: ``n_members`` is not a positive integer.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> vs = qs.vqs.EnsembleState(hi, qs.models.CosNet(32), n_members=5, seed=0)
        >>> vs.to_array().shape
        (5, 16)
        >>> vs.expect(nk.operator.spin.sigmax(hi, 0)).error_of_mean > 0
        True
    """

    def __init__(
        self,
        hilbert: nk.hilbert.DiscreteHilbert,
        model: Any,
        n_members: int,
        seed: Any = None,
        *,
        chunk_size: int | None = None,
        variables: Any = None,
    ) -> None:
        super().__init__(hilbert)
        if not isinstance(n_members, int) or n_members < 1:
            raise InvalidEnsembleError(f"n_members={n_members!r}: expected a positive integer.")
        self.mutable = False
        self.n_members = n_members
        self.chunk_size = chunk_size
        self._model = model
        self._psi = psi_function(model)
        if variables is None:
            key = nk.jax.PRNGKey(seed)
            keys = jnp.stack([jax.random.fold_in(key, i) for i in range(n_members)])
            x = hilbert.random_state(key, 1, dtype=float)
            variables = _initialise(model, keys, x)
        self.variables = variables
        self._states: Array | None = None

    @classmethod
    def from_amplitudes(
        cls, hilbert: nk.hilbert.DiscreteHilbert, amplitudes: Any
    ) -> "EnsembleState":
        """Given wave functions as an ensemble whose parameters are their amplitudes.

        Args:
            hilbert: Their Hilbert space.
            amplitudes: (n_members, n_states) real or complex, in the order of ``hilbert.all_states()``.

        Raises:
            AmplitudesError: Amplitudes of another shape.

        Example:
            >>> import netket as nk, netket_qsntk as qs
            >>> hi = nk.hilbert.Spin(0.5, 4)
            >>> drawn = qs.vqs.InfiniteState(hi, qs.models.CosNet(1)).sample(3, seed=0)
            >>> vs = qs.vqs.EnsembleState.from_amplitudes(hi, drawn)
            >>> vs.expect(nk.operator.spin.sigmax(hi, 0)).error_of_mean > 0
            True
        """
        amplitudes = jnp.asarray(amplitudes)
        if not jnp.issubdtype(amplitudes.dtype, jnp.inexact):
            amplitudes = amplitudes.astype(float)
        n_states = check_summable(hilbert, task="EnsembleState.from_amplitudes")
        if amplitudes.ndim != 2 or amplitudes.shape[1] != n_states:
            raise AmplitudesError(
                f"EnsembleState.from_amplitudes: expected shape (n_members, {n_states}), got "
                f"{amplitudes.shape}. One wave function goes in as amplitudes[None, :]."
            )
        return cls(
            hilbert,
            AmplitudeTable(hilbert, amplitudes.dtype),
            len(amplitudes),
            chunk_size=n_states,
            variables={"params": {"amplitudes": amplitudes}},
        )

    @property
    def model(self) -> Any:
        """The module of one member."""
        return self._model

    @property
    def n_parameters(self) -> int:
        """Number of parameters of one member."""
        return super().n_parameters // self.n_members

    def psi(self, x: Any) -> Array:
        """ψ of every member at configurations x (n, sites): (n_members, n)."""
        x = jnp.asarray(x)
        rows = self.chunk_size or rows_per_chunk(
            self._parameters, self.n_members, x.shape[-1], len(x)
        )
        return over_ranks(lambda p: member_amplitudes(self._psi, p, x, rows), self._parameters)

    def log_value(self, x: Any) -> Array:
        """log ψ of every member at configurations x (n, sites): (n_members, n) complex."""
        return jnp.log(self.psi(x) + 0j)

    def to_array(self, normalize: bool = True) -> Array:
        """Amplitudes of every member on the whole basis: (n_members, n_states), each of norm 1 if ``normalize``."""
        if self._states is None:
            check_summable(self.hilbert, task="EnsembleState.to_array()")
            self._states = jnp.asarray(self.hilbert.all_states())
        psi = self.psi(self._states)
        return psi / jnp.linalg.norm(psi, axis=-1, keepdims=True) if normalize else psi

    def wavefunction(self, member: int) -> PureWaveFunction:
        """ψ of one member as a function of its parameters."""
        self._check_member(member)
        parameters = jax.tree.map(lambda leaf: leaf[member], self._parameters)
        return PureWaveFunction(self._psi, parameters, self.model)

    def get_state(self, member: int) -> nk.vqs.FullSumState:
        """Member number ``member`` as a NetKet ``FullSumState`` of its own (a copy)."""
        self._check_member(member)
        variables = jax.tree.map(lambda leaf: leaf[member], self.variables)
        return nk.vqs.FullSumState(self.hilbert, self.model, variables=variables)

    def _check_member(self, member: int) -> None:
        if not -self.n_members <= member < self.n_members:
            raise InvalidEnsembleError(
                f"Member {member}: expected a number from 0 to {self.n_members - 1}."
            )

    def reset(self) -> None:
        """Nothing is cached that depends on the parameters."""

    def __to_json__(self) -> dict[str, Any]:
        """What nqxpack writes to a file."""
        from netket_qsntk.vqs.saving import ensemble_to_json

        return ensemble_to_json(self)

    def __repr__(self) -> str:
        return (
            f"EnsembleState({self.hilbert}, {type(self.model).__name__}, n_members={self.n_members}, "
            f"n_parameters={self.n_parameters} each)"
        )


@partial(jax.jit, static_argnums=0)
def _initialise(model: Any, keys: Array, x: Array) -> Any:
    return jax.lax.map(lambda key: model.init({"params": key}, x), keys)


def _to_state_dict(state: EnsembleState) -> dict[str, Any]:
    return {"variables": serialization.to_state_dict(state.variables)}


def _from_state_dict(state: EnsembleState, saved: dict[str, Any]) -> EnsembleState:
    variables = serialization.from_state_dict(state.variables, saved["variables"])
    return EnsembleState(
        state.hilbert,
        state.model,
        state.n_members,
        chunk_size=state.chunk_size,
        variables=jax.tree.map(jnp.asarray, variables),
    )


serialization.register_serialization_state(EnsembleState, _to_state_dict, _from_state_dict)
