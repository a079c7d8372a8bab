"""A wave function as a pure function of its parameters, whatever it came from.

NetKet states and models give log ψ; kernels and losses here are of ψ. This is the one place that turns the first into
the second. A network is what its *state* applies, to the variables of the state; a method ``psi`` of the model, which
gives amplitudes and may give zeros, is used where it agrees with that.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from flax import linen
from jax import Array
from netket.utils.types import PyTree

from netket_qsntk._compat.attributes import held
from netket_qsntk._compat.netket_states import (
    Applied,
    Taken,
    applied_by,
    applied_function,
    take,
    taken_from,
)
from netket_qsntk.errors import BatchDependentError, NotANetworkError
from netket_qsntk.readout import Readout

Psi = Callable[[PyTree, Array], Array]
"""``psi(parameters, x)`` for configurations x (n, sites): (n,)."""

_PROBES = 4


@runtime_checkable
class _Many(Protocol):
    """A state that holds more than one network, or none."""

    n_members: int | None


@partial(
    jax.tree_util.register_dataclass, data_fields=["rest"], meta_fields=["applied", "given", "log"]
)
@dataclass(frozen=True, eq=False)
class Network:
    """ψ, or log ψ, as a function of trained parameters and x: a pytree, and hashable.

    The leaves are variables that are not trained. Without any, two that apply equal models are equal, also as static
    arguments of :func:`jax.jit`.

    Attributes:
        rest: Variables that are not trained.
        applied: ``applied(variables, x)``.
        given: What that gives, ``"psi"`` or ``"log_psi"``.
        log: Whether this gives log ψ.
    """

    rest: Mapping[str, PyTree]
    applied: Applied
    given: str
    log: bool

    def __call__(self, parameters: PyTree, x: Array) -> Array:
        """ψ or log ψ: (n,)."""
        value = self.applied({"params": parameters, **self.rest}, x)
        if self.log == (self.given == "log_psi"):
            return value
        return jnp.log(value + 0j) if self.log else jnp.exp(value)

    @property
    def _key(self) -> tuple[Applied, str, bool]:
        return self.applied, self.given, self.log

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Network) or jax.tree.leaves((self.rest, other.rest)):
            return self is other
        return self._key == other._key

    def __hash__(self) -> int:
        return id(self) if jax.tree.leaves(self.rest) else hash(self._key)


@dataclass(frozen=True)
class PureWaveFunction:
    """ψ as ``psi(parameters, x)``.

    Attributes:
        psi: (parameters, (n, sites)) -> (n,), real or complex amplitudes. A pytree: pass it to a jitted
            function as it is, and equal models share one compilation.
        parameters: The pytree of trained parameters.
        model: The flax linen module behind it, or None.
        log_psi: log ψ, called alike; safe where ψ itself would overflow.
        is_log: Whether the network computes log ψ, and ψ is its exponential.
    """

    psi: Psi
    parameters: PyTree
    model: linen.Module | None = None
    log_psi: Psi = None  # type: ignore[assignment] # the logarithm of psi then
    is_log: bool = False

    def __post_init__(self) -> None:
        if self.log_psi is None:
            object.__setattr__(self, "log_psi", _Logarithm(self.psi))


@partial(jax.tree_util.register_dataclass, data_fields=["psi"], meta_fields=[])
@dataclass(frozen=True)
class _Logarithm:
    psi: Psi

    def __call__(self, parameters: PyTree, x: Array) -> Array:
        return jnp.log(self.psi(parameters, x) + 0j)


def psi_function(model: object, model_state: PyTree = None, *, log: bool = False) -> Psi:
    """``psi(parameters, x)`` of a module: its own ``psi`` method, or exp of its log ψ.

    Args:
        model: A module of flax (linen, nnx) or equinox; parameters that it holds itself are not used.
        model_state: Variables that are not trained, as NetKet states hold them; None takes those of the module.
        log: Give log ψ instead.

    Raises:
        NotANetworkError: It is no module.
    """
    taken = take(model)
    if taken is None:
        raise NotANetworkError(
            f"Expected a module of flax or equinox, got {type(model).__name__}; pass a pair (apply_fun, "
            "variables) with apply_fun(variables, x) = log ψ(x) instead."
        )
    rest = model_state
    if rest is None:
        rest = {k: v for k, v in (taken.variables or {}).items() if k != "params"}
    psi, log_psi, _ = functions(taken, rest)
    return log_psi if log else psi


def functions(taken: Taken, rest: Mapping[str, PyTree]) -> tuple[Network, Network, bool]:
    """(ψ, log ψ, whether the network computes the second) of a module with these variables that are not trained."""
    log_psi = Network(dict(rest), taken.applied(), "log_psi", True)
    if computes_log(taken):
        return Network(dict(rest), taken.applied(), "log_psi", False), log_psi, True
    return Network(dict(rest), taken.applied("psi"), "psi", False), log_psi, False


def computes_log(taken: Taken) -> bool:
    """Whether the module computes log ψ: it has no method ``psi``, or a readout that is a logarithm."""
    readout = held(taken.wrapped, "readout")
    return not taken.has("psi") or (isinstance(readout, Readout) and readout.is_log)


def pure_wavefunction(state: PyTree) -> PureWaveFunction:
    """The wave function of a NetKet variational state, or of a pair (apply_fun, variables).

    Args:
        state: A state of one network (FullSumState, MCState) with a model of any framework, or with an
            ``apply_fun``; or ``(apply_fun, variables)`` with ``apply_fun(variables, x)`` = log ψ(x), as NetKet's.

    Raises:
        NotANetworkError: It is neither.
        BatchDependentError: ψ of one configuration depends on which others are evaluated with it.

    Example:
        >>> import netket as nk
        >>> from netket_qsntk.wavefunction import pure_wavefunction
        >>> vs = nk.vqs.FullSumState(nk.hilbert.Spin(0.5, 3), nk.models.RBM())
        >>> wavefunction = pure_wavefunction(vs)
        >>> wavefunction.psi(wavefunction.parameters, vs.hilbert.all_states()).shape
        (8,)
    """
    if isinstance(state, PureWaveFunction):
        return state
    if isinstance(state, tuple) and len(state) == 2 and callable(state[0]):
        apply_fun, variables = state
        rest = dict(variables)
        parameters = rest.pop("params", {})
        applied = applied_function(apply_fun)
        psi, log_psi = (Network(rest, applied, "log_psi", log) for log in (False, True))
        return PureWaveFunction(psi, parameters, log_psi=log_psi, is_log=True)
    if isinstance(state, _Many):
        raise NotANetworkError(
            f"{type(state).__name__} holds {state.n_members} networks; pass one of them, "
            "state.get_state(i)."
        )
    by_state = applied_by(state) if isinstance(state, nk.vqs.VariationalState) else None
    if by_state is None:
        raise NotANetworkError(
            f"Expected a NetKet variational state or (apply_fun, variables), got {type(state).__name__}."
        )
    applied, taken = by_state, taken_from(state)
    if taken is not None and applied.identity != taken.applied().identity:
        taken = None
    psi, log_psi = (Network(state.model_state, applied, "log_psi", log) for log in (False, True))
    model = None if taken is None else taken.module
    found = PureWaveFunction(psi, state.parameters, model, log_psi, is_log=True)
    if taken is not None and not computes_log(taken):
        direct = functions(taken, state.model_state)[0]
        found = PureWaveFunction(direct, state.parameters, model, log_psi)
    return _checked(state, found, log_psi)


# What was seen of a state, by the function that it applied then; forgotten with the state.
_seen: WeakKeyDictionary[nk.vqs.VariationalState, tuple[Applied, bool]] = WeakKeyDictionary()


def _checked(
    state: nk.vqs.VariationalState, found: PureWaveFunction, log_psi: Network
) -> PureWaveFunction:
    """The wave function, with ψ = exp(log ψ) in the place of a method ``psi`` that gives something else."""
    seen = _seen.get(state)
    if seen is None or seen[0] != log_psi.applied:
        x = probes(state.hilbert)
        agrees = found.is_log or same_amplitudes(found, x)
        taken = taken_from(state)
        name = "The network" if taken is None else taken.kind.__name__
        check_batches(log_psi, found.parameters, x, name)
        _seen[state] = seen = (log_psi.applied, agrees)
    if seen[1]:
        return found
    psi = Network(state.model_state, log_psi.applied, "log_psi", False)
    return PureWaveFunction(psi, found.parameters, None, log_psi, is_log=True)


def probes(hilbert: nk.hilbert.AbstractHilbert) -> Array:
    """A few configurations of a space, the same each time: (n, sites)."""
    if isinstance(hilbert, nk.hilbert.DiscreteHilbert) and hilbert.is_indexable:
        numbers = np.unique(np.linspace(0, hilbert.n_states - 1, _PROBES).astype(int))
        return jnp.asarray(hilbert.numbers_to_states(numbers))
    return hilbert.random_state(jax.random.key(0), _PROBES)


def same_amplitudes(found: PureWaveFunction, x: Array) -> bool:
    """Whether ψ is exp(log ψ) at configurations x (n, sites), up to one factor."""
    psi, log_psi = _both(found.psi, found.log_psi, found.parameters, x)
    log_psi = np.asarray(log_psi) + 0j
    top = log_psi.real.max(initial=-np.inf, where=np.isfinite(log_psi.real))
    expected = np.exp(log_psi - (top if np.isfinite(top) else 0.0))
    psi = np.asarray(psi) + 0j
    unit = np.exp(top) if np.isfinite(top) else 1.0
    if not np.isfinite(unit) or unit == 0:
        return True  # beyond what exp can tell
    return bool(np.allclose(psi / unit, expected, atol=_tolerance(log_psi), equal_nan=True))


def check_batches(log_psi: Psi, parameters: PyTree, x: Array, name: str = "The network") -> None:
    """Raise unless log ψ of a configuration is the same whatever else is evaluated with it.

    Args:
        log_psi: (parameters, x) -> log ψ, a pytree.
        parameters: Of one network.
        x: Configurations (n, sites), n >= 2 and not all alike.
        name: Of the model, for the message.

    Raises:
        BatchDependentError: It is not; no kernel and no amplitude is defined.
    """
    if len(x) < 2:
        return
    together, alone = (np.asarray(v) + 0j for v in _alone(log_psi, parameters, x))
    with np.errstate(invalid="ignore"):
        error = np.abs(np.exp(together - alone) - 1)
    same = (together == alone) | (np.isnan(together) & np.isnan(alone))
    if np.all(same | (error <= 100 * _tolerance(together))):
        return
    i = int(np.argmax(~same * np.where(np.isnan(error), np.inf, error)))
    raise BatchDependentError(
        f"{name} gives log ψ = {alone[i]:.6g} for a configuration alone and {together[i]:.6g} for the same one in "
        f"a batch of {len(x)}: its amplitudes depend on what they are evaluated with, as those of a batch "
        "normalisation in training mode do. Use the running averages (flax.linen: use_running_average=True, "
        "flax.nnx: model.eval()), or a layer normalisation."
    )


def _tolerance(values: np.ndarray) -> float:
    return float(np.sqrt(np.finfo(values.dtype).eps))


@jax.jit
def _both(psi: Psi, log_psi: Psi, parameters: PyTree, x: Array) -> tuple[Array, Array]:
    return psi(parameters, x), log_psi(parameters, x)


@jax.jit
def _alone(log_psi: Psi, parameters: PyTree, x: Array) -> tuple[Array, Array]:
    return log_psi(parameters, x), jax.vmap(lambda row: log_psi(parameters, row[None])[0])(x)
