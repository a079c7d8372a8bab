"""How objects present themselves: short, and with the shape of an array in the place of its numbers."""

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

__all__ = ["brief", "summary"]


def brief(value: object) -> str:
    """A value in few characters: arrays by dtype and shape, numbers to six digits, functions by name.

    Example:
        >>> import jax.numpy as jnp
        >>> brief((1 / 3, 16)), brief(jnp.tanh), brief(jnp.zeros((3, 4)))
        ('(0.333333, 16)', 'tanh', 'float64(3, 4)')
    """
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        if value.shape or isinstance(value, jax.core.Tracer):
            return f"{value.dtype.name}{tuple(value.shape)}"
        value = value.item()
    if isinstance(value, float):
        text = f"{value:.6g}"
        return text if set(text) & set(".en") else f"{text}.0"
    if type(value) is tuple:
        return f"({', '.join(map(brief, value))}{',' * (len(value) == 1)})"
    return str(value.__name__) if callable(value) and hasattr(value, "__name__") else repr(value)


def summary(thing: Any, names: Iterable[str]) -> str:
    """``Type(name=value, …)`` with these attributes, each in few characters.

    Example:
        >>> from types import SimpleNamespace
        >>> summary(SimpleNamespace(loss=np.zeros(3), error=0.25), ("loss", "error"))
        'SimpleNamespace(loss=float64(3,), error=0.25)'
    """
    return f"{type(thing).__name__}({', '.join(f'{n}={brief(getattr(thing, n))}' for n in names)})"
