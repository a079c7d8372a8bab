"""Kernel operators against what one would do without them: time, memory, bandwidth, scaling.

    python benchmarks/operators.py [--large] [--scaling 12 16 20 24]

Prints four tables. ``copy`` is XLA's copy of the same vector in the same process, the smallest possible time for
anything that reads and writes it. Times are the smallest of several runs.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import netket as nk  # noqa: F401  switches JAX to float64
import numpy as np

from netket_qsntk import kernels, models, operators
from netket_qsntk._compat.cpu import walsh_hadamard as native
from netket_qsntk.operators import transforms


def seconds(call: Callable[[], Any], budget: float = 1.0) -> float:
    """Smallest time of repeated calls within about ``budget`` seconds, after one that compiles."""
    jax.block_until_ready(call())
    best, used = np.inf, 0.0
    while used < budget:
        start = time.perf_counter()
        jax.block_until_ready(call())
        best = min(best, time.perf_counter() - start)
        used += time.perf_counter() - start
    return best


def spins(index: np.ndarray, d: int) -> np.ndarray:
    """Configurations of the given numbers in NetKet's order, int8, without the whole basis."""
    bits = (index[:, None] >> np.arange(d - 1, -1, -1)) & 1
    return (1 - 2 * bits).astype(np.int8)


def transform_table() -> None:
    print(f"\nWalsh-Hadamard transform (compiled code: {native.available()})")
    print(
        f"{'size':>6} {'dtype':>8} {'copy ms':>9} {'fast ms':>9} {'ratio':>6} {'XLA ms':>9} {'ratio':>6}"
    )
    for d in (16, 18, 20, 22):
        for dtype in ("float64", "float32"):
            x = jax.random.normal(jax.random.key(0), (2**d,), dtype)
            copy, fast, plain = (
                jax.jit(f)
                for f in (lambda v: v + 0, operators.walsh_hadamard, transforms._by_products)
            )
            t = [1e3 * seconds(lambda f=f, x=x: f(x)) for f in (copy, fast, plain)]
            print(
                f"2^{d:<4} {dtype:>8} {t[0]:9.3f} {t[1]:9.3f} {t[1] / t[0]:6.1f} {t[2]:9.3f} {t[2] / t[0]:6.1f}"
            )


def against_dense(kernel: Any) -> None:
    """Products at n = 4096, as a part of the 2^14 basis and as all of 2^12."""
    print("\nProducts against the stored matrix, n = 4096")
    print(
        f"{'batch':>14} {'columns':>8} {'dense ms':>9} {'GB/s':>6} {'fast ms':>9} {'speed-up':>9} {'error':>8}"
    )
    rng = np.random.default_rng(0)
    for d in (12, 14):
        index = np.sort(rng.permutation(2**d)[:4096])
        x = spins(index, d)
        dense, fast = kernel.operator(x, hint="dense"), kernel.operator(x, hint="hypercube")
        for columns in (1, 16):
            v = jnp.asarray(rng.normal(size=(4096, columns)[: 1 + (columns > 1)]))
            a, b = (
                seconds(lambda o=dense, v=v: o.matvec(v)),
                seconds(lambda o=fast, v=v: o.matvec(v)),
            )
            reference = dense.matvec(v)
            error = float(jnp.abs(fast.matvec(v) - reference).max() / jnp.abs(reference).max())
            print(
                f"{'4096 of 2^' + str(d):>14} {columns:8d} {1e3 * a:9.3f} {dense.nbytes / a / 1e9:6.1f} "
                f"{1e3 * b:9.3f} {a / b:9.1f} {error:8.0e}"
            )


@partial(jax.jit, static_argnums=3)
def tuned_tiles(values: jax.Array, i: jax.Array, v: jax.Array, block: int) -> jax.Array:
    """The best tiles found for a function of the Hamming distance: xor, count, look up, multiply, in cache."""
    columns = jnp.arange(len(v), dtype=jnp.uint32)

    def tile(rows: jax.Array) -> jax.Array:
        distance = jax.lax.population_count(rows[:, None] ^ columns).astype(jnp.int32)
        return values.at[distance].get(mode="promise_in_bounds") @ v

    return jax.lax.map(tile, i.reshape(-1, block)).ravel()


