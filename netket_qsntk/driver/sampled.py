"""Training toward a state from samples, where the basis is too large to sum over."""

from numbers import Integral

import jax
import jax.numpy as jnp
import netket as nk
from jax import Array
from netket.utils.types import PyTree

from netket_qsntk.alert import alert, once
from netket_qsntk.driver.drawn_configurations import draw, draw_many, flat, is_summable, log_values
from netket_qsntk.driver.evaluation import Evaluation, Training
from netket_qsntk.driver.gradient import fidelities_of_values
from netket_qsntk.driver.importance import (
    Sampled,
    SampledObjective,
    estimates,
    estimates_and_gradients,
)
from netket_qsntk.driver.overlap import (
    check_control_variate,
    estimated_overlap,
    infidelity_stats,
    overlap_and_gradient,
)
from netket_qsntk.errors import InvalidTrainingError, PoorOverlapWarning
from netket_qsntk.losses import MSE, Infidelity, Loss
from netket_qsntk.targets import Target
from netket_qsntk.vqs.members import Members, over_members

_MODES = ("target", "state", "both")
_N_SAMPLES = 1024
# Seeds of the streams of independent draws.
_TRAIN, _STATE, _TEST, _CHECK = range(4)
# The fidelity is summed over bases of up to so many times the samples of a step.
_SUMMED = 16


