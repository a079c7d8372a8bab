"""The QS-NTK of one given network: layer factorisation against Jacobians, time and memory.

CosNet and a one-layer perceptron, both parts of ψ, every configuration of 12 spins, width 5000 (goals: within 1.5
times of the matrix products contained, 5 times faster and 10 times less memory than NetKet's dense Jacobian), and
a 12-layer NetKet model by the general route (goal: no slower than NetKet). Every contestant runs in a process of
its own; ``memory`` is its peak beyond what it holds after a first small call. Contestants:

  products   the four n × N × n products of the two networks, alone: x = y halves them for "layers"
  layers     ``qs.kernels.empirical`` of this package's models
  jacobian   ``qs.kernels.empirical`` by its general route (whole Jacobians)
  blocks     the same, by chunks on both sides
  netket     ``nk.jax.jacobian(dense=True)`` of ψ, then its product
  nt         neural-tangents' ``empirical_ntk_fn``, both parts, implementation 1 (Jacobian contraction)

Those that need Jacobians are also run on a quarter of the configurations and on ``--small`` sizes, where they fit.
"""

import argparse
import json
import resource
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import netket as nk

import netket_qsntk as qs
from benchmarks.timing import best, machine
from netket_qsntk._compat import load_neural_tangents


def state(name, width, hilbert):
    if name == "MLP":
        activations = (nk.nn.gelu,) * 11 + (nk.nn.log_cosh,)
        model = nk.models.MLP(
            hidden_dims=(width,) * 12, param_dtype=float, hidden_activations=activations
        )
    else:
        options = {"sigma_w": 1.2} if name == "CosNet" else {"sigma_w": 1.2, "sigma_b": 0.1}
        model = (
            qs.models.CosNet(width, **options)
            if name == "CosNet"
            else qs.models.WideMLP((width,), **options)
        )
    return nk.vqs.FullSumState(hilbert, model, seed=0)


def psi_of(vs, variables, x):
    if isinstance(vs.model, qs.models.WaveFunction):
        return vs.model.apply(variables, x, method="psi")
    return jnp.exp(vs.model.apply(variables, x))


@partial(jax.jit, static_argnums=(0, 3))
def netket_dense(psi, parameters, x, mode):
    jacobian = nk.jax.jacobian(psi, parameters, x, mode=mode, dense=True, chunk_size=64)
    rows = jacobian.reshape(-1, jacobian.shape[-1])
    return rows @ rows.T


def contestant(method, vs, x):
    """A function without arguments that computes the kernel."""
    if method == "products":
        width = jax.tree.leaves(vs.parameters)[-1].shape[0]
        a = jnp.ones((len(x), width))
        product = jax.jit(lambda a: a @ a.T)
        return lambda: [product(a).block_until_ready() for _ in range(4)][-1]
    if method == "netket":
        mode = "complex" if isinstance(vs.model, qs.models.WaveFunction) else "real"
        psi = partial(psi_of, vs)
        return lambda: netket_dense(psi, vs.parameters, x, mode)
    if method == "nt":
        ntk = load_neural_tangents().empirical_ntk_fn

        def part(take):
            return jax.jit(
                ntk(
                    lambda p, x: take(psi_of(vs, {"params": p}, x))[:, None],
                    trace_axes=(1,),
                    vmap_axes=0,
                )
            )

        kernels = [part(jnp.real), part(jnp.imag)]
        return lambda: [kernel(x, None, vs.parameters) for kernel in kernels]
    options = {"chunk_size": 64} if method == "blocks" else {}
    kernel = qs.kernels.EmpiricalKernel(vs, route=method, **options)
    return lambda: kernel.qsntk(x)


def measure(spec):
    """Seconds and peak memory (MB) of one contestant, in this process."""
    limit = int(spec["limit"] * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    hilbert = nk.hilbert.Spin(0.5, 12)
    vs = state(spec["model"], spec["width"], hilbert)
    x = jnp.asarray(hilbert.all_states()[: spec["n"]], jnp.float64)
    small = state(spec["model"], 16, hilbert)
    jax.block_until_ready(jax.tree.leaves(contestant(spec["method"], small, x[:64])()))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run = contestant(spec["method"], vs, x)
    (seconds,) = best(lambda: jax.tree.leaves(run()), repetitions=2)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
    print(json.dumps({"seconds": seconds, "memory": memory}))


def _no_memory(done):
    words = ("Out of memory", "RESOURCE_EXHAUSTED", "bad_alloc", "MemoryError")
    return done.returncode < 0 or any(word in done.stderr for word in words)


def row(model, width, n, method, limit):
    spec = {"model": model, "width": width, "n": n, "method": method, "limit": limit}
    command = [sys.executable, "-m", "benchmarks.empirical_kernel", "--one", json.dumps(spec)]
    done = subprocess.run(command, capture_output=True, text=True)
    label = f"{model:8}{width:7}{n:7}  {method:10}"
    if done.returncode:
        print(
            f"{label}  needs more than {limit:g} GB" if _no_memory(done) else done.stderr,
            flush=True,
        )
        return
    found = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"{label}{found['seconds']:10.3f}s{found['memory']:10.0f} MB", flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=int, default=5000)
    parser.add_argument("--n", type=int, default=4096, help="configurations")
    parser.add_argument(
        "--small", nargs=2, type=int, default=[512, 1000], help="configurations and width"
    )
    parser.add_argument("--limit", type=float, default=16, help="GB that a contestant may take")
    parser.add_argument("--quick", action="store_true", help="512 configurations, width 500")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        measure(json.loads(args.one))
        return
    if args.quick:
        args.n, args.width, args.small = 512, 500, [128, 200]
    print(machine())
    print(f"\n{'model':8}{'width':>7}{'n':>7}  {'method':10}{'time':>11}{'memory':>13}")
    whole = (args.width, args.n), ("products", "layers", "netket")
    quarter = (args.width, args.n // 4), ("products", "layers", "blocks", "netket")
    small = tuple(args.small[::-1]), ("products", "layers", "jacobian", "blocks", "netket", "nt")
    for model in ("CosNet", "WideMLP"):
        for size, methods in (whole, quarter, small):
            for method in methods:
                row(model, *size, method, args.limit)
    for method in ("jacobian", "blocks", "netket"):
        row("MLP", 16 if args.quick else 64, args.small[0], method, args.limit)


if __name__ == "__main__":
    main()
