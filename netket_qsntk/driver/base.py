"""What the three drivers share: the target, its split, the names of what is logged."""

from numbers import Integral
from typing import Any, cast

import jax
import netket as nk
import numpy as np
import optax
from jax import Array
from netket.utils import struct

from netket_qsntk.errors import HilbertMismatchError, InvalidTrainingError
from netket_qsntk.losses import MSE, Energy, Infidelity, Loss
from netket_qsntk.targets import Dataset, Target, check_summable

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
        optimizer: An optax optimiser. The ``params`` it sees are the displacements from the initial parameters:
            weight decay pulls toward the initial networks, in all three drivers.
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

    Attributes:
        train, test: The :class:`~netket_qsntk.targets.Dataset` of the split; together the whole basis.
    """

    target: Target | None = struct.field(pytree_node=False, serialize=False)
    loss: Loss = struct.field(pytree_node=False, serialize=False)
    train: Dataset = struct.field(pytree_node=False, serialize=False)
    test: Dataset = struct.field(pytree_node=False, serialize=False)
    batch_size: int | None = struct.field(pytree_node=False, serialize=False)
    trainable: str = struct.field(pytree_node=False, serialize=False)
    evaluate_every: int = struct.field(pytree_node=False, serialize=False)
    _indices: Any = struct.field(pytree_node=False, serialize=False)
    _batch_key: Any = struct.field(pytree_node=False, serialize=False)

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

    def _own_target(self, target: Target | nk.vqs.VariationalState) -> Any:
        """What this driver trains toward, made from what it was given."""
        return target if isinstance(target, Target) else Target.from_state(target)

    def _set_training_set(self, target: Any, n_train: int | None, seed: int) -> int:
        """Set ``train`` and ``test``; the size of the training set."""
        n_train = target.hilbert.n_states if n_train is None else n_train
        self.train, self.test = target.split(n_train, seed)
        self._indices = target.split_indices(n_train, seed)
        return n_train

    def _take_whole_basis(self, hilbert: Any, n_train: int | None) -> int:
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


def target_and_loss(first: Any, loss: Any = "mse") -> tuple[Any, Any]:
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
