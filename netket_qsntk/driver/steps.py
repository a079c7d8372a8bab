"""One step of an optax optimiser on one network, or on each member of an ensemble by itself.

What an optimiser sees as ``params`` are the parameters, as in a loop written by hand. One that reads them for weight
decay sees the displacement from the initial parameters, as in the closed forms: its decay pulls toward the initial
network, and the curves agree.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.flatten_util import ravel_pytree
from netket.utils.types import PyTree

from netket_qsntk.driver.gradient import Objective
from netket_qsntk.driver.importance import SampledObjective
from netket_qsntk.errors import InvalidTrainingError, NonFiniteError
from netket_qsntk.wavefunction import Psi

# Steps of the trial, more where nothing moves (a schedule may begin with zeros, gradients may be collected first).
_TRIED = (3, 30, 130)
# Its parameters, next to gradients of order 1.
_SCALES = (0.01, 0.1)


class Known(NamedTuple):
    """What an optimiser may ask for, as optax names it.

    Attributes:
        values: ``value``, of every member.
        gradient: ``grad``, in the form of the state.
        objective: ``value_fn``, its network stacked over members; None where there is none.
    """

    values: Array
    gradient: PyTree
    objective: Objective | SampledObjective | None


def decays_toward_start(optimizer: optax.GradientTransformation, like: PyTree) -> bool:
    """Whether the optimiser reads the parameters as a decay does, so that it is given displacements.

    fromage, lars, lamb and adafactor take steps in proportion to the norm of the parameters: the part of their update
    that is even in the parameters grows with them. That of a decay does not.

    Args:
        optimizer: The optax transformation.
        like: Parameters of one network, whose names and ranks it may look at.
    """
    zero = jax.tree.map(lambda p: jnp.zeros(tuple(min(2, n) for n in p.shape), p.dtype), like)
    flat, unravel = ravel_pytree(zero)
    rng = np.random.default_rng(0)
    gradient, place = (unravel(jnp.asarray(rng.normal(size=flat.size), flat.dtype)) for _ in "gp")

    def moved(position: PyTree | None, steps: int) -> Array:
        state, total = optimizer.init(zero), jnp.zeros_like(flat)
        for _ in range(steps):
            update, state = make(gradient, state, position)
            total = total + ravel_pytree(update)[0]
        return total

    make = optimizer.update
    try:
        moved(None, _TRIED[0])
        return False  # it does not read them
    except Exception:
        pass
    try:
        for steps in _TRIED:
            even, size = [], 0.0
            for scale in _SCALES:
                here = [jax.tree.map(lambda p, s=s * scale: s * p, place) for s in (1, -1)]
                sides = [moved(position, steps) for position in here]
                even.append(float(jnp.linalg.norm(sides[0] + sides[1])))
                size = float(jnp.linalg.norm(sides[0]))
            if size > 0:
                break
            make = jax.jit(optimizer.update)  # for many steps
    except Exception:  # it wants more than parameters
        return False
    grows = even[1] > 3 * even[0] and even[1] > 1e-6 * size
    return not grows


def initial_state(
    optimizer: optax.GradientTransformation, parameters: PyTree, many: bool
) -> PyTree:
    """The optimiser's state; of each member its own, so that norms and counters are those of one network."""
    return jax.vmap(optimizer.init)(parameters) if many else optimizer.init(parameters)


def step(
    optimizer: optax.GradientTransformation,
    many: bool,
    direction: PyTree,
    state: PyTree,
    parameters: PyTree,
    anchor: PyTree | None,
    known: Known,
) -> tuple[PyTree, PyTree]:
    """(parameters, optimiser state) after one step.

    Args:
        optimizer: The optax transformation.
        many: Whether everything is stacked over members.
        direction: What it is given: the gradient, or what a preconditioner made of it.
        state: The optimiser's.
        parameters: Of the networks.
        anchor: What displacements are counted from; None gives it the parameters themselves.
        known: What it may ask for besides.

    Raises:
        NonFiniteError: The direction has numbers that are infinite or none.
        InvalidTrainingError: It asks for what this training does not have.
    """
    if not bool(_all_finite(direction)):
        raise NonFiniteError(
            "The gradient has entries that are infinite or no numbers; the parameters are those before this step. "
            "Usual causes: ψ beyond the range of exp (a loss that does not depend on the norm, loss='infidelity', "
            "takes any), an amplitude that is exactly zero in a network of log ψ, or a learning rate beyond the "
            "stability limit."
        )
    update = optax.with_extra_args_support(optimizer).update
    try:
        return _step(update, many, direction, state, parameters, anchor, *known)
    except TypeError as error:
        if "keyword-only argument" not in str(error):
            raise
        why = ""
        if known.objective is None:
            why = " The last is there for networks of real parameters, on samples of one distribution or none."
        raise InvalidTrainingError(
            f"The optimiser asks for something that this training cannot give ({error}). Given are value, grad and "
            f"value_fn, as optax names them.{why}"
        ) from error


@partial(jax.jit, static_argnums=(0, 1))
def _step(
    update: Callable[..., tuple[PyTree, PyTree]],
    many: bool,
    direction: PyTree,
    state: PyTree,
    parameters: PyTree,
    anchor: PyTree | None,
    values: Array,
    gradient: PyTree,
    objective: Objective | SampledObjective | None,
) -> tuple[PyTree, PyTree]:
    def one(
        direction: PyTree,
        state: PyTree,
        parameters: PyTree,
        anchor: PyTree,
        value: Array,
        gradient: PyTree,
        function: Psi | None,
    ) -> tuple[PyTree, PyTree]:
        seen = parameters if anchor is None else jax.tree.map(jnp.subtract, parameters, anchor)
        asked = {"value": value, "grad": gradient}
        if objective is not None:
            own = replace(objective, function=cast(Psi, function))

            def value_fn(seen: PyTree) -> Array:
                return own(seen if anchor is None else jax.tree.map(jnp.add, seen, anchor))

            asked["value_fn"] = value_fn
        updates, state = update(direction, state, seen, **asked)
        return optax.apply_updates(parameters, updates), state

    function = None if objective is None else objective.function
    whole = direction, state, parameters, anchor, values, gradient, function
    if many:
        return jax.vmap(one)(*whole)
    return one(*whole[:4], values[0], gradient, jax.tree.map(lambda leaf: leaf[0], function))


@jax.jit
def _all_finite(tree: PyTree) -> Array:
    return jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]).all()
