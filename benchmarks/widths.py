"""Networks of finite width trained by SR and gradient descent beside the infinite width, from the same functions.

The transverse-field Ising model on a ring of six (h = 1) or on a lattice, sums over the whole basis, one layer of erf
units with σ_w = 1, σ_b = 0.3, real log ψ. Each network is trained by NetKet's rule: gradient descent, or the solution
of (T + λ)a = b with the network's own tangent kernel, which is known in closed form for one layer (NetKet's drivers
give the same energies to 1e-11: tests/driver/test_vmc_widths.py; their full sums solve a system of all parameters).
The theory starts from each network's own function. Printed for E - E₀ while theory is above a thousandth of its
start: the mean over steps of |measured/predicted - 1|, as the median and the mean over seeds with its error; the
largest deviation of the average over seeds with its error; and exponents in the width, with errors by redrawn seeds.
"""

import argparse
import time
from functools import partial

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from jax import Array

import netket_qsntk as qs
from benchmarks.timing import machine

SIGMA_W, SIGMA_B = 1.0, 0.3


def network(width: int) -> qs.models.WideMLP:
    """The networks of this table."""
    return qs.models.WideMLP(
        widths=(width,),
        activation="erf",
        sigma_w=SIGMA_W,
        sigma_b=SIGMA_B,
        output="log_psi",
        parts="real",
    )


def drawn(key: Array, width: int, sites: int) -> tuple[Array, Array, Array, Array]:
    """Parameters N(0, 1)."""
    keys = jax.random.split(key, 4)
    shapes = ((width, sites), (width,), (width,), ())
    one, two, three, four = (jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True))
    return one, two, three, four


@partial(jax.jit, static_argnames="steps")
def trained(
    loss: qs.losses.Energy,
    x: Array,
    params: tuple[Array, Array, Array, Array],
    steps: int,
    shift: Array,
    rate: Array,
) -> tuple[Array, Array]:
    """Log ψ at the start (n,), and E at each step of SR with λ = shift, or of gradient descent for shift = inf."""
    sites = x.shape[1]
    inputs = SIGMA_W**2 / sites * x @ x.T + SIGMA_B**2

    def layers(params):
        w, b, v, c = params
        h = SIGMA_W / sites**0.5 * x @ w.T + SIGMA_B * b
        a, scale = jax.scipy.special.erf(h), SIGMA_W / len(v) ** 0.5
        return (
            scale * a @ v + SIGMA_B * c,
            scale * a,
            scale * v * jnp.exp(-(h**2)) * 2 / jnp.pi**0.5,
        )

    def step(params, _):
        f, a, g = layers(params)
        psi = jnp.exp(f - f.max())
        psi = psi / jnp.linalg.norm(psi)
        moved = loss.apply(psi)
        energy = psi @ moved
        right = 2 * (moved - energy * psi)

        def solution(right):
            t = (a @ a.T + SIGMA_B**2 + (g @ g.T) * inputs) * psi[:, None] * psi[None, :]
            row = t @ psi
            t = t - psi[:, None] * row - row[:, None] * psi + (psi @ row) * psi[:, None] * psi
            factor = jax.scipy.linalg.cho_factor(t + shift * jnp.eye(len(t)))
            return jax.scipy.linalg.cho_solve(factor, right)

        a_solved = jax.lax.cond(jnp.isinf(shift), lambda b: b, solution, right)
        pull = psi * a_solved - psi**2 * (psi @ a_solved)
        back = g * pull[:, None]
        slopes = (
            SIGMA_W / sites**0.5 * back.T @ x,
            SIGMA_B * back.sum(0),
            a.T @ pull,
            SIGMA_B * pull.sum(),
        )
        return jax.tree.map(lambda p, s: p - rate * s, params, slopes), energy

    return layers(params)[0], jax.lax.scan(step, params, None, length=steps)[1]


