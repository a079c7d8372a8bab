"""Many independent networks of one architecture, as one NetKet state."""

import copy
from numbers import Integral

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from flax import serialization
from jax import Array
from jax.typing import ArrayLike
from netket.utils.types import PyTree, SeedT

from netket_qsntk._compat.netket_states import Taken
from netket_qsntk.errors import AmplitudesError, EnsembleError
from netket_qsntk.targets import check_summable
from netket_qsntk.vqs.assets import to_json
from netket_qsntk.vqs.checkpoint import check_alike, restored, with_keys, without_keys
from netket_qsntk.vqs.drawing import draw_variables, take_model
from netket_qsntk.vqs.members import Members
from netket_qsntk.vqs.table import AmplitudeTable
from netket_qsntk.wavefunction import PureWaveFunction, check_batches, functions, probes


class EnsembleState(nk.vqs.VariationalState):
    r"""An ensemble of networks drawn independently from the model's initial distribution.

    ``parameters`` is the pytree of one network with a leading axis of length ``n_members`` on every leaf; so is
    ``model_state``, the variables that are not trained. ``expect`` averages over members: mean and standard error of
    the members' expectation values (each member normalised). What NetKet computes of one wave function and has no
    average (``to_qobj``, ``quantum_geometric_tensor``) is refused by name: ask ``get_state(i)``.

    Args:
        hilbert: A discrete NetKet Hilbert space.
        model: A module of flax or equinox giving log ψ (any NetKet model); with a method ``psi`` it may have zero
            amplitudes. Modules that hold their parameters (nnx, equinox) are made anew for each member, by their
            class if its constructor wants a random key and nothing else. Otherwise give a function of a key that
            makes one: ``lambda key: Net(8, rngs=nnx.Rngs(key))``.
        n_members: Number of networks.
        seed: Integer seed or JAX key; None draws one. Member i depends on the seed and i only, so that an
            ensemble of 20 begins with the members of an ensemble of 10.
        chunk_size: Configurations evaluated at once for a member; None chooses what fits the cache.
        variables: Stacked variables to take instead of drawing them.

    Raises:
        EnsembleError: ``n_members`` or ``chunk_size`` is not a positive integer, the variables are of another
            number of members, or nobody knows how to draw the model's parameters.
        BatchDependentError: Amplitudes depend on what they are evaluated with.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> vs = qs.vqs.EnsembleState(hi, qs.models.CosNet(32), n_members=5, seed=0)
        >>> vs.to_array().shape
        (5, 16)
        >>> vs.expect(nk.operator.spin.sigmax(hi, 0)).error_of_mean > 0
        True
    """

    n_members: int
    _taken: Taken
    _states: Array | None
    _chunk_size: int | None = None

    def __init__(
        self,
        hilbert: nk.hilbert.DiscreteHilbert,
        model: object,
        n_members: int,
        seed: SeedT | None = None,
        *,
        chunk_size: int | None = None,
        variables: PyTree | None = None,
    ) -> None:
        super().__init__(hilbert)
        if not isinstance(n_members, Integral) or isinstance(n_members, bool) or n_members < 1:
            raise EnsembleError(f"n_members={n_members!r}: expected a positive integer.")
        self.mutable = False
        self.n_members = int(n_members)
        self.chunk_size = chunk_size
        key = nk.jax.PRNGKey(seed)
        self._taken = take_model(model, key)
        if variables is None:
            variables = draw_variables(model, hilbert, key, self.n_members)
        self.variables: PyTree = variables
        self._states = None
        first = self.wavefunction(0)
        check_batches(first.log_psi, first.parameters, probes(hilbert), self._taken.kind.__name__)

    @classmethod
    def from_amplitudes(
        cls, hilbert: nk.hilbert.DiscreteHilbert, amplitudes: ArrayLike
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
    def model(self) -> object:
        """The module of one member; of those that hold their parameters, the first member's."""
        if self._taken.variables is None:
            return self._taken.wrapped
        return self._taken.unwrapped(self._of_member(0))

    @property
    def n_parameters(self) -> int:
        """Number of parameters of one member."""
        return super().n_parameters // self.n_members

    @property
    def chunk_size(self) -> int | None:
        """Configurations evaluated at once for a member; None chooses what fits the cache."""
        return self._chunk_size

    @chunk_size.setter
    def chunk_size(self, chunk_size: int | None) -> None:
        if chunk_size is None:
            self._chunk_size = None
            return
        if not isinstance(chunk_size, Integral) or isinstance(chunk_size, bool) or chunk_size < 1:
            raise EnsembleError(f"chunk_size={chunk_size!r}: expected a positive integer or None.")
        self._chunk_size = int(chunk_size)

    @property
    def parameters(self) -> PyTree:
        """Parameters of all members: every leaf has a leading axis of ``n_members``."""
        return super().parameters

    @parameters.setter
    def parameters(self, parameters: PyTree) -> None:
        if self._parameters_structure is None:
            lengths = {leaf.shape[:1] for leaf in jax.tree.leaves(parameters)}
            if not lengths <= {(self.n_members,)}:
                raise EnsembleError(
                    f"Expected parameters with a leading axis of n_members={self.n_members} on every leaf, got "
                    f"leading axes {sorted(lengths)}."
                )
        elif jax.tree.structure(parameters) == self._parameters_structure:
            check_alike(self._parameters, parameters, "parameters", EnsembleError)
        nk.vqs.VariationalState.parameters.fset(self, parameters)

    def members(self) -> Members:
        """The networks as they are now, each by itself."""
        psi, log_psi, is_log = functions(self._taken, self.model_state)
        return Members(
            self.n_members,
            True,
            self.parameters,
            (psi, log_psi),
            is_log,
            self._taken.module,
            self.chunk_size,
        )

    def psi(self, x: ArrayLike) -> Array:
        """ψ of every member at configurations x (…, sites): (n_members, …)."""
        return self.members().psi(x)

    def log_value(self, x: ArrayLike) -> Array:
        """log ψ of every member at configurations x (…, sites): (n_members, …) complex."""
        return self.members().log_psi(x)

    def to_array(self, normalize: bool = True) -> Array:
        """Amplitudes of every member on the whole basis: (n_members, n_states), each of norm 1 if ``normalize``.

        Raises:
            AmplitudesError: Members whose amplitudes are all zero or not finite; amplitudes as they are
                (``normalize=False``) beyond the range of floating point.
        """
        if self._states is None:
            check_summable(self.hilbert, task="EnsembleState.to_array()")
            self._states = jnp.asarray(self.hilbert.all_states())
        if normalize:
            psi, log_norms = self.members().normalized(self._states)
            if not isinstance(psi, jax.core.Tracer) and not bool(jnp.all(jnp.isfinite(log_norms))):
                wrong = np.flatnonzero(~np.isfinite(log_norms)).tolist()
                raise AmplitudesError(
                    f"Members {wrong} have amplitudes that are all zero or are no finite numbers: they cannot be "
                    "normalised. state.psi(x) and state.log_value(x) give them as they are."
                )
            return psi
        psi = self.psi(self._states)
        if not isinstance(psi, jax.core.Tracer) and not bool(jnp.all(jnp.isfinite(psi))):
            raise AmplitudesError(
                "Amplitudes exceed the range of floating point, or are no numbers. Use to_array(normalize=True), "
                "which takes their logarithms relative to the largest, or log_value(x)."
            )
        return psi

    def wavefunction(self, member: int) -> PureWaveFunction:
        """ψ of one member as a function of its parameters."""
        self._check_member(member)
        return self.members()[member]

    def get_state(self, member: int) -> nk.vqs.FullSumState:
        """Member number ``member`` as a NetKet ``FullSumState`` of its own (a copy)."""
        self._check_member(member)
        variables = self._of_member(member)
        return nk.vqs.FullSumState(
            self.hilbert, self._taken.unwrapped(variables), variables=variables
        )

    def _of_member(self, member: int) -> PyTree:
        return jax.tree.map(lambda leaf: leaf[member], self.variables)

    def _check_member(self, member: int) -> None:
        if not -self.n_members <= member < self.n_members:
            raise EnsembleError(
                f"Member {member}: expected a number from 0 to {self.n_members - 1}."
            )

    def reset(self) -> None:
        """Nothing is cached that depends on the parameters."""

    def to_qobj(self) -> None:
        """Refused: an ensemble is many kets."""
        self._refuse("to_qobj()", "state.get_state(i).to_qobj() is the ket of one member")

    def quantum_geometric_tensor(self, qgt_T: object = None) -> None:
        """Refused: every network has its own."""
        self._refuse(
            "quantum_geometric_tensor()",
            "state.get_state(i).quantum_geometric_tensor() is that of one network",
        )

    def _refuse(self, what: str, instead: str) -> None:
        raise EnsembleError(
            f"{what} is of one wave function, and this is an ensemble of {self.n_members}: {instead}."
        )

    def __to_json__(self) -> dict[str, object]:
        """What nqxpack writes to a file."""
        return to_json(
            "load_ensemble",
            self.variables,
            hilbert=self.hilbert,
            model=self.model,
            n_members=self.n_members,
            chunk_size=self.chunk_size,
        )

    def __repr__(self) -> str:
        return (
            f"EnsembleState({self.hilbert}, {self._taken.kind.__name__}, n_members={self.n_members}, "
            f"n_parameters={self.n_parameters} each)"
        )


def _to_state_dict(state: EnsembleState) -> dict[str, PyTree]:
    return {
        "variables": serialization.to_state_dict(without_keys(state.variables)),
        "chunk_size": state.chunk_size or 0,
    }


def _from_state_dict(state: EnsembleState, saved: dict[str, PyTree]) -> EnsembleState:
    plain = restored(without_keys(state.variables), saved["variables"], repr(state))
    new = copy.copy(state)
    new.chunk_size = saved["chunk_size"] or None if "chunk_size" in saved else state.chunk_size
    new.variables = with_keys(state.variables, plain)
    return new


serialization.register_serialization_state(EnsembleState, _to_state_dict, _from_state_dict)
