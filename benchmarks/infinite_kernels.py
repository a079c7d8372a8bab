"""NNGP and NTK in closed form against neural-tangents (goal: the pair at least 5 times faster).

Pairs of kernels over the basis of 12 spins (4096 configurations) and of 3×4 sites with 2+2 fermions (4356), as
their structure is used (look-up) and, for the same network on real inputs, without it. ``error`` is the largest
difference from neural-tangents over the largest entry; neural-tangents is jitted, and its compilation not counted.
"""

import argparse
from functools import partial

import jax
import netket as nk
import numpy as np

import netket_qsntk as qs
from benchmarks.timing import best, machine
from netket_qsntk._compat import load_neural_tangents


def cases(quick):
    spins = nk.hilbert.Spin(0.5, 8 if quick else 12).all_states()
    hubbard = nk.hilbert.SpinOrbitalFermions(
        6 if quick else 12, s=1 / 2, n_fermions_per_spin=(2, 2)
    ).all_states()
    reals = np.random.default_rng(0).normal(size=spins.shape)
    sites = qs.encodings.fermion_sites
    for name, depth in (("relu", 1), ("relu", 4), ("erf", 1), ("gelu", 1)):
        yield f"{name}, depth {depth}, spins", name, depth, spins, None
    yield "relu, depth 1, fermions", "relu", 1, hubbard, sites
    yield "relu, depth 1, real inputs", "relu", 1, reals, None


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="8 spins and 6 sites only")
    args = parser.parse_args()
    stax = load_neural_tangents().stax
    print(machine())
    print(f"\n{'':28}{'n':>6}{'ours':>10}{'theirs':>10}{'ratio':>8}{'error':>10}")
    for label, activation, depth, x, encoding in cases(args.quick):
        sigma_w, sigma_b = 1.2, 0.3
        model = qs.models.WideMLP(
            widths=(8,) * depth,
            activation=activation,
            sigma_w=sigma_w,
            sigma_b=sigma_b,
            encoding=encoding,
        )
        kernel = qs.kernels.infinite_width(model)
        nonlinearity = {"relu": stax.Relu, "erf": stax.Erf, "gelu": stax.Gelu}[activation]
        dense = stax.Dense(1, W_std=sigma_w, b_std=sigma_b)
        kernel_fn = stax.serial(*([dense, nonlinearity()] * depth), dense)[2]
        theirs = jax.jit(lambda u, f=kernel_fn: tuple(f(u, None, ("nngp", "ntk"))))
        u = jax.numpy.asarray(x, float) if encoding is None else encoding(x)
        peer = theirs(u)
        errors = [
            float(abs(a - b).max() / abs(b).max())
            for a, b in zip(kernel.both(x), peer, strict=True)
        ]
        ours, other = best(partial(kernel.both, x), partial(theirs, u))
        print(
            f"{label:28}{len(x):6}{ours:9.3f}s{other:9.3f}s{other / ours:8.1f}{max(errors):10.1e}"
        )


if __name__ == "__main__":
    main()
