"""Integration of natural-gradient flows in continuous time."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from netket.utils.types import PyTree

from netket_qsntk.dynamics import natural_gradient_step as steps
from netket_qsntk.dynamics.natural_gradient_step import Problem


def integrate(problem: Problem, f: Array, times: np.ndarray, shift: Array, rate: Array) -> Array:
    """f (n,) or (members, n) at increasing times: (times, …), by Dormand and Prince's method of order 8."""
    # Late: half a second that only a flow needs.
    import diffrax

    if f.ndim == 2:
        return jnp.stack([integrate(problem, one, times, shift, rate) for one in f], axis=1)
    if times[-1] == 0:
        return jnp.broadcast_to(f, (len(times), *f.shape))
    tolerance = float(problem.tolerance)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(_velocity),
        diffrax.Dopri8(),
        t0=0.0,
        t1=float(times[-1]),
        dt0=None,
        y0=jnp.stack([f.real, f.imag]) if jnp.iscomplexobj(f) else f[None],
        args=_without_complex((problem, shift, rate)),
        saveat=diffrax.SaveAt(ts=jnp.asarray(times)),
        stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
        max_steps=None,
    )
    ys = solution.ys
    return jax.lax.complex(ys[:, 0], ys[:, 1]) if ys.shape[1] == 2 else ys[:, 0]


class _Parts(eqx.Module):
    """A complex array as two real ones: diffrax warns of complex numbers wherever they are."""

    real: Array
    imag: Array


def _without_complex(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: _Parts(x.real, x.imag) if jnp.iscomplexobj(x) else x, tree)


def _with_complex(tree: PyTree) -> PyTree:
    return jax.tree.map(
        lambda x: jax.lax.complex(x.real, x.imag) if isinstance(x, _Parts) else x,
        tree,
        is_leaf=lambda x: isinstance(x, _Parts),
    )


def _velocity(t: ArrayLike, y: Array, args: Any) -> Array:
    problem, shift, rate = _with_complex(args)
    f = jax.lax.complex(y[0], y[1]) if len(y) == 2 else y[0]
    v = rate * steps.velocity(problem, f, shift)
    return jnp.stack([v.real, v.imag]) if len(y) == 2 else v[None]