def both(hamiltonian, width, seeds, steps, shift, rate):
    """Measured and predicted E, each (seeds, steps); ``shift`` None is gradient descent."""
    loss = qs.losses.Energy(hamiltonian)
    x = jnp.asarray(hamiltonian.hilbert.all_states(), float)
    numbers = jnp.asarray(jnp.inf if shift is None else shift), jnp.asarray(rate)
    starts, measured = [], []
    for seed in range(seeds):
        params = drawn(jax.random.key(1000 * width + seed), width, x.shape[1])
        start, energies = trained(loss, x, params, steps, *numbers)
        starts.append(start)
        measured.append(energies)
    kernel = qs.kernels.infinite_width(network(width))
    flow = qs.dynamics.NaturalGradientFlow(
        kernel, hamiltonian, learning_rate=rate, diag_shift=shift, tolerance=1e-7
    )
    predicted = flow.energies(jnp.stack(starts), np.arange(steps))
    return np.asarray(measured), np.asarray(predicted).T


def deviation_of_average(measured, predicted):
    """The largest |ratio of averages - 1| while theory is above a thousandth of its start, and the step."""
    theory = predicted.mean(0)
    off = np.abs(measured.mean(0) / theory - 1) * (theory > 1e-3 * theory[0])
    return off.max(), int(off.argmax())


def summary(measured, predicted, rng):
    """Deviations of single seeds (seeds,), that of the average, its step, and its error by redrawn seeds."""
    theory = predicted.mean(0)
    seen = theory > 1e-3 * theory[0]
    seen[0] = False
    single = np.abs(measured / predicted - 1)[:, seen].mean(1)
    off, step = deviation_of_average(measured, predicted)
    again = [rng.integers(len(single), size=len(single)) for _ in range(500)]
    ratios = [measured[i, step].mean() / predicted[i, step].mean() for i in again]
    return single, off, step, np.std(ratios)


def exponent(singles, rng, average):
    """Slope of log(deviation) against log(width), and its error by redrawn seeds."""
    widths = np.log(list(singles))

    def slope(values):
        return np.polyfit(widths, np.log([average(v) for v in values]), 1)[0]

    values = list(singles.values())
    redrawn = [slope([rng.choice(v, len(v)) for v in values]) for _ in range(500)]
    return slope(values), np.std(redrawn)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--widths", nargs="+", type=int, default=[128, 256, 512, 1024, 2048, 4096, 8192]
    )
    parser.add_argument("--shifts", nargs="+", default=["none", "1e-1", "1e-3", "1e-4"])
    parser.add_argument("--seeds", type=int, default=32)
    parser.add_argument("--steps", type=int, default=41)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--lattice", default="6", help="6, or 4x3")
    parser.add_argument("--field", type=float, default=1.0)
    args = parser.parse_args()
    graph = nk.graph.Grid([int(n) for n in args.lattice.split("x")], pbc=True)
    hamiltonian = nk.operator.Ising(nk.hilbert.Spin(0.5, graph.n_nodes), graph, h=args.field)
    ground = float(nk.exact.lanczos_ed(hamiltonian)[0])
    print(machine())
    print(
        f"\nTFIM {args.lattice}, h = {args.field}, {args.steps - 1} steps, rate {args.rate}, {args.seeds} seeds"
    )
    print(
        f"{'shift':>8} {'width':>6} {'median':>8} {'mean':>8} {'±':>7} {'average':>8} {'±':>7} {'at step':>8} "
        f"{'time':>8}"
    )
    for given in args.shifts:
        rng, singles = np.random.default_rng(0), {}
        shift = None if given == "none" else float(given)
        for width in args.widths:
            start = time.perf_counter()
            measured, predicted = both(hamiltonian, width, args.seeds, args.steps, shift, args.rate)
            single, off, step, error = summary(measured - ground, predicted - ground, rng)
            singles[width] = single
            print(
                f"{given:>8} {width:6d} {np.median(single):8.4f} {single.mean():8.4f} "
                f"{single.std() / len(single) ** 0.5:7.4f} {off:8.4f} {error:7.4f} {step:8d} "
                f"{time.perf_counter() - start:6.1f} s",
                flush=True,
            )
        if len(singles) > 1:
            for name, average in (("median", np.median), ("mean", np.mean)):
                slope, error = exponent(singles, rng, average)
                print(f"{given:>8} exponent of the {name}: {slope:.3f} ± {error:.3f}")


if __name__ == "__main__":
    main()
