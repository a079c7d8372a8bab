"""What neural-tangents looks up in JAX and SciPy at run time, put right on its own modules."""

import contextlib
import functools
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.core
from jax import Array

__all__ = ["patch"]

_MARK = "_patched_by_netket_qsntk"


def patch(neural_tangents: Any) -> None:
    """Mend the imported package for this JAX; once, however often it is called.

    Args:
        neural_tangents: The module, version 0.5.0.
    """
    if getattr(neural_tangents, _MARK, False):
        return
    source = f"{neural_tangents.__name__}._src"
    _patch_predict(sys.modules[f"{source}.predict"])
    # An annotation that is evaluated whenever a Monte Carlo kernel is built.
    monte_carlo: Any = sys.modules[f"{source}.monte_carlo"]
    monte_carlo.random = _Overlay(jax.random, KeyArray=jax.Array)
    setattr(neural_tangents, _MARK, True)


class _Overlay:
    """A module with some names replaced, for those who look them up here."""

    def __init__(self, base: Any, **names: Any) -> None:
        self.__dict__.update(names)
        self.__dict__["_base"] = base

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_base"], name)


def _patch_predict(predict: Any) -> None:
    # max_learning_rate calls eigvalsh(eigvals=), which is subset_by_index= in today's SciPy.
    scipy = predict.osp

    def eigvalsh(
        a: Array, *args: Any, eigvals: tuple[int, int] | None = None, **kwargs: Any
    ) -> Any:
        if eigvals is not None:
            kwargs["subset_by_index"] = list(eigvals)
        return scipy.linalg.eigvalsh(a, *args, **kwargs)

    predict.osp = _Overlay(scipy, linalg=_Overlay(scipy.linalg, eigvalsh=eigvalsh))

    # jax.core.eval_context() now hides every outer trace, so that a *traced* kernel inside it
    # raises UnexpectedTracerError. It is there to keep tracers out of cached decompositions; a
    # concrete kernel is all that needs it.
    predict._get_cho_solve = _evaluated_if_concrete(predict._get_cho_solve)
    predict._get_fns_in_eigenbasis = _evaluated_if_concrete(predict._get_fns_in_eigenbasis)
    core = _Overlay(jax.core, eval_context=contextlib.nullcontext)
    predict.jax = _Overlay(jax, core=core)


def _evaluated_if_concrete(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        traced = any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves((args, kwargs)))
        with contextlib.nullcontext() if traced else jax.core.eval_context():
            return function(*args, **kwargs)

    return wrapped
