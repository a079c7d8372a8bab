"""What the three drivers share: the target, its split, the names of what is logged."""

import zlib
from collections.abc import Mapping
from numbers import Integral
from typing import cast

import jax
import netket as nk
import numpy as np
import optax
from jax import Array
from jax.typing import ArrayLike
from netket.utils import struct
from netket.utils.types import PyTree

from netket_qsntk._compat.netket_drivers import refuse_chunk_tuning
from netket_qsntk._compat.signatures import ConstructorSignature
from netket_qsntk.alert import alert, once
from netket_qsntk.errors import HilbertMismatchError, InvalidTrainingError, NotANumberWarning
from netket_qsntk.losses import MSE, Energy, Infidelity, Loss
from netket_qsntk.targets import Dataset, Target, check_summable
from netket_qsntk.vqs.checkpoint import Setting
from netket_qsntk.vqs.members import HasMembers

_LOSSES = {"mse": MSE, "infidelity": Infidelity}


class SupervisedDriver(nk.driver.AbstractOptimizationDriver):
    """Base of the drivers: one constructor, one ``run``, one set of logged keys.

    At step t, after t updates, every driver logs ``Loss`` (the training loss), ``loss/train``, ``loss/test`` and
    ``fidelity`` (with the target) as NetKet ``Stats``: mean and standard error over the members of an ensemble.
    ``loss/test`` is left out when the training set is the whole basis.

    Args:
        target: A :class:`~netket_qsntk.targets.Target`, or any NetKet state, taken as it is now. Instead, what to
            minimise: a Hermitian operator (its energy), or an object of :mod:`netket_qsntk.losses`. Energies and
            tomography know no target: ``target`` is then None, ``fidelity`` is not logged, and the amplitudes in
            ``train`` are zeros.
        optimizer: An optax optimiser. Weight decay pulls toward the initial networks, in all drivers: the ``params``
            it sees are displacements from the initial parameters. Optimisers that scale their steps by the norm of
            the parameters (fromage, lars, lamb, adafactor) see those of finite networks themselves.
        variational_state: The state to train, on the target's Hilbert space.
        n_train: Size of the training set, drawn from the basis; None is the whole basis.
        seed: Of the training split and of minibatches.
        loss: ``"mse"``, ``"infidelity"``, or an object of :mod:`netket_qsntk.losses`; energies and tomography
            need the whole basis (``n_train=None``), and a target is then for the fidelity alone.
        batch_size: Configurations in a minibatch; None is the whole training set. Every epoch goes through the
            training set in a new order; a last incomplete batch is left out.
        trainable: ``"all"`` parameters, or the ``"readout"`` layer alone.
        evaluate_every: Log ``loss/test`` and ``fidelity`` every so many steps: finite networks need another
            pass over the rest of the basis for them.

    A checkpoint of another size, split or model is refused (:class:`~netket_qsntk.errors.CheckpointError`). What is
    logged and is no number is warned of (:class:`~netket_qsntk.errors.NotANumberWarning`).

    Attributes:
        train, test: The :class:`~netket_qsntk.targets.Dataset` of the split; together the whole basis.
    """

    __signature__ = ConstructorSignature(passed_on=True)

    target: Target | None = struct.field(pytree_node=False, serialize=False)
    loss: Loss = struct.field(pytree_node=False, serialize=False)
    train: Dataset = struct.field(pytree_node=False, serialize=False)
    test: Dataset = struct.field(pytree_node=False, serialize=False)
    batch_size: int | None = struct.field(pytree_node=False, serialize=False)
    trainable: str = struct.field(pytree_node=False, serialize=False)
    evaluate_every: int = struct.field(pytree_node=False, serialize=False)
    _indices: PyTree = struct.field(pytree_node=False, serialize=False)
    _batch_key: Array = struct.field(pytree_node=False, serialize=False)
    _setting: Setting = struct.field(pytree_node=False, serialize=True)
    _warned: set[type[Warning]] = struct.field(pytree_node=False, serialize=False)

    def __init__(
        self,
        target: Target | nk.vqs.VariationalState | nk.operator.AbstractOperator | Loss,
        optimizer: optax.GradientTransformation,
        *,
        variational_state: nk.vqs.VariationalState,
        n_train: int | None = None,
        seed: int = 0,
        loss: str | Loss = "mse",
        batch_size: int | None = None,
        trainable: str = "all",
        evaluate_every: int = 1,
    ) -> None:
        goal, minimised = target_and_loss(target, loss)
        target = None if goal is None else self._own_target(goal)
        hilbert = minimised.hilbert if target is None else target.hilbert
        if hilbert != variational_state.hilbert:
            raise HilbertMismatchError(
                f"The target lives on {hilbert}, the state on {variational_state.hilbert}. Build both on "
                "the same Hilbert space."
            )
        if trainable not in ("all", "readout"):
            raise InvalidTrainingError(f"trainable={trainable!r}: expected 'all' or 'readout'.")
        if not (isinstance(evaluate_every, Integral) and evaluate_every >= 1):
            raise InvalidTrainingError(
                f"evaluate_every={evaluate_every!r}: expected an integer >= 1."
            )
        if target is None:
            size = self._take_whole_basis(hilbert, n_train)
        else:
            size = self._set_training_set(target, n_train, seed)
        whole = batch_size is None or batch_size == size
        if not whole and not (isinstance(batch_size, Integral) and 1 <= batch_size <= size):
            raise InvalidTrainingError(
                f"batch_size={batch_size!r}: expected an integer from 1 to n_train={size}, or None."
            )
        super().__init__(variational_state, optimizer, minimized_quantity_name="Loss")
        self.target = target
        self.loss = make_loss(minimised, target)
        self.batch_size = None if whole else batch_size
        if self.loss.whole_basis and (len(self.test) or self.batch_size):
            raise InvalidTrainingError(
                f"{type(self.loss).__name__} sums over the whole basis, got n_train={size} of "
                f"{hilbert.n_states} and batch_size={batch_size}. Use n_train=None, batch_size=None."
            )
        self.trainable = trainable
        self.evaluate_every = evaluate_every
        self._batch_key = jax.random.key(seed)
        self._warned = set()
        split = b"" if self._indices is None else np.asarray(self._indices[0], np.int64).tobytes()
        self._setting = Setting(
            n_train=int(self.n_train),
            split=zlib.crc32(split),
            n_members=self.state.members().n if isinstance(self.state, HasMembers) else 1,
            n_parameters=int(self.state.n_parameters),
        )

    def _own_target(self, target: Target | nk.vqs.VariationalState) -> PyTree:
        """What this driver trains toward, made from what it was given."""
        return target if isinstance(target, Target) else Target.from_state(target)

    def _set_training_set(self, target: PyTree, n_train: int | None, seed: int) -> int:
        """Set ``train`` and ``test``; the size of the training set."""
        n_train = target.hilbert.n_states if n_train is None else n_train
        self.train, self.test = target.split(n_train, seed)
        self._indices = target.split_indices(n_train, seed)
        return n_train

    def _take_whole_basis(self, hilbert: PyTree, n_train: int | None) -> int:
        """The training set of a loss without a target; its size."""
        n = check_summable(hilbert, task="Training")
        if n_train not in (None, n):
            raise InvalidTrainingError(
                f"A loss without a target is for the whole basis, got n_train={n_train} of {n}. Use n_train=None."
            )
        states = np.asarray(hilbert.all_states())
        self.train, self.test = Dataset(states, np.zeros(n)), Dataset(states[:0], np.zeros(0))
        self._indices = np.arange(n), np.arange(0)
        return n

    @property
    def n_train(self) -> int:
        """Size of the training set."""
        return len(self.train)

    def _summary(self, *what: str) -> str:
        """For ``repr``; NetKet's states take many lines for theirs."""
        state = repr(self.state)
        if "\n" in state:
            kind, model = (type(t).__name__ for t in (self.state, self.state.model))
            state = f"{kind}({self.state.hilbert}, {model}, n_parameters={self.state.n_parameters})"
        facts = ", ".join((f"step_count={self.step_count}", *what, f"state={state}"))
        return f"{type(self).__name__}({facts})"

    def reset_step(self, hard: bool = False) -> None:
        """Nothing is sampled."""

    def warn_of_no_numbers(self, logged: Mapping[str, nk.stats.Stats | ArrayLike]) -> None:
        """Warn, once in a driver's life, if something logged is no number."""
        numbers = {
            key: value.mean if isinstance(value, nk.stats.Stats) else value
            for key, value in logged.items()
        }
        bad = [key for key, value in numbers.items() if np.isnan(np.asarray(value)).any()]
        if bad:
            with once(self._warned):
                alert(
                    f"At step {self.step_count} {', '.join(bad)}: not a number. ψ is zero or beyond floating point "
                    "on what it was evaluated on, or the samples carry no weight.",
                    NotANumberWarning,
                )

    def batch(self, step: int) -> Array | None:
        """Indices into the training set of the minibatch of a step, or None for the whole set.

        Depends on the seed and the step only, so that a resumed run and another driver see the same batches.
        """
        if self.batch_size is None:
            return None
        per_epoch = self.n_train // self.batch_size
        epoch, place = divmod(step, per_epoch)
        order = jax.random.permutation(jax.random.fold_in(self._batch_key, epoch), self.n_train)
        return order[place * self.batch_size : (place + 1) * self.batch_size]


