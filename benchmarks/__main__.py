"""Every comparison with a peer, one after the other: ``python -m benchmarks [--quick] [--out FILE]``.

Each module of this folder runs in a process of its own. ``--out`` writes the tables as Markdown, with the machine and
the versions in each. The full run takes about 20 minutes on two cores, ``--quick`` about two; nothing else should run
beside it. ``--list`` says what there is, and which modules are run by themselves and why.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

# Module -> (what it compares and the goal, options of the full run, options of the quick one).
BENCHMARKS = {
    "infinite_kernels": (
        "Kernels in closed form; goal: 5 times faster than neural-tangents on spins.",
        [],
        ["--quick"],
    ),
    "infinite_width": (
        "A training curve; goals: within 2.5 times of scipy's eigh, 5 times faster than neural-tangents.",
        [],
        ["--n-train", "400", "--steps", "1000", "--repetitions", "1"],
    ),
    "ensemble_step": (
        "A training step; goal: within 1.5 times of its matrix products.",
        [],
        ["--n-train", "400", "--cases", "64x2"],
    ),
    "empirical_kernel": (
        "The kernel of a given network; goals: within 1.5 times of its products, 5 times faster and 10 times less "
        "memory than NetKet's dense Jacobian.",
        [],
        ["--quick"],
    ),
    "entropy": (
        "Entropies of an ensemble; goal: 50 times faster than NetKet and QuTiP.",
        [],
        ["--sizes", "8", "--members", "10", "--peer-members", "2", "--repetitions", "1"],
    ),
    "diagnostics": (
        "Kernel diagnostics in a VMC run; goal: less than a tenth of its time.",
        [],
        ["--quick"],
    ),
    "stability_map": (
        "Divergence of SR on a map of rates and shifts against qs.advise; goal: nine cells of ten on the right side.",
        ["--check", "2"],
        ["--quick"],
    ),
    "recommended_settings": (
        "The settings of qs.advise against the best cell of a map; goal: at most twice its steps.",
        [],
        ["--quick"],
    ),
    "mup_transfer": (
        "Best learning rates across widths and parametrisations; goal: one rate for all widths with mup.",
        [],
        ["--quick"],
    ),
    "operators": (
        "Structured products; goal: a transform within 8 times of a copy on the CPU.",
        ["--large", "--scaling", "12", "14", "16", "18", "20", "22", "24"],
        ["--scaling", "10", "12", "14"],
    ),
    "natural_gradient": (
        "SR of an infinitely wide network by products; goals: 100 steps on 65,536 states in less than 3 minutes and "
        "2 GB, within 1.5 times of the bare products.",
        [],
        ["--lattices", "3x3", "--chains", "12", "--steps", "10", "--repetitions", "1"],
    ),
    "widths": (
        "Networks trained by SR and gradient descent beside the infinite width: deviations and their exponents.",
        ["--seeds", "32"],
        ["--widths", "32", "64", "--seeds", "4", "--shifts", "1e-2", "--steps", "5"],
    ),
    "kernel_vmc": (
        "Local energies of an infinitely wide symmetric network; goal: 10 times faster than evaluating it at every "
        "connected configuration, and than the kernel method of arXiv:2303.08902.",
        [],
        ["--quick"],
    ),
}

# Modules that are run by themselves, and why.
ELSEWHERE = {
    "gpu": "One accelerator against the CPU beside it: only where there is one, and without a peer.",
    "memory": "Estimates of qs.parallel against measured peaks: no peer, and a process for each job.",
    "scaling": "One job on one and on two devices of the CPU: the peer is the same program.",
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: does everything run?")
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS))
    parser.add_argument("--out", type=Path, help="Markdown file for the tables")
    options = parser.parse_args()
    if options.list:
        for name, (goal, *_) in BENCHMARKS.items():
            print(f"{name:20} {goal}")
        for name, reason in ELSEWHERE.items():
            print(f"{name:20} python -m benchmarks.{name}: {reason}")
        return 0
    pages, failed = ["# Benchmarks\n"], []
    for name in options.only:
        goal, full, quick = BENCHMARKS[name]
        arguments = quick if options.quick else full
        title = " ".join(["python -m", f"benchmarks.{name}", *arguments])
        print(f"\n=== {title}\n{goal}\n", flush=True)
        start = time.perf_counter()
        command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        print(done.stdout, flush=True)
        print(f"({time.perf_counter() - start:.0f} s)", flush=True)
        pages.append(f"## {name}\n\n{goal}\n\n```text\n$ {title}\n{done.stdout.strip()}\n```\n")
        if done.returncode:
            failed.append(name)
    if options.out:
        options.out.write_text("\n".join(pages), encoding="utf-8")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
