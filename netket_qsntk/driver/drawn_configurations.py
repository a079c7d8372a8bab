"""Configurations drawn from |f|² of whatever holds a wave function f, and log f at any configuration."""

import copy
from typing import TypeAlias

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from jax import Array

from netket_qsntk.errors import InvalidTrainingError
from netket_qsntk.losses import Loss
from netket_qsntk.targets import Target, check_summable
from netket_qsntk.targets.basis import MAX_STATES

Source: TypeAlias = Target | nk.vqs.VariationalState
"""What configurations are drawn from."""


def is_summable(
    source: Target | Loss | nk.vqs.VariationalState | nk.operator.AbstractOperator,
) -> bool:
    """Whether the whole basis of what the source lives on can be summed over."""
    if isinstance(source, Target | Loss) and source.hilbert is None:
        return True
    hilbert = source.hilbert
    return hilbert.is_indexable and hilbert.n_states <= MAX_STATES


def snapshot(source: Source) -> Source:
    """The source as it is now: later changes of its parameters do not reach the copy.

    Raises:
        InvalidTrainingError: It is neither a target nor a state of one wave function.
    """
    if isinstance(source, Target):
        return source
    if not isinstance(source, nk.vqs.MCState | nk.vqs.FullSumState):
        raise InvalidTrainingError(
            f"Cannot draw samples from {type(source).__name__}: expected a qs.targets.Target, or a NetKet state of "
            "one wave function such as nk.vqs.MCState or nk.vqs.FullSumState."
        )
    return copy.copy(source)  # arrays are immutable, so that sharing them is safe


def decorrelate(source: Source, other: Source) -> None:
    """Give a copied MCState random numbers of its own, if it would draw with the very ones of another.

    Two states made with one seed and one sampler draw correlated samples, and averages over both would not factorise.
    """
    if not (isinstance(source, nk.vqs.MCState) and isinstance(other, nk.vqs.MCState)):
        return
    key, taken = source.sampler_state.rng, other.sampler_state.rng
    if np.array_equal(jax.random.key_data(key), jax.random.key_data(taken)):
        source.sampler_state = source.sampler_state.replace(rng=jax.random.fold_in(key, 1))


def draw(source: Source, n_samples: int, seed: tuple[int, ...]) -> Array:
    """Configurations (chains, length, sites) drawn from |f|².

    An MCState draws with its own sampler as many as it is set to. All others are summed over, and give
    ``n_samples`` independent draws, which depend on the seed alone: as many chains of length 1.
    """
    if isinstance(source, nk.vqs.MCState):
        return source.samples
    check_summable(source.hilbert, task=f"Drawing from {type(source).__name__}")
    amplitudes = source.amplitudes if isinstance(source, Target) else source.to_array()
    cumulative = np.cumsum(np.abs(np.asarray(amplitudes)) ** 2)
    uniform = np.random.default_rng(seed).random(n_samples) * cumulative[-1]
    numbers = np.searchsorted(cumulative, uniform, side="right")
    return jnp.asarray(source.hilbert.numbers_to_states(numbers))[:, None]


def draw_many(source: Source, n: int, seed: tuple[int, ...]) -> Array:
    """Exactly ``n`` configurations (n, sites), from as many rounds of an MCState's sampler as it takes."""
    drawn: list[Array] = []
    while sum(map(len, drawn)) < n:
        if drawn and not isinstance(source, Target):
            source.reset()
        drawn.append(flat(draw(source, n, seed)))
    return jnp.concatenate(drawn)[:n]


def flat(x: Array) -> Array:
    """(chains, length, sites) -> (n, sites)."""
    return x.reshape(-1, x.shape[-1])


def log_values(source: Source, x: Array) -> Array:
    """log f at configurations x (n, sites): (n,) complex; -inf where f = 0."""
    if isinstance(source, Target):
        numbers = np.asarray(source.hilbert.states_to_numbers(np.asarray(x)))
        return jnp.log(jnp.asarray(source.amplitudes[numbers]))
    return source.log_value(x) + 0j
