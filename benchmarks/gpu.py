"""Everything that matters on one accelerator: time, achieved fraction of its own peaks, error against the CPU.

    python benchmarks/gpu.py [--quick] [--steps 10000] [--width 5000] [--members 10] [--largest 28]

The peaks are measured in the same run: the bandwidth by a copy (read and written once), the matrix rate by one
product of large square matrices, in float64 and float32 each. Every row counts the bytes or operations that the
task cannot do without, and states what fraction of the peak that is. Results are compared with those of the same
program on the CPU: the largest difference over the largest number. Runs on a CPU too, then compared with itself.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import optax

import netket_qsntk as qs
from benchmarks.timing import best, machine, once
from netket_qsntk.operators import walsh_hadamard

CPU = jax.devices("cpu")[0]


class Peaks(NamedTuple):
    """Measured bytes/s of a copy and operations/s of a matrix product."""

    bandwidth: float
    rate: float


class Row(NamedTuple):
    """One line of the table; ``moved`` in bytes or ``done`` in operations, the smallest possible."""

    name: str
    dtype: str
    seconds: float
    moved: float = 0.0
    done: float = 0.0
    error: float = float("nan")


def peaks(dtype: str, quick: bool) -> Peaks:
    """A copy of 2^28 (quick: 2^22) numbers; a product of matrices of 8192 (quick: 1024) rows."""
    n, m = (2**22, 1024) if quick else (2**28, 8192)
    x, a = jnp.ones(n, dtype), jnp.full((m, m), 1e-3, dtype)
    copy, product = jax.jit(lambda v: v + 1), jax.jit(lambda v: v @ v)
    with jax.default_matmul_precision("highest"):
        seconds = best(lambda: copy(x), lambda: product(a))
    return Peaks(2 * x.nbytes / seconds[0], 2 * m**3 / seconds[1])


def difference(here: Any, there: Any) -> float:
    """max |a - b| / max |b|."""
    a, b = np.asarray(here), np.asarray(there)
    return float(np.abs(a - b).max() / np.abs(b).max())


def measure(function: Callable[..., Any], *arrays: Any, check: bool = True) -> tuple[float, float]:
    """Seconds of a function on the default device, and its difference from the CPU's result."""
    compiled = jax.jit(function)
    (seconds,) = best(lambda: compiled(*arrays))
    if not check:
        return seconds, float("nan")
    with jax.default_device(CPU):
        there = compiled(*jax.device_put(arrays, CPU))
    return seconds, difference(compiled(*arrays), there)


def kernel_build(dtype: str, n: int) -> Row:
    """Θ of a ReLU network between random real inputs, by its formula: two matrices written."""
    net = qs.models.WideMLP(widths=(8,), activation="relu", sigma_w=1.0, sigma_b=0.1)
    kernel = qs.kernels.infinite_width(net)
    x = jax.random.normal(jax.random.key(0), (n, 16), dtype)
    # Inside jit a kernel is its formula; it computes in float64 whatever comes.
    seconds, error = measure(lambda u: kernel.both(u, u)[1].astype(dtype), x)
    return Row(
        f"kernel build, {n}²", dtype, seconds, moved=jnp.dtype(dtype).itemsize * n**2, error=error
    )


def eigendecomposition(dtype: str, n: int) -> Row:
    """Eigenvalues (compared) and eigenvectors of a Gram matrix.

    Tridiagonal form 4/3, divide and conquer up to 8/3, back transformation 2: at most 6 n³ operations.
    """
    a = jax.random.normal(jax.random.key(1), (n, n), dtype)
    a = a @ a.T / n
    seconds, _ = measure(jnp.linalg.eigh, a, check=False)
    values = jax.jit(jnp.linalg.eigh)(a)[0]
    reference = np.linalg.eigvalsh(np.asarray(a))
    return Row(
        f"eigendecomposition, {n}²",
        dtype,
        seconds,
        done=6 * n**3,
        error=difference(values, reference),
    )


def transform(dtype: str, d: int) -> Row:
    """A Walsh-Hadamard transform of 2^d numbers: at least one reading and one writing."""
    x = jax.random.normal(jax.random.key(2), (2**d,), dtype)
    seconds, error = measure(walsh_hadamard, x, check=d <= 24)
    return Row(f"Walsh-Hadamard, 2^{d}", dtype, seconds, moved=2 * x.nbytes, error=error)


