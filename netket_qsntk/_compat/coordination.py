"""What processes that ``jax.distributed`` joined do together.

The barrier of JAX's coordination service has no public name that takes a timeout; sums over processes are in
``jax.experimental``.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax._src import distributed
from jax.errors import JaxRuntimeError
from jax.experimental import multihost_utils
from jax.typing import DTypeLike

_visits: Counter[str] = Counter()


def wait_for_all(name: str, timeout: float) -> bool:
    """Whether all processes came to the barrier of this name within ``timeout`` seconds."""
    _visits[name] += 1  # a barrier of the service serves once
    client: Any = distributed.global_state.client
    try:
        client.wait_at_barrier(f"qsntk/{name}/{_visits[name]}", int(1000 * timeout))
    except JaxRuntimeError as error:
        if "DEADLINE_EXCEEDED" in str(error) or "timed out" in str(error):
            return False
        raise
    return True


def of_first_process(
    compute: Callable[[], tuple[np.ndarray, ...]],
    shapes: tuple[tuple[int, ...], ...],
    dtype: DTypeLike,
) -> tuple[np.ndarray, ...]:
    """What ``compute`` gives on the first process, on the hosts of all.

    Args:
        compute: Gives arrays of these shapes; called by the first process alone.
        shapes: Of the arrays.
        dtype: Of the arrays.
    """
    if jax.process_count() == 1:
        return compute()
    first = jax.process_index() == 0
    found = compute() if first else tuple(np.zeros(shape, dtype) for shape in shapes)
    return tuple(multihost_utils.broadcast_one_to_all(array, is_source=first) for array in found)


def rows_on_host(rows: jax.Array) -> np.ndarray:
    """An array with its leading axis in parts on the devices, as one array on the host of every process."""
    if jax.process_count() > 1:
        return np.asarray(multihost_utils.process_allgather(rows, tiled=True))
    parts = sorted(rows.addressable_shards, key=lambda shard: shard.index[0].start or 0)
    return np.concatenate([np.asarray(part.data) for part in parts])