class Samples:
    r"""How :class:`~netket_qsntk.driver.QSNTKDriver` trains where losses over the basis are sampled.

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
    averages, with a bias of order 1/n_samples, and trust that their samples cover the other state: a loss from
    samples of the target cannot see what ψ has elsewhere. ``fidelity`` is therefore never taken from them. It is
    summed over the whole basis where that has at most 16 n_samples states, and estimated from samples of both states
    beyond; an ensemble on a larger basis, which is not sampled, logs ``fidelity/on_samples`` in its place, with a
    warning.

    MCStates draw with their own samplers, as many samples as they are set to, anew at every step; a
    :class:`~netket_qsntk.targets.Target` and other states that can be summed over give ``n_samples`` independent
    draws. ``n_train`` with "target" draws that many once and trains on them (in minibatches of ``batch_size``);
    fresh samples then make ``loss/test``. Logged ``Stats`` carry Monte Carlo errors (for ensembles: over members).

    Args:
        target: A NetKet state (copied as it is now) or a :class:`~netket_qsntk.targets.Target`.
        members: The networks.
        loss: ``"mse"``, ``"infidelity"``, or the objects.
        sampling: See above.
        n_samples: Independent draws a step (1024) from what is not an MCState.
        control_variate: Coefficient c of "both": a number, ``"optimal"`` (estimated) or None.
        seed: Of all draws.
        n_train: Configurations drawn once.

    Example:
        >>> import netket as nk, netket_qsntk as qs, optax
        >>> hi = nk.hilbert.Spin(0.5, 40)
        >>> def state(seed):
        ...     sampler = nk.sampler.MetropolisLocal(hi, n_chains=16)
        ...     return nk.vqs.MCState(sampler, nk.models.RBM(), n_samples=256, seed=seed)
        >>> driver = qs.driver.QSNTKDriver(
        ...     state(0), optax.sgd(0.1), variational_state=state(1), loss="infidelity")
        >>> driver
        QSNTKDriver(step_count=0, loss=Infidelity, sampling='both', state=MCState(...))
        >>> _ = driver.run(3, show_progress=False)
    """

    def __init__(
        self,
        target: PyTree,
        members: Members,
        loss: str | Loss,
        sampling: str | None,
        n_samples: int | None,
        control_variate: float | str | None,
        seed: int,
        n_train: int | None,
    ) -> None:
        self.loss = _loss_name(loss, target)
        if sampling is None:
            sampling = "both" if self.loss == "infidelity" and not members.many else "target"
        _check_sampling(sampling, self.loss, members, n_train)
        if n_samples is not None and not (isinstance(n_samples, Integral) and n_samples >= 2):
            raise InvalidTrainingError(
                f"n_samples={n_samples!r}: expected an integer >= 2, or None."
            )
        if n_train is not None and not (isinstance(n_train, Integral) and n_train >= 2):
            raise InvalidTrainingError(f"n_train={n_train!r}: expected an integer >= 2, or None.")
        self.sampling, self.seed = sampling, seed
        self.n_samples = int(n_samples or _N_SAMPLES)
        self.control_variate = check_control_variate(control_variate)
        self._issued: set[type[Warning]] = set()
        self._basis: tuple[Array, Array] | None = None

    def describe(self) -> tuple[str, ...]:
        """The option ``sampling``."""
        return (f"sampling={self.sampling!r}",)

    def pool(self, target: PyTree, n_train: int | None) -> PyTree:
        """Configurations that are drawn once, with the target's logarithm there; None if they are drawn anew."""
        if n_train is None:
            return None
        x = draw_many(target, n_train, (self.seed, _TRAIN))
        return {"states": x, "log_target": log_values(target, x)}

    def prepare(self, driver: Training, members: Members) -> None:
        """See how the fidelity can be had, and say so where it cannot."""
        hilbert = driver.state.hilbert
        if is_summable(driver.state) and hilbert.n_states <= _SUMMED * self.n_samples:
            x = jnp.asarray(hilbert.all_states())
            logs = log_values(driver.target, x)
            self._basis = x, jnp.exp(logs - jnp.max(logs.real))
        elif not isinstance(driver.state, nk.vqs.MCState):
            alert(
                f"On {hilbert} the fidelity of {type(driver.state).__name__} is neither summed over the basis nor "
                "estimated from samples of ψ: samples of the target alone cannot see what ψ has elsewhere. What they "
                "give is logged as fidelity/on_samples. An nk.vqs.MCState gives samples of its own.",
                PoorOverlapWarning,
            )

    def configurations(self, driver: Training, n: int) -> Array:
        """``n`` configurations (n, sites) of the kind that is trained on."""
        if driver._pool is not None:
            return driver._pool["states"][:n]
        source = driver.state if self.sampling == "state" else driver._sampled_target
        return draw_many(source, n, (self.seed, _TRAIN, driver.step_count))

    def evaluate(self, driver: Training, members: Members) -> Evaluation:
        """The loss of this step, estimated, and the estimated gradient."""
        if self.sampling == "both":
            return self._from_both(driver, members)
        data, chains = self._data_of_step(driver)
        rows = members.rows(len(data.x), data.x.shape[-1])
        options = ((members.computed, members.parameters), members.is_log, driver.loss, rows)
        (values, of_value, infidelity, of_x), gradient = estimates_and_gradients(*options, data)
        loss = _stats(members, values, of_value, chains)
        logged = {}
        if driver.step_count % driver.evaluate_every == 0:
            on_samples = _complement(_stats(members, infidelity, of_x, chains))
            logged = self._fidelity(driver, members, on_samples)
            if driver._pool is not None:
                test, chains = self._fresh(driver, _TEST)
                value, of_value = estimates(*options, test)[:2]
                logged["loss/test"] = _stats(members, value, of_value, chains)
        if driver.batch(driver.step_count) is None:
            logged["loss/train"] = loss
        objective = None
        if members.is_real:
            objective = SampledObjective(members.computed, driver.loss, data, members.is_log, rows)
        return Evaluation(loss, values, gradient, logged, objective)

    def _fidelity(
        self, driver: Training, members: Members, on_samples: nk.stats.Stats
    ) -> dict[str, nk.stats.Stats]:
        if self._basis is not None:
            x, target = self._basis
            found = fidelities_of_values(members.is_log, members.computed_at(x), target)
            return {"fidelity": over_members(found)}
        if not isinstance(driver.state, nk.vqs.MCState):
            return {"fidelity/on_samples": on_samples}
        x, y, chains, target = self._both_samples(driver, _CHECK)
        log_psi = members[0].log_psi, members[0].parameters
        rows = members.rows(len(x), x.shape[-1])
        logs = log_values(target, x), log_values(target, y)
        estimate = estimated_overlap(*log_psi, rows, self.control_variate, x, y, *logs)
        with once(self._issued):
            return {"fidelity": _complement(infidelity_stats(estimate, chains))}

    def _data_of_step(self, driver: Training) -> tuple[Sampled, int]:
        """The weighted configurations to train on, and of how many independent chains they are."""
        if driver._pool is None:
            return self._fresh(driver, _TRAIN)
        x, log_target = driver._pool["states"], driver._pool["log_target"]
        index = driver.batch(driver.step_count)
        if index is not None:
            x, log_target = x[index], log_target[index]
        return Sampled(x, log_target, log_target.real), len(x)

    def _fresh(self, driver: Training, stream: int) -> tuple[Sampled, int]:
        target = driver._sampled_target
        source = driver.state if self.sampling == "state" else target
        drawn = draw(source, self.n_samples, (self.seed, stream, driver.step_count))
        x = flat(drawn)
        log_target = log_values(target, x)
        own = log_target if self.sampling == "target" else log_values(driver.state, x)
        return Sampled(x, log_target, own.real), len(drawn)

    def _both_samples(
        self, driver: Training, stream: int
    ) -> tuple[Array, Array, tuple[int, int], PyTree]:
        """Samples of the state and of the target, the chains of each, and the target."""
        seed, target = (self.seed, driver.step_count), driver._sampled_target
        drawn = [
            draw(source, self.n_samples, (number, *seed))
            for number, source in ((_STATE, driver.state), (stream, target))
        ]
        x, y = (flat(d) for d in drawn)
        return x, y, (len(drawn[0]), len(drawn[1])), target

    def _from_both(self, driver: Training, members: Members) -> Evaluation:
        x, y, chains, target = self._both_samples(driver, _TRAIN)
        one = members[0]
        estimate, gradient = overlap_and_gradient(
            one.log_psi, members.rows(len(x), x.shape[-1]), self.control_variate, one.parameters,
            x, y, log_values(target, x), log_values(target, y),
        )  # fmt: skip
        with once(self._issued):
            loss = infidelity_stats(estimate, chains)
        logged = {"fidelity": _complement(loss), "loss/train": loss}
        stacked = jax.tree.map(lambda leaf: leaf[None], gradient)
        return Evaluation(loss, 1 - estimate.fidelity[None], stacked, logged, None)