def against_tiles(kernel: Any, d: int) -> None:
    """A whole basis of 2^d by tiles made on the fly, the block size tuned on a part, and by transforms."""
    print(f"\nProducts against tiles made on the fly, n = 2^{d}")
    v = jnp.asarray(np.random.default_rng(0).normal(size=2**d))
    x = spins(np.arange(2**d), d)
    fast = kernel.operator(x, hint="hypercube")
    part = jnp.arange(256, dtype=jnp.uint32)
    times = {
        block: seconds(lambda b=block: tuned_tiles(fast.values, part, v, b), 0.5) / 2 ** (d + 8)
        for block in (8, 16, 32, 64)
    }
    block = min(times, key=times.__getitem__)
    print("  ns an entry by rows of a block:", {b: round(1e9 * t, 2) for b, t in times.items()})
    everything = jnp.arange(2**d, dtype=jnp.uint32)
    start = time.perf_counter()
    tiled = tuned_tiles(fast.values, everything, v, block).block_until_ready()
    a = time.perf_counter() - start
    b = seconds(lambda: fast.matvec(v))
    copied = jax.jit(lambda u: u + 0)
    copy = seconds(lambda: copied(v))
    error = float(jnp.abs(fast.matvec(v) - tiled).max() / jnp.abs(tiled).max())
    print(
        f"  tuned tiles {a:.2f} s, transforms {1e3 * b:.3f} ms: {a / b:.0f} times, error {error:.0e}"
    )
    general = operators.Tiled(kernels.Entries(kernel, "ntk"), x[:1024], x)
    c = seconds(lambda: general.matvec(v), 0.5) / (1024 * 2**d)
    print(f"  operators.Tiled, for any kernel: {1e9 * c:.2f} ns an entry, {c * 4**d:.1f} s")
    moved = (
        6 * 8 * 2**d
    )  # what must move: two transforms and a scaling, each reading and writing once
    bandwidth = 16 * 2**d / copy
    print(
        f"  {moved / b / 1e9:.1f} GB/s of the {bandwidth / 1e9:.1f} GB/s of a copy of the same vector "
        f"({100 * moved / b / bandwidth:.0f} %)"
    )


def scaling(kernel: Any, sizes: list[int]) -> None:
    """Time and memory of a product, whole basis and a batch of 57 %, with fitted exponents in n = 2^d."""
    print("\nScaling of one product")
    print(
        f"{'d':>3} {'whole ms':>10} {'batch ms':>10} {'operator MB':>12} {'work MB':>9} {'as a matrix':>12}"
    )
    rows = []
    rng = np.random.default_rng(0)
    h = [np.arange(d + 1) for d in sizes]
    for d, hd in zip(sizes, h, strict=True):
        values = kernel.values(d, d, d, d - 2 * hd)[1]
        n = 2**d
        whole = operators.Hypercube(values, positive=True)
        index = np.flatnonzero(rng.random(n) < 0.57)
        batch = whole.restrict(index)
        v = jnp.asarray(rng.normal(size=n))
        times = [
            seconds(lambda o=o, u=u: o.matvec(u), 0.6) for o, u in ((whole, v), (batch, v[index]))
        ]
        compiled = jax.jit(lambda o, u: o.matvec(u)).lower(batch, v[index]).compile()
        work = compiled.memory_analysis().temp_size_in_bytes + 8 * len(index)
        rows.append((n, *times, work))
        print(
            f"{d:3d} {1e3 * times[0]:10.3f} {1e3 * times[1]:10.3f} {batch.nbytes / 1e6:12.3f} {work / 1e6:9.1f} "
            f"{operators.base.human_bytes(8 * len(index) ** 2):>12}"
        )
    table = np.log(np.array(rows))
    for name, column in (("whole basis", 1), ("batch", 2), ("working memory", 3)):
        slope, _ = np.polyfit(table[:, 0], table[:, column], 1)
        print(f"  {name}: ∝ n^{slope:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="tiles at 2^16 instead of 2^13")
    parser.add_argument("--scaling", type=int, nargs="+", default=[12, 14, 16, 18, 20])
    options = parser.parse_args()
    kernel = kernels.infinite_width(
        models.WideMLP(widths=(8,), activation="relu", sigma_w=0.25, sigma_b=0.01)
    )
    transform_table()
    against_dense(kernel)
    against_tiles(kernel, 16 if options.large else 13)
    scaling(kernel, options.scaling)


if __name__ == "__main__":
    main()
