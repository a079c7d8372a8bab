"""Compiled loops that XLA calls by address: registered, tried, and left alone where anything of it fails."""

import logging
from collections.abc import Callable
from typing import Protocol

import jax

_LOGGER = logging.getLogger(__name__)


class Handler(Protocol):
    """A C function compiled by numba."""

    @property
    def ctypes(self) -> object:
        """It, as ctypes knows it."""


def is_usable(what: str, load: Callable[[], dict[str, Handler]], trial: Callable[[], bool]) -> bool:
    """Whether foreign functions load, register, and compute what they should.

    Args:
        what: Their work, for the log.
        load: Gives them by their target names; the import that compiles them.
        trial: A small problem on the CPU, outside whatever is being traced: whether it came out right.
    """
    try:
        for target, handler in load().items():
            jax.ffi.register_ffi_target(
                target, jax.ffi.pycapsule(handler.ctypes), platform="cpu", api_version=1
            )
        with (
            jax.ensure_compile_time_eval(),
            jax.default_device(jax.local_devices(backend="cpu")[0]),
        ):
            return trial()
    except Exception as error:
        # Nothing here is worth failing for: XLA's operations compute the same numbers.
        _LOGGER.info("No compiled %s, XLA's operations are used: %s", what, error)
        return False