def training(dtype: str, width: int, members: int, steps: int, timed: int, n_train: int) -> Row:
    """Steps of the paper's spin model: four products a network, two networks a member."""
    target = qs.targets.tfim_quench()
    n_train = min(n_train, target.hilbert.n_states)
    net = qs.models.WideMLP(widths=(width,), activation="relu", sigma_w=0.25, sigma_b=0.01)
    timed = min(timed, steps)

    def driver() -> Any:
        vs = qs.vqs.EnsembleState(target.hilbert, net, n_members=members, seed=0)
        vs.parameters = jax.tree.map(lambda leaf: leaf.astype(dtype), vs.parameters)
        return qs.driver.QSNTKDriver(
            target,
            optax.sgd(1e-3),
            variational_state=vs,
            n_train=n_train,
            seed=1,
            evaluate_every=10**9,
        )

    def run(trained: Any, n: int) -> Any:
        for _ in range(n):
            _, gradient = trained.compute_loss_and_update()
            trained.update_parameters(gradient)
            trained._step_count += 1
        return trained.state.parameters

    warm = driver()
    run(warm, 2)
    seconds, _ = once(lambda: run(warm, timed))
    with jax.default_device(CPU):
        there = jax.tree.leaves(run(driver(), 2))
    here = jax.tree.leaves(run(driver(), 2))
    error = max(difference(a, b) for a, b in zip(here, there, strict=True))
    sites = target.hilbert.size
    operations = 2 * members * n_train * (4 * sites * width + 4 * width)
    name = f"training {width}×{members}, {n_train} rows, {steps} steps"
    if timed < steps:
        name += f" (from {timed})"
    return Row(name, dtype, seconds * steps / timed, done=operations * steps, error=error)


def entropies(dtype: str, spins: int, members: int) -> Row:
    """Second Rényi entropy of half of the spins, from NetKet-side amplitudes; 4 real products of a complex table."""
    hi = nk.hilbert.Spin(0.5, spins)
    rng = np.random.default_rng(0)
    psi = (rng.normal(size=(members, 2**spins)) + 1j * rng.normal(size=(members, 2**spins))).astype(
        "complex128" if dtype == "float64" else "complex64"
    )
    part = list(range(spins // 2))
    start = time.perf_counter()
    found = qs.entanglement.purity(psi, hi, part)
    seconds = time.perf_counter() - start
    side = 2 ** (spins // 2)
    table = psi.reshape(members, side, -1)
    reference = (
        np.linalg.svd(table / np.linalg.norm(table, axis=(1, 2), keepdims=True), compute_uv=False)
        ** 4
    ).sum(-1)
    return Row(
        f"entropies, {members} of {spins} spins (NumPy, CPU)", dtype, seconds,
        done=4 * members * side**2 * 2 ** (spins - spins // 2), error=difference(found, reference),
    )  # fmt: skip


def show(row: Row, peak: Peaks) -> None:
    if row.moved:
        rate, share, unit = (
            row.moved / row.seconds,
            row.moved / row.seconds / peak.bandwidth,
            "GB/s",
        )
    else:
        rate, share, unit = row.done / row.seconds, row.done / row.seconds / peak.rate, "Gop/s"
    error = "-" if np.isnan(row.error) else f"{row.error:.0e}"
    print(
        f"{row.name:<52}{row.dtype:>8}{row.seconds:>11.4g} s{rate / 1e9:>10.1f} {unit:<5}"
        f"{100 * share:>5.0f} %{error:>8}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, about a minute on a CPU")
    parser.add_argument(
        "--steps", type=int, default=10_000, help="of the training that is reported"
    )
    parser.add_argument(
        "--timed", type=int, default=None, help="steps run; the rest extrapolated (default: all)"
    )
    parser.add_argument("--width", type=int, default=5000)
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--largest", type=int, default=28, help="log2 of the largest transform")
    options = parser.parse_args()
    quick = options.quick
    print(machine())
    for dtype in ("float64", "float32"):
        peak = peaks(dtype, quick)
        print(
            f"\n{dtype}: copy {peak.bandwidth / 1e9:.1f} GB/s, matrix product {peak.rate / 1e9:.0f} Gop/s, "
            f"on {jax.devices()[0].device_kind}"
        )
        print(f"{'task':<52}{'dtype':>8}{'time':>13}{'rate':>16}{'peak':>7}{'error':>8}")
        show(kernel_build(dtype, 512 if quick else 8192), peak)
        show(eigendecomposition(dtype, 256 if quick else 4096), peak)
        for d in (16, 18) if quick else range(20, options.largest + 1, 2):
            show(transform(dtype, d), peak)
        width, members, timed = (
            (64, 2, 5)
            if quick
            else (options.width, options.members, options.timed or options.steps)
        )
        show(training(dtype, width, members, options.steps, timed, 300 if quick else 2400), peak)
        show(entropies(dtype, 10 if quick else 16, 4 if quick else 10), peak)


if __name__ == "__main__":
    main()
