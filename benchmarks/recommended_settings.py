"""Steps with the settings that qs.advise recommends, against the best cell of a map of rates and shifts.

The transverse-field Ising ring of 8, and the Heisenberg and J₁-J₂ rings of 10 with Marshall's signs (magnetisation
zero), summed over the basis; an MLP, an RBM and a convolutional network with real log ψ. From one start SR runs with
the recommended settings and at every cell of the map, with the step of NetKet's VMC_SR
(:mod:`benchmarks.stability_map` compares the two), until the energy is within 1e-3 of the exact one, and stays within
2e-3. Goal: at most twice the steps of the best cell. Where the advice scales the parameters (the convolutional
network), every run starts from the scaled ones.
"""

import argparse
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import netket as nk
import numpy as np

import netket_qsntk as qs
from benchmarks.stability_map import make_run, networks, steps_to
from benchmarks.timing import machine


class Convolutions(nn.Module):
    """log ψ on a ring: two convolutions of five sites, summed over sites and features."""

    features: int = 8

    @nn.compact
    def __call__(self, x):
        """(…, sites) -> (…)."""
        x = x[..., None].astype(float)
        for _ in range(2):
            # A product with weights: derivatives by configuration of nn.Conv are slow on CPUs.
            near = jnp.concatenate([jnp.roll(x, shift, -2) for shift in range(-2, 3)], -1)
            x = nk.nn.activation.log_cosh(nn.Dense(self.features, param_dtype=float)(near))
        return jnp.sum(x, (-1, -2))


def problems(ising=8, heisenberg=10):
    """Name -> (Hilbert space, Hamiltonian)."""
    spins = nk.hilbert.Spin(0.5, ising)
    sector = nk.hilbert.Spin(0.5, heisenberg, total_sz=0)
    ring = nk.graph.Chain(heisenberg)
    two = nk.graph.Chain(heisenberg, max_neighbor_order=2)
    return {
        f"Ising, ring of {ising}": (
            spins,
            nk.operator.IsingJax(spins, nk.graph.Chain(ising), h=1.0, J=-1.0),
        ),
        f"Heisenberg, ring of {heisenberg}": (
            sector,
            nk.operator.Heisenberg(sector, ring, sign_rule=True),
        ),
        f"J1-J2 (0.4), ring of {heisenberg}": (
            sector,
            nk.operator.Heisenberg(sector, two, J=[1.0, 0.4], sign_rule=[True, False]),
        ),
    }


def compare(name, network, hilbert, hamiltonian, model, seed, args):
    """One row of the table; returns the ratio of steps."""
    exact = float(np.linalg.eigvalsh(hamiltonian.to_dense())[0])
    state = nk.vqs.FullSumState(hilbert, model, seed=seed)
    clock = time.process_time()
    advice = qs.advise(state, hamiltonian)
    seconds = time.process_time() - clock
    # As the call of the advice says, and for every cell alike.
    state.parameters = jax.tree.map(lambda p: advice.initial_scale * p, state.parameters)
    run = make_run(state, hamiltonian, args.steps)
    own = steps_to(np.asarray(run(advice.learning_rate, advice.diag_shift)), exact)
    rates = np.geomspace(3e-3, 1, args.rates)
    shifts = np.geomspace(1e-4, 1, args.shifts)
    map_ = np.array([[steps_to(np.asarray(run(r, s)), exact) for s in shifts] for r in rates])
    best = np.unravel_index(np.argmin(map_), map_.shape)
    ratio = own / map_[best]
    print(
        f"{name:28}{network:13}{seed:4}{state.n_parameters:7}{advice.initial_scale:7.2f}"
        f"{advice.learning_rate:8.3f}{advice.diag_shift:9.1e}{own:7.0f}{advice.steps:9.0f}{rates[best[0]]:9.3f}{shifts[best[1]]:9.1e}"
        f"{map_[best]:7.0f}{ratio:7.2f}{seconds:8.1f} s",
        flush=True,
    )
    return ratio


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rates", type=int, default=8, help="from 0.003 to 1")
    parser.add_argument("--shifts", type=int, default=5, help="from 1e-4 to 1")
    parser.add_argument("--steps", type=int, default=150, help="of a run at most")
    parser.add_argument("--only", default="", help="problems and networks with this in their names")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="rings of 4, 2 × 2 cells")
    args = parser.parse_args()
    systems = problems()
    if args.quick:
        systems, args.rates, args.shifts, args.steps = problems(4, 4), 2, 2, 20
    print(machine())
    print(
        f"\n{'':28}{'network':13}{'seed':>4}{'P':>7}{'scale':>7}{'η':>8}{'λ':>9}{'steps':>7}{'foretold':>9}"
        f"{'best η':>9}{'best λ':>9}{'steps':>7}{'ratio':>7}{'advice':>10}"
    )
    ratios = [
        compare(name, network, hilbert, hamiltonian, model, seed, args)
        for name, (hilbert, hamiltonian) in systems.items()
        for network, model in {**networks(), "convolutions": Convolutions()}.items()
        if args.only in f"{name} {network}"
        for seed in range(args.seeds)
    ]
    print(
        f"\nlargest ratio {max(ratios):.2f}, {sum(r <= 2 for r in ratios)} of {len(ratios)} at most 2"
    )


if __name__ == "__main__":
    main()