def target_and_loss(first: PyTree, loss: PyTree = "mse") -> tuple[PyTree, PyTree]:
    """The target (or None) and the loss, from a driver's first argument and its option ``loss``.

    Raises:
        InvalidTrainingError: The first argument is a loss or an operator, and another loss is given.
    """
    if isinstance(first, nk.operator.AbstractOperator):
        first = Energy(first)
    if not isinstance(first, Loss):
        return first, loss
    if not (loss is first or (isinstance(loss, str) and loss == "mse")):
        raise InvalidTrainingError(
            f"The first argument says to minimise {first!r}, and loss={loss!r} something else: give the target "
            "first and loss=…, or the loss alone."
        )
    return first.target, first


def make_loss(loss: str | Loss, target: Target | None) -> Loss:
    """A loss from its name, or the loss itself if it belongs to this target."""
    if target is None:
        return cast(Loss, loss)  # what came without a target is a loss
    if isinstance(loss, Loss) and loss.whole_basis:
        if loss.hilbert != target.hilbert:
            raise HilbertMismatchError(
                f"{loss!r} lives on {loss.hilbert}, the target on {target.hilbert}. Build both on the same "
                "Hilbert space."
            )
        return loss
    if isinstance(loss, Loss):
        same = loss.target is target or (
            isinstance(loss.target, Target)
            and np.array_equal(loss.target.amplitudes, target.amplitudes)
        )
        if not same:
            raise InvalidTrainingError(
                f"{loss!r} has another target than the driver: expected {target!r}."
            )
        return loss
    if not isinstance(loss, str) or loss not in _LOSSES:
        raise InvalidTrainingError(
            f"loss={loss!r}: expected one of {tuple(_LOSSES)}, or an object of qs.losses."
        )
    return _LOSSES[loss](target)


@refuse_chunk_tuning(SupervisedDriver)
def _no_chunk_tuning(driver: SupervisedDriver) -> None:
    raise InvalidTrainingError(
        f"AutoChunkSize measures the expectation value of an operator, which {type(driver).__name__} does not "
        "estimate. Leave the callback out: chunks are chosen to fit the cache, or set chunk_size of the state."
    )
