"""Progress bars of long computations, as NetKet's drivers show them.

Whatever can take more than a few seconds has an option ``show_progress``: functions in the call, objects where they
are made. It holds for all that is called from there (:func:`showing`), and is not handed on. A bar appears once a
job has run for five seconds, so that short ones stay silent, and on the first process alone. One call of LAPACK or
SciPy that takes long cannot tell how far it is.
"""

from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import jax
from tqdm.auto import tqdm

__all__ = ["bar", "showing", "track"]

Item = TypeVar("Item")

DELAY = 5.0
"""Seconds before a bar appears."""


_shown: ContextVar[bool] = ContextVar("shown", default=True)


@contextmanager
def showing(show: bool) -> Iterator[None]:
    """Whether bars appear in this block; once switched off, nothing inside switches them on.

    Example:
        >>> from netket_qsntk.progress import showing, track
        >>> with showing(False):
        ...     sum(track([1, 2, 3], "adding"))
        6
    """
    token = _shown.set(show and _shown.get())
    try:
        yield
    finally:
        _shown.reset(token)


def bar(total: float | None, what: str, *, show: bool = True, unit: str = "it") -> Any:
    """A bar to be told, by ``update(n)``: a context manager.

    Args:
        total: Where it ends; None if nobody knows.
        what: What is being computed, in front of the bar.
        show: Whether to show anything.
        unit: What is counted.

    Example:
        >>> from netket_qsntk.progress import bar
        >>> with bar(3, "adding", unit="number") as done:
        ...     _ = done.update(3)
    """
    return tqdm(
        desc=what,
        total=total,
        unit=unit,
        # Another process would write over the first one's line.
        disable=not (show and _shown.get() and jax.process_index() == 0),
        delay=DELAY,
        dynamic_ncols=True,
        leave=None,  # the outermost bar stays
    )


def track(
    items: Iterable[Item],
    what: str,
    *,
    total: int | None = None,
    show: bool = True,
    unit: str = "it",
) -> Iterator[Item]:
    """The items, with a bar that counts those done.

    Args:
        items: What is gone through.
        what: As for :func:`bar`.
        total: Their number; None takes their length.
        show: As for :func:`bar`.
        unit: What an item is.

    Example:
        >>> from netket_qsntk.progress import track
        >>> sum(track([1, 2, 3], "adding"))
        6
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with bar(total, what, show=show, unit=unit) as done:
        for item in items:
            yield item
            done.update()
