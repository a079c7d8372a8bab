"""Training toward a state from samples, where the basis is too large to sum over."""

from numbers import Integral
from typing import Any

import jax
import jax.numpy as jnp
import netket as nk
import optax
from jax import Array
from netket.utils import struct

from netket_qsntk.alert import once
from netket_qsntk.driver.base import target_and_loss
from netket_qsntk.driver.draws import decorrelate, draw, draw_many, flat, log_values, snapshot
from netket_qsntk.driver.finite import QSNTKDriver, where_sampled
from netket_qsntk.driver.importance import (
    Network,
    Sampled,
    differentiable,
    estimates,
    estimates_and_gradients,
)
from netket_qsntk.driver.overlap import (
    check_control_variate,
    infidelity_stats,
    overlap_and_gradient,
)
from netket_qsntk.errors import InvalidTrainingError
from netket_qsntk.losses import MSE, Infidelity
from netket_qsntk.vqs import EnsembleState
from netket_qsntk.vqs.members import over_members
from netket_qsntk.wavefunction import PureWaveFunction, pure_wavefunction

_MODES = ("target", "state", "both")
_N_SAMPLES = 1024
# Seeds of the three streams of independent draws.
_TRAIN, _STATE, _TEST = range(3)


@where_sampled
class SampledDriver(QSNTKDriver):
    r"""What :class:`~netket_qsntk.driver.QSNTKDriver` becomes where losses over the basis are sampled.

    With the target φ in its own normalisation it minimises

    .. math:: L_{mse} = \frac{\sum_x |\psi(x) - \phi(x)|^2}{\sum_x |\phi(x)|^2}
        \quad\text{or}\quad L_{infidelity} = 1 - \frac{|\langle\phi|\psi\rangle|^2}
        {\langle\psi|\psi\rangle\langle\phi|\phi\rangle}

    The first is n_states times the mean square error over the basis that is used where sums are exact (and is of
    order one however large the basis): multiply learning rates by 1/n_states to compare.

    ============ ======================================= ==============================================
    ``sampling`` samples of                              estimators
    ============ ======================================= ==============================================
    "target"     \|φ|²; any state, ensembles too           averages with weights ψ/φ
    "state"      \|ψ|²; one network                        averages with weights φ/ψ
    "both"       both; one network, infidelity only      product of averages, with a control variate
    ============ ======================================= ==============================================

    None stands for "both" with the infidelity and "target" otherwise. "both" is unbiased; the others divide
    averages, with a bias of order 1/n_samples, and trust that their samples cover the other state.

    MCStates draw with their own samplers, as many samples as they are set to, anew at every step; a
    :class:`~netket_qsntk.targets.Target` and other states that can be summed over give ``n_samples`` independent
    draws. ``n_train`` with "target" draws that many once and trains on them (in minibatches of ``batch_size``);
    fresh samples then make ``loss/test``. Logged ``Stats`` carry Monte Carlo errors (for ensembles: over members).

    Args:
        target: A NetKet state (copied as it is now) or a :class:`~netket_qsntk.targets.Target`.
        sampling: See above.
        n_samples: Independent draws a step (1024) from what is not an MCState.
        control_variate: Coefficient c of "both": a number, ``"optimal"`` (estimated) or None.

    Example:
        >>> import netket as nk, netket_qsntk as qs, optax
        >>> hi = nk.hilbert.Spin(0.5, 40)
        >>> def state(seed):
        ...     sampler = nk.sampler.MetropolisLocal(hi, n_chains=16)
        ...     return nk.vqs.MCState(sampler, nk.models.RBM(), n_samples=256, seed=seed)
        >>> driver = qs.driver.QSNTKDriver(
        ...     state(0), optax.sgd(0.1), variational_state=state(1), loss="infidelity")
        >>> driver
        SampledDriver(step_count=0, loss=Infidelity, sampling='both', state=MCState(...))
        >>> _ = driver.run(3, show_progress=False)
    """

    sampling: str = struct.field(pytree_node=False, serialize=False)
    n_samples: int = struct.field(pytree_node=False, serialize=False)
    control_variate: float | None = struct.field(pytree_node=False, serialize=False)
    _network: Network = struct.field(pytree_node=False, serialize=False)
    _wavefunction: PureWaveFunction = struct.field(pytree_node=False, serialize=False)
    _seed: int = struct.field(pytree_node=False, serialize=False)
    _target_state: Any = struct.field(pytree_node=False, serialize=True)
    _pool: Any = struct.field(pytree_node=False, serialize=True)
    _issued: set[type[Warning]] = struct.field(pytree_node=False, serialize=False)

    def __init__(
        self,
        target: Any,
        optimizer: optax.GradientTransformation,
        *,
        variational_state: nk.vqs.VariationalState,
        sampling: str | None = None,
        n_samples: int | None = None,
        control_variate: float | str | None = -0.5,
        loss: Any = "mse",
        seed: int = 0,
        **options: Any,
    ) -> None:
        state = variational_state
        target, loss = target_and_loss(target, loss)
        loss = _loss_name(loss, target)
        if sampling is None:
            both = loss == "infidelity" and not isinstance(state, EnsembleState)
            sampling = "both" if both else "target"
        _check_sampling(sampling, loss, state, options.get("n_train"))
        if n_samples is not None and not (isinstance(n_samples, Integral) and n_samples >= 2):
            raise InvalidTrainingError(
                f"n_samples={n_samples!r}: expected an integer >= 2, or None."
            )
        self.sampling, self._seed, self._issued = sampling, seed, set()
        self.n_samples = int(n_samples or _N_SAMPLES)
        self.control_variate = check_control_variate(control_variate)
        one = (
            state.wavefunction(0) if isinstance(state, EnsembleState) else pure_wavefunction(state)
        )
        self._wavefunction, self._network = one, differentiable(one, state.model)
        super().__init__(
            target,
            optimizer,
            variational_state=state,
            sampling=sampling,
            loss=loss,
            seed=seed,
            **options,
        )
        is_chain = isinstance(self.target, nk.vqs.MCState)
        decorrelate(self.target, state)
        self._target_state = self.target if is_chain else None

    def _own_target(self, target: Any) -> Any:
        return snapshot(target)

    def _set_training_set(self, target: Any, n_train: int | None, seed: int) -> int:
        nothing: Any = None
        self.train = self.test = self._indices = self._pool = nothing
        if n_train is None:
            return self.n_samples
        if not (isinstance(n_train, Integral) and n_train >= 2):
            raise InvalidTrainingError(f"n_train={n_train!r}: expected an integer >= 2, or None.")
        x = draw_many(target, n_train, (seed, _TRAIN))
        self._pool = {"states": x, "log_target": log_values(target, x)}
        return int(n_train)

    def _arrays(self) -> None:
        return None

    @property
    def n_train(self) -> int:
        """Number of configurations that are drawn once, or at each step."""
        return self.n_samples if self._pool is None else len(self._pool["states"])

    def configurations(self, n: int) -> Array:
        """``n`` configurations (n, sites) of the kind that this driver trains on."""
        if self._pool is not None:
            return self._pool["states"][:n]
        source = self.state if self.sampling == "state" else self._sampled_target
        return draw_many(source, n, (self._seed, _TRAIN, self.step_count))

    @property
    def _sampled_target(self) -> Any:
        # A checkpoint brings another MCState, whose chains go on where the saved ones were.
        return self.target if self._target_state is None else self._target_state

    def reset_step(self, hard: bool = False) -> None:
        """New samples of the state and of the target, where they come from Markov chains."""
        if isinstance(self.state, nk.vqs.MCState):
            nk.driver.AbstractOptimizationDriver.reset_step(self, hard)
        if self._target_state is not None:
            if hard:
                self._target_state.reset_hard()
            else:
                self._target_state.reset()

    def compute_loss_and_update(self) -> tuple[nk.stats.Stats, Any]:
        """The loss of this step, estimated, and the estimated gradient."""
        if self.sampling == "both":
            loss, gradient = self._from_both()
            self._evaluation = {"fidelity": _complement(loss)}
        else:
            data, chains = self._data_of_step()
            options = (*self._network, self.loss, self._rows, self._stacked)
            (value, of_value, infidelity, of_x), gradient = estimates_and_gradients(*options, data)
            loss = self._stats(value, of_value, chains)
            self._evaluation = {"fidelity": _complement(self._stats(infidelity, of_x, chains))}
            if self._pool is not None and self.step_count % self.evaluate_every == 0:
                test, chains = self._fresh(_TEST)
                value, of_value = estimates(*options, test)[:2]
                self._evaluation["loss/test"] = self._stats(value, of_value, chains)
        if self.batch_size is None:
            self._evaluation["loss/train"] = loss
        return loss, self._direction(gradient)

    def _data_of_step(self) -> tuple[Sampled, int]:
        """The weighted configurations to train on, and of how many independent chains they are."""
        if self._pool is None:
            return self._fresh(_TRAIN)
        x, log_target = self._pool["states"], self._pool["log_target"]
        index = self.batch(self.step_count)
        if index is not None:
            x, log_target = x[index], log_target[index]
        return Sampled(x, log_target, log_target.real), len(x)

    def _fresh(self, stream: int) -> tuple[Sampled, int]:
        source = self.state if self.sampling == "state" else self._sampled_target
        drawn = draw(source, self.n_samples, (self._seed, stream, self.step_count))
        x = flat(drawn)
        log_target = log_values(self._sampled_target, x)
        own = log_target if self.sampling == "target" else log_values(self.state, x)
        return Sampled(x, log_target, own.real), len(drawn)

    def _from_both(self) -> tuple[nk.stats.Stats, Any]:
        seed, target = (self._seed, self.step_count), self._sampled_target
        drawn = [
            draw(source, self.n_samples, (stream, *seed))
            for stream, source in ((_STATE, self.state), (_TRAIN, target))
        ]
        x, y = (flat(d) for d in drawn)
        log_psi = self._wavefunction.log_psi
        estimate, gradient = overlap_and_gradient(
            log_psi, self._rows, self.control_variate, self.state.parameters, x, y,
            log_values(target, x), log_values(target, y),
        )  # fmt: skip
        with once(self._issued):
            stats = infidelity_stats(estimate, (len(drawn[0]), len(drawn[1])))
        return stats, jax.tree.map(lambda leaf: leaf[None], gradient)

    def _stats(self, values: Array, influences: Array, chains: int) -> nk.stats.Stats:
        if isinstance(self.state, EnsembleState):
            return over_members(values)
        return nk.stats.statistics((values[0] + influences[0]).reshape(chains, -1))

    def __repr__(self) -> str:
        return self._summary(f"loss={type(self.loss).__name__}", f"sampling={self.sampling!r}")


