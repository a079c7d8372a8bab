"""Local energies of an infinitely wide symmetric network (goal: 10 times faster than either peer).

The tables and two products that NetKet's dispatch uses for :class:`netket_qsntk.models.InfiniteWidth`, against the
same model evaluated on every connected configuration by NetKet's own estimator, and against the kernel method of
Giuliani, Vicentini, Rossi and Carleo (arXiv:2303.08902) written plainly: k(x·y/d) by its formula at every image of
every centre, for every connected configuration. The peers see a share of the samples, their time is scaled up.
"""

import argparse
from functools import partial

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from netket.operator import DiscreteJaxOperator
from netket.vqs.mc import get_local_kernel

import netket_qsntk as qs
from benchmarks.timing import best_of_both, machine


@partial(jax.jit, static_argnums=0)
def plain_kernel_method(hamiltonian, orbits, weights, x):
    """Σ_x' ⟨x|H|x'⟩ ψ(x')/ψ(x), log ψ(x) = Σ_c w_c Σ_g q arcsin(γq)/|G|, q = x·gy_c/d, one sample after another."""
    neighbours, elements = hamiltonian.get_conn_padded(x)
    images = orbits.reshape(-1, x.shape[-1])

    def log_psi(rows):
        q = rows.astype(float) @ images.T / x.shape[-1]
        k = q * jnp.arcsin(0.58 * q)
        return k.reshape(len(rows), *orbits.shape[:2]).mean(1) @ weights

    def local(row):
        here, there, element = row
        change = log_psi(there) - log_psi(here[None])
        return jnp.sum(element * jnp.exp(change))

    return jax.lax.map(local, (x, neighbours, elements))


def compare(name, hamiltonian, group, n_centres, n_samples, share, repetitions):
    hilbert = hamiltonian.hilbert
    net = qs.models.WideMLP(widths=(1,), activation="erf", sigma_w=1.5, sigma_b=0.3, parts="real")
    net = qs.models.Symmetrized(net, group)
    x = np.asarray(hilbert.random_state(jax.random.key(0), 2 * n_centres), np.int8)
    some = qs.symmetry.distinct(x, group)[:n_centres]
    model = qs.models.InfiniteWidth(net, x[some])
    sampler = nk.sampler.MetropolisExchange(
        hilbert, graph=nk.graph.Chain(hilbert.size), n_chains=n_samples
    )
    if hilbert.constraint is None:
        sampler = nk.sampler.MetropolisLocal(hilbert, n_chains=n_samples)
    vs = nk.vqs.MCState(
        sampler, model, n_samples=n_samples, n_discard_per_chain=0, seed=0, sampler_seed=0
    )
    rng = np.random.default_rng(0)
    vs.parameters = {"log_amplitude": jnp.asarray(0.1 * rng.normal(size=len(some)))}
    samples = jnp.asarray(np.asarray(hilbert.random_state(jax.random.key(1), n_samples), np.int8))
    few = samples[:share]

    arguments = qs.vqs.local_energies.flip_terms(hamiltonian)
    kernel = get_local_kernel(vs, hamiltonian)
    fast = jax.jit(lambda v, s: kernel(vs._apply_fun, v, s, arguments))
    theirs = get_local_kernel.invoke(nk.vqs.MCState, DiscreteJaxOperator, int)(
        vs, hamiltonian, share
    )
    hamiltonian.max_conn_size  # noqa: B018  LocalOperatorJax is set up at first use, which must not be in a trace
    plain = jax.jit(lambda v, s: theirs(vs._apply_fun, v, s, hamiltonian, chunk_size=share))
    orbits = jnp.asarray(np.asarray(group @ x[some]), float)
    weights = model.apply(vs.variables, method="weights")[:, 0]
    error = float(jnp.abs(fast(vs.variables, few) - plain(vs.variables, few)).max())

    (ours,) = best_of_both(lambda: fast(vs.variables, samples), repetitions=repetitions)
    peers = best_of_both(
        lambda: plain(vs.variables, few),
        lambda: plain_kernel_method(hamiltonian, orbits, weights, few),
        repetitions=1,
    )
    (wall, cpu), scaled = np.array(ours), n_samples / share * np.array(peers)
    print(
        f"{name:26}{len(some):7d}{len(group):6d}{cpu:10.2f} s"
        + "".join(f"{seconds:10.1f} s" for seconds in scaled[:, 1])
        + "".join(f"{ratio:8.1f}" for ratio in (*scaled[:, 1] / cpu, *scaled[:, 0] / wall))
        + f"{error:10.0e}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n-centres", type=int, default=2000)
    parser.add_argument("--n-samples", type=int, default=1024)
    parser.add_argument("--share", type=int, default=16, help="samples that the peers see")
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    print(machine())
    ring, square = nk.graph.Chain(8 if args.quick else 40), nk.graph.Square(4 if args.quick else 10)
    spins, lattice = (nk.hilbert.Spin(0.5, g.n_nodes) for g in (ring, square))
    sector = nk.hilbert.Spin(0.5, square.n_nodes, total_sz=0)
    cases = {
        f"Ising, ring of {ring.n_nodes}": (nk.operator.IsingJax(spins, ring, h=1.0), ring),
        f"Ising, {square.n_nodes} sites": (nk.operator.IsingJax(lattice, square, h=3.0), square),
        f"Heisenberg, {square.n_nodes} sites": (
            nk.operator.Heisenberg(sector, square), square,
        ),
    }  # fmt: skip
    if args.quick:
        args.n_centres, args.n_samples, args.share = 20, 64, 16
    print(f"\n{args.n_samples} samples; translations; peers on {args.share} of them, scaled")
    print("Seconds of CPU; ratios of both peers in seconds of CPU, then in those of the clock")
    columns = f"{'':26}{'centres':>7}{'|G|':>6}{'tables':>12}{'NetKet':>12}{'2303.08902':>12}"
    print(columns + 2 * f"{'NetKet':>8}{'2303':>8}" + f"{'error':>10}")
    for name, (hamiltonian, graph) in cases.items():
        group = graph.translation_group()
        compare(
            name, hamiltonian, group, args.n_centres, args.n_samples, args.share, args.repetitions
        )


if __name__ == "__main__":
    main()
