"""How far an integration by diffrax is, told to a progress bar on the host."""

from collections.abc import Iterator
from contextlib import contextmanager

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from tqdm import tqdm

# Bars by number: a compiled integration knows its bar by the number it is given, and is compiled once for all.
_bars: dict[int, tqdm] = {}


class _Meter(eqx.Module):
    """What diffrax asks of a progress meter; no subclass of its own, whose import takes as long as all of ours."""

    number: Array

    def init(self) -> Array:
        """Whole per cent that were told."""
        return jnp.zeros((), jnp.int32)

    def step(self, state: Array, progress: Array) -> Array:
        """Tell the bar of every per cent that is new."""
        percent = jnp.asarray(100 * progress).astype(jnp.int32)

        def tell(_: None) -> None:
            jax.debug.callback(_advance, self.number, percent - state)

        jax.lax.cond(percent > state, tell, lambda _: None, None)
        return jnp.maximum(state, percent)

    def close(self, state: Array) -> None:
        """Nothing is left to tell."""


def _advance(number: ArrayLike, percent: ArrayLike) -> None:
    bar = _bars.get(int(np.asarray(number)))
    if bar is not None:
        bar.update(int(np.asarray(percent)))


@contextmanager
def following(bar: tqdm) -> Iterator[eqx.Module]:
    """A progress meter for ``diffrax.diffeqsolve`` that moves the bar by 100 in all."""
    number = max(_bars, default=0) + 1
    _bars[number] = bar
    try:
        yield _Meter(jnp.asarray(number))
        jax.effects_barrier()
    finally:
        del _bars[number]
