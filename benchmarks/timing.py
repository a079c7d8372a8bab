"""Timing that two contestants share: the same repetitions in turn, the best of each."""

import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import jax


def best(*contestants: Callable[[], Any], repetitions: int = 3) -> list[float]:
    """Best wall-clock seconds of each function, run in turn after one warm-up each."""
    return [clock for clock, _ in best_of_both(*contestants, repetitions=repetitions)]


def best_of_both(
    *contestants: Callable[[], Any], repetitions: int = 3
) -> list[tuple[float, float]]:
    """Best wall-clock and best processor seconds of each function, run in turn after one warm-up each."""
    times = [(float("inf"), float("inf"))] * len(contestants)
    for function in contestants:
        jax.block_until_ready(function())
    for _ in range(repetitions):
        for i, function in enumerate(contestants):
            start = time.perf_counter(), time.process_time()
            jax.block_until_ready(function())
            taken = time.perf_counter() - start[0], time.process_time() - start[1]
            times[i] = min(times[i][0], taken[0]), min(times[i][1], taken[1])
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
