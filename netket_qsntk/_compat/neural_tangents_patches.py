"""What neural-tangents looks up in JAX and SciPy at run time, put right on its own modules."""

import contextlib
import functools
import sys
import types
from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.extend.core
from jax.extend import source_info_util
from jax.interpreters import ad

__all__ = ["patch"]

_MARK = "_patched_by_netket_qsntk"


def patch(neural_tangents: Any) -> None:
    """Mend the imported package for this JAX; once, however often it is called.

    Args:
        neural_tangents: The module, version 0.5.0 or 0.6.5.
    """
    if getattr(neural_tangents, _MARK, False):
        return
    source = f"{neural_tangents.__name__}._src"
    empirical = sys.modules[f"{source}.empirical"]
    # 0.6 brought structured derivatives, and with them its dealings with JAX's internals.
    if hasattr(empirical, "_get_primals_out_and_pullback"):
        _patch_names(empirical)
        _patch_structured_derivatives(empirical)
        _patch_flops(empirical)
    _patch_predict(sys.modules[f"{source}.predict"])
    if not hasattr(jax.random, "KeyArray"):
        # An annotation that 0.5.0 evaluates whenever it builds a Monte Carlo kernel.
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


class _DShapedArray:
    """Stands for a removed type: ``type(aval) is DShapedArray`` must be False, not an error."""


def _patch_names(empirical: Any) -> None:
    if not hasattr(jax.core, "DShapedArray"):
        empirical.core = _Overlay(
            jax.core,
            DShapedArray=_DShapedArray,
            Var=jax.extend.core.Var,
            Primitive=jax.extend.core.Primitive,
        )
    if not hasattr(ad, "source_info_util"):
        # `jax_enable_checks` guards a debug assertion that calls a removed function.
        config = types.SimpleNamespace(jax_enable_checks=False)
        empirical.ad = _Overlay(ad, source_info_util=source_info_util, config=config)


def _patch_structured_derivatives(empirical: Any) -> None:
    """Linearise and transpose by JAX's public functions; its internal ones have changed."""

    def get_primals_out_and_pullback(
        fn: Callable[..., Any],
        mode: Any,
        _j_rules: bool,
        _s_rules: bool,
        _fwd: bool | None,
        *primals_in: Any,
    ) -> tuple[Any, Callable[..., Any]]:
        flat, in_tree = jax.tree.flatten(primals_in)

        def flat_fn(*leaves: Any) -> Any:
            return jax.tree.leaves(fn(*jax.tree.unflatten(in_tree, leaves)))

        with jax.disable_jit():
            out, linear = jax.linearize(flat_fn, *flat)
            out_tree = jax.tree.structure(jax.eval_shape(fn, *primals_in))
            closed = jax.make_jaxpr(linear)(*flat)

        def pullback(*cotangents_in: Any) -> Any:
            primals = [empirical.UndefinedPrimal(v.aval) for v in closed.jaxpr.invars]
            cotangents_out = empirical._backward_pass(
                closed.jaxpr,
                mode=mode,
                consts=closed.consts,
                primals_in=primals,
                cotangents_in=tuple(jax.tree.leaves(cotangents_in)),
                _j_rules=_j_rules,
                _s_rules=_s_rules,
                _fwd=_fwd,
            )
            return jax.tree.unflatten(in_tree, cotangents_out)

        return jax.tree.unflatten(out_tree, out), pullback

    def eqn_vjp_fn(eqn: Any, cotangents_in: Any, *invals: Any) -> tuple[Any, ...]:
        if eqn is None:
            return (cotangents_in,)
        out: list[Any] = [None] * len(invals)
        linear = [i for i, v in enumerate(invals) if isinstance(v, empirical.UndefinedPrimal)]
        avals = [invals[i].aval for i in linear]
        if isinstance(cotangents_in, empirical.Zero):
            cotangents = [empirical.Zero(aval) for aval in avals]
        else:

            def bind(*values: Any) -> Any:
                arguments = list(invals)
                for i, value in zip(linear, values, strict=True):
                    arguments[i] = value
                return eqn.primitive.bind(*arguments, **eqn.params)

            shapes = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in avals]
            with jax.disable_jit():
                cotangents = jax.linear_transpose(bind, *shapes)(cotangents_in)
        for i, cotangent in zip(linear, cotangents, strict=True):
            out[i] = cotangent
        return tuple(out)

    empirical._get_primals_out_and_pullback = get_primals_out_and_pullback
    empirical._eqn_vjp_fn = eqn_vjp_fn


def _patch_flops(empirical: Any) -> None:
    """`NtkImplementation.AUTO` compares costs; JAX reports a dict now, not a list of one."""

    def get_flops(f: Callable[..., Any], optimize: bool, *args: Any, **kwargs: Any) -> float:
        lowered: Any = jax.jit(f).lower(*args, **kwargs)
        analysis = lowered.compile().cost_analysis() if optimize else lowered.cost_analysis()
        if isinstance(analysis, (list, tuple)):
            analysis = analysis[0]
        return analysis.get("flops", float("inf"))

    empirical._get_flops = get_flops


def _patch_predict(predict: Any) -> None:
    # max_learning_rate calls eigvalsh(eigvals=), which is subset_by_index= in today's SciPy. 0.6
    # calls the module that holds it sp, 0.5 calls it osp.
    name = "sp" if predict.sp.__name__ == "scipy" else "osp"
    scipy = getattr(predict, name)

    def eigvalsh(a: Any, *args: Any, eigvals: tuple[int, int] | None = None, **kwargs: Any) -> Any:
        if eigvals is not None:
            kwargs["subset_by_index"] = list(eigvals)
        return scipy.linalg.eigvalsh(a, *args, **kwargs)

    setattr(predict, name, _Overlay(scipy, linalg=_Overlay(scipy.linalg, eigvalsh=eigvalsh)))

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
