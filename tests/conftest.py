"""What every test runs under: float64, and JAX's strict modes for code without NetKet or flax."""

import ctypes
import gc
import os
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

jax.config.update("jax_enable_x64", True)

TESTS = Path(__file__).parent

# Folders (or files) of tests whose code under test is our own arithmetic on arrays. Others stay out: NetKet's
# ``all_states`` itself mixes dtypes and ranks. What is ours in them runs strictly in test_strict.py.
STRICT = {"test_encodings.py"}

# Bytes of a worker at which compiled programs are dropped after every file.
_LARGE = 3 * 2**29


@pytest.fixture(autouse=True)
def strict_promotion(request: pytest.FixtureRequest) -> Iterator[None]:
    """Make an implicit change of dtype or rank in our own arithmetic an error."""
    if request.path.relative_to(TESTS).parts[0] not in STRICT:
        yield
        return
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run take a share of the tests."""
    parser.addoption(
        "--share", type=_share, default=(0, 1), metavar="K/N", help="the share K = 0 … N - 1 of N equal ones"
    )  # fmt: skip


def _share(text: str) -> tuple[int, int]:
    part, parts = map(int, text.split("/"))
    if not 0 <= part < parts:
        raise ValueError(text)
    return part, parts


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of other shares: functions are dealt out by their names, with all of their cases."""
    part, parts = config.getoption("share")
    mine: list[pytest.Item] = []
    others: list[pytest.Item] = []
    for item in items:
        function = item.nodeid.split("[")[0]
        (mine if zlib.crc32(function.encode()) % parts == part else others).append(item)
    config.hook.pytest_deselected(items=others)
    items[:] = mine


def pytest_configure(config: pytest.Config) -> None:
    """Keep compiled programs from one run to the next, beside pytest's own cache: most of the time is compilation."""
    cache = getattr(config, "cache", None)
    if cache is not None and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        # In the environment, for the processes that tests start.
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache.mkdir("xla"))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
        jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Let the programs of a folder's tests go with it: a worker that keeps all of them takes gigabytes.

    Those of a file go where the folder has become large.
    """
    if nextitem is None or item.path == nextitem.path:
        return
    if item.path.parent != nextitem.path.parent or _resident() > _LARGE:
        jax.clear_caches()
        gc.collect()
        if sys.platform == "linux":
            # Freed memory goes back to the system only when asked for.
            ctypes.CDLL(None).malloc_trim(0)


def _resident() -> int:
    """Bytes of memory that this process holds; 0 where that is not known."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
