"""Entanglement entropies of an ensemble against loops over NetKet's observable and over QuTiP.

Half-system entropies of CosNets (σ_w² = 2d), times for one member:

  1. Rényi-2 from networks, beside NetKet's ``Renyi2EntanglementEntropy`` on a ``FullSumState`` of
  each; 2. Rényi-2 from amplitudes, beside the same on a ``LogStateVector``, which only looks them
  up; 3. von Neumann from amplitudes, beside QuTiP's ``ptrace`` and ``entropy_vn``

(goal: at least 50 times faster, equal to 1e-10). The peers run on a few of the members. Both
sides use the threads of BLAS, which other processes slow down out of proportion: measure on an
idle machine.
"""

import argparse
import time

import netket as nk
import numpy as np
import qutip

import netket_qsntk as qs
from benchmarks.timing import best, machine


def seconds_each(function, items):
    """Seconds per item of a loop, and its results; one call before it compiles."""
    function(items[0])
    start = time.perf_counter()
    results = [function(item) for item in items]
    return (time.perf_counter() - start) / len(items), np.array(results)


def netket_entropy(observable):
    def entropy(state):
        return float(state.expect(observable).mean) * np.log(2)

    return entropy


def qutip_entropy(d, sites):
    def entropy(psi):
        state = qutip.Qobj(psi[:, None] / np.linalg.norm(psi), dims=[[2] * d, [1] * d])
        return qutip.entropy_vn(state.ptrace(sites))

    return entropy


def compare(d, args):
    hilbert, sites = nk.hilbert.Spin(0.5, d), list(range(d // 2))
    model = qs.models.CosNet(args.width, sigma_a=10.0, sigma_w=(2 * d) ** 0.5)
    entangle = qs.entanglement
    psi = entangle.draw_members(model, hilbert, args.members, seed=0)
    few = psi[: args.peer_members]
    networks = qs.vqs.EnsembleState(hilbert, model, args.peer_members, seed=0)
    vector = nk.models.LogStateVector(hilbert)
    renyi = netket_entropy(nk.observable.Renyi2EntanglementEntropy(hilbert, sites))
    contests = [
        (
            "NetKet, networks",
            lambda: entangle.entropies(
                entangle.draw_members(model, hilbert, args.members, seed=0), hilbert, sites, n=2
            ),
            renyi,
            [networks.get_state(i) for i in range(args.peer_members)],
        ),
        (
            "NetKet, amplitudes",
            lambda: entangle.entropies(psi, hilbert, sites, n=2),
            renyi,
            [
                nk.vqs.FullSumState(hilbert, vector, variables={"params": {"logstate": log}})
                for log in np.log(few)
            ],
        ),
        (
            "QuTiP, von Neumann",
            lambda: entangle.entropies(psi, hilbert, sites),
            qutip_entropy(d, sites),
            list(few),
        ),
    ]
    for peer, entropies, entropy, items in contests:
        (ours,) = best(entropies, repetitions=args.repetitions)
        each, theirs = seconds_each(entropy, items)
        row(d, peer, ours / args.members, each, entropies()[: len(theirs)] - theirs)


def row(d, peer, ours, theirs, difference):
    print(
        f"{d:>4}  {peer:<20}{1e3 * ours:11.3f} ms{1e3 * theirs:11.1f} ms{theirs / ours:8.0f}"
        f"{np.max(np.abs(difference)):14.1e}"
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--sizes", nargs="+", type=int, default=[12, 16])
    add("--members", type=int, default=100)
    add("--width", type=int, default=400, help="width of the networks")
    add("--peer-members", type=int, default=10, help="members that the peers are timed on")
    add("--repetitions", type=int, default=3)
    args = parser.parse_args()
    print(machine() + f", qutip {qutip.__version__}")
    print(f"\n{args.members} members, time for each")
    print(f"{'d':>4}  {'peer':<20}{'ours':>14}{'peer':>14}{'ratio':>8}{'difference':>14}")
    for d in args.sizes:
        compare(d, args)


if __name__ == "__main__":
    main()