def _stats(members: Members, values: Array, influences: Array, chains: int) -> nk.stats.Stats:
    if members.many:
        return over_members(values)
    return nk.stats.statistics((values[0] + influences[0]).reshape(chains, -1))


def _complement(stats: nk.stats.Stats) -> nk.stats.Stats:
    return stats.replace(mean=1 - jnp.real(stats.mean))


def _loss_name(loss: str | Loss, target: Target | nk.vqs.VariationalState) -> str:
    """``"mse"`` or ``"infidelity"``, from the name or from the object."""
    for name, kind in (("mse", MSE), ("infidelity", Infidelity)):
        if isinstance(loss, str) and loss == name:
            return name
        if type(loss) is kind:  # a subclass may be any loss
            if loss.target is not target:
                raise InvalidTrainingError(
                    f"{loss!r} has another target than the driver: expected {target!r}."
                )
            return name
    raise InvalidTrainingError(
        f"loss={loss!r} cannot be sampled: expected 'mse' or 'infidelity'. Others need sampling=None and a basis "
        "that can be summed over; for energies of large systems there is nk.driver.VMC_SR."
    )


def _check_sampling(sampling: str, loss: str, members: Members, n_train: int | None) -> None:
    if sampling not in _MODES:
        raise InvalidTrainingError(f"sampling={sampling!r}: expected one of {_MODES}, or None.")
    if sampling != "target" and members.many:
        raise InvalidTrainingError(
            f"sampling={sampling!r} draws from one network, got an ensemble of {members.n}: use sampling='target', "
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