def _complement(stats: nk.stats.Stats) -> nk.stats.Stats:
    return stats.replace(mean=1 - jnp.real(stats.mean))


def _loss_name(loss: Any, target: Any) -> str:
    """``"mse"`` or ``"infidelity"``, from the name or from the object."""
    for name, kind in (("mse", MSE), ("infidelity", Infidelity)):
        if isinstance(loss, str) and loss == name:
            return name
        if isinstance(loss, kind):
            if loss.target is not target:
                raise InvalidTrainingError(
                    f"{loss!r} has another target than the driver: expected {target!r}."
                )
            return name
    raise InvalidTrainingError(
        f"loss={loss!r} cannot be sampled: expected 'mse' or 'infidelity'. Others need sampling=None and a basis "
        "that can be summed over; for energies of large systems there is nk.driver.VMC_SR."
    )


def _check_sampling(sampling: Any, loss: str, state: Any, n_train: int | None) -> None:
    if sampling not in _MODES:
        raise InvalidTrainingError(f"sampling={sampling!r}: expected one of {_MODES}, or None.")
    if sampling != "target" and isinstance(state, EnsembleState):
        raise InvalidTrainingError(
            f"sampling={sampling!r} draws from one network, got {type(state).__name__}: use sampling='target', "
            "whose samples all members share."
        )
    if sampling == "both" and loss != "infidelity":
        raise InvalidTrainingError(
            f"sampling='both' is for the infidelity, got loss={loss!r}: use sampling='target' or 'state'."
        )
    if sampling != "target" and n_train is not None:
        raise InvalidTrainingError(
            f"n_train={n_train} with sampling={sampling!r}: samples of a state that trains cannot be drawn once. "
            "Use n_train=None, or sampling='target'."
        )
