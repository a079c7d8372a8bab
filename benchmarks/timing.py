"""Timing that two contestants share: the same repetitions in turn, the best of each."""

import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import jax


def best(*contestants: Callable[[], Any], repetitions: int = 3) -> list[float]:
    """Best wall-clock seconds of each function, run in turn after one warm-up each."""
    times = [float("inf")] * len(contestants)
    for function in contestants:
        jax.block_until_ready(function())
    for _ in range(repetitions):
        for i, function in enumerate(contestants):
            start = time.perf_counter()
            jax.block_until_ready(function())
            times[i] = min(times[i], time.perf_counter() - start)
    return times


def once(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and result of one call."""
    start = time.perf_counter()
    result = jax.block_until_ready(function())
    return time.perf_counter() - start, result


def machine() -> str:
    """One line for the head of a table: processor, devices, versions."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("netket", "jax", "numpy"))
    return f"{platform.machine()}, {jax.devices()}, Python {platform.python_version()}, {packages}"
