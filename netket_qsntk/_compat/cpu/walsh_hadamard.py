"""The Walsh-Hadamard transform as compiled code that XLA calls on the CPU.

XLA's own operations run each of the log₂ n passes over the whole vector and read it several times in each: 6 to
7 ms for 2²⁰ float64 on one core whose copy takes 0.27 ms. A loop that keeps blocks in cache takes under 2 ms. Numba,
which NetKet brings, compiles that loop, and XLA's foreign function interface calls it by address, inside jitted
code, without Python. The interface is a C structure of fixed layout (``jax.ffi.include_dir()``,
xla/ffi/api/c_api.h), and XLA checks the version it is written for at registration. Where anything of this is
missing, :func:`available` is False and the transform falls back to XLA's operations.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from netket_qsntk._compat.cpu.foreign import Handler, is_usable
from netket_qsntk._compat.cpu.switch import compiled

_TARGETS = {"float64": "qsntk_walsh_hadamard_f64", "float32": "qsntk_walsh_hadamard_f32"}


@cache
def available() -> bool:
    """Whether the compiled transform can be used in this process; compiles and registers it at the first call."""
    if not compiled():
        return False
    return is_usable("Walsh-Hadamard transform", _handlers, _is_right)


def _handlers() -> dict[str, Handler]:
    from netket_qsntk._compat.cpu.walsh_hadamard_loops import HANDLERS

    return {_TARGETS[name]: handler for name, handler in HANDLERS.items()}


def _is_right() -> bool:
    found = [_call(jnp.arange(8, dtype=name)) for name in _TARGETS if name in _dtypes()]
    return all(np.array_equal(t, [28, -4, -8, 0, -16, 0, 0, 0]) for t in found)


def _dtypes() -> tuple[str, ...]:
    return ("float64", "float32") if jax.config.read("jax_enable_x64") else ("float32",)


def _call(x: Array) -> Array:
    call = jax.ffi.ffi_call(
        _TARGETS[x.dtype.name],
        jax.ShapeDtypeStruct(x.shape, x.dtype),
        vmap_method="broadcast_all",
    )
    return call(x)


def transform(x: Array) -> Array:
    """Unnormalised transform along the last axis, of length 2^d >= 8, float32 or float64, on the CPU."""

    # A foreign call has no derivative. As the solution y of (H/n) y = x, which H x is, JAX knows how y depends on
    # x: forwards, backwards and under vmap.
    def scaled(y: Array) -> Array:
        return _call(y) / y.shape[-1]

    def solve(_: object, x: Array) -> Array:
        return _call(x)

    return jax.lax.custom_linear_solve(scaled, x, solve, symmetric=True)
