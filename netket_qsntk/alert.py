"""Warnings that point at the user's line, and come once for each cause."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType

__all__ = ["alert", "once"]

# Frames of these packages are never the line that a user can change.
_LIBRARIES = {"netket_qsntk", "netket", "jax", "flax", "equinox", "plum", "functools", "contextlib"}

_issued: ContextVar[tuple[set[type[Warning]], ...]] = ContextVar("issued", default=())


def alert(message: str, category: type[Warning]) -> None:
    """Warn, from the line of the user's that led here.

    Args:
        message: What is wrong, and what to do.
        category: A class of :mod:`netket_qsntk.errors`. Inside :func:`once` only its first warning is issued.

    Example:
        >>> import warnings
        >>> from netket_qsntk.alert import alert
        >>> from netket_qsntk.errors import NotConvergedWarning
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     alert("too few steps", NotConvergedWarning)
        >>> caught[0].category.__name__
        'NotConvergedWarning'
    """
    blocks = _issued.get()
    if any(category in issued for issued in blocks):
        return
    for issued in blocks:
        issued.add(category)
    warnings.warn(message, category, stacklevel=_level())


@contextmanager
def once(issued: set[type[Warning]] | None = None) -> Iterator[None]:
    """Of each category one warning in this block: many draws, or steps, have one cause.

    Args:
        issued: Categories issued before; an object that keeps this set warns once in its life.
    """
    token = _issued.set((*_issued.get(), set() if issued is None else issued))
    try:
        yield
    finally:
        _issued.reset(token)


def _level() -> int:
    """Frames between :func:`alert` and the first one that belongs to no library."""
    frame, level = sys._getframe(2), 2
    while frame.f_back is not None and _package(frame) in _LIBRARIES:
        frame, level = frame.f_back, level + 1
    return level


def _package(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
