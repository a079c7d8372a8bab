"""What is wrong with a network, a batch or a problem, by name."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from netket.operator import DiscreteOperator
from netket.utils.types import PyTree

from netket_qsntk.advice.batch import Batch, sizes
from netket_qsntk.advice.modes import TangentModes
from netket_qsntk.advice.recommend import Candidate
from netket_qsntk.advice.rows import LogPsi, values
from netket_qsntk.advice.tangent import Tangent

__all__ = [
    "Finding",
    "after_the_choice",
    "dead_parameters",
    "heavy_tails",
    "mixed_parameters",
    "parity",
    "variance",
]


@dataclass(frozen=True)
class Finding:
    """Something to know before the run.

    Attributes:
        name: What it is called: ``"odd network"``, ``"frozen parameters"``, …
        message: What was seen, what it does to a run, and what to do.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> H = nk.operator.Ising(hi, nk.graph.Chain(4), h=1.0)
        >>> advice = qs.advise(nk.vqs.FullSumState(hi, nk.models.RBM(), seed=0), H)
        >>> [finding.name for finding in advice.findings]
        ['flat start']
    """

    name: str
    message: str

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"


def dead_parameters(tangent: Tangent, parameters: PyTree) -> list[Finding]:
    """Parameters on which log ψ does not depend on any configuration of the batch, beyond its norm."""
    column = tangent.column
    floor = (tangent.epsilon**2) * max(float(column.max(initial=0.0)), 1e-300)
    dead, start, frozen = [], 0, 0
    for path, size in sizes(parameters).items():
        still = column[start : start + size] <= floor
        start += size
        frozen += int(still.sum())
        if still.all():
            dead.append(path)
    if not frozen:
        return []
    if frozen == tangent.size:
        message = "log ψ does not depend on any parameter, on these configurations: nothing can be trained"
    else:
        where = f" (all of {', '.join(dead)})" if dead else ""
        message = (
            f"log ψ on these configurations does not depend on {frozen} of {tangent.size} parameters{where}, but for "
            "its norm: nothing trains them, and SR needs a shift on the diagonal"
        )
    return [Finding("frozen parameters", message)]


def mixed_parameters(parameters: PyTree) -> list[Finding]:
    """Real parameters beside complex ones."""
    if nk.jax.tree_ishomogeneous(parameters):
        return []
    return [
        Finding(
            "mixed parameters",
            "some are real and some complex, which NetKet's VMC_SR refuses. VMC with SR as its preconditioner takes "
            "the same step; a complex parameter written as two real ones opens VMC_SR, and minSR",
        )
    ]


def heavy_tails(tangent: Tangent, batch: Batch) -> list[Finding]:
    """Few configurations with most of the kernel's trace: averages over samples do not settle.

    They are the ones with the largest derivative, as many as have 2 % of the weight, and one at least.
    """
    if tangent.kernel is not None:
        norms = np.diag(tangent.kernel)
    else:
        norms = np.asarray(jnp.sum(tangent.rows**2, 1), dtype=float)  # type: ignore[operator]
    norms = norms.reshape(len(batch), -1).sum(1)
    total = norms.sum()
    if not total > 0 or len(batch) < 50:
        return []
    order = np.argsort(norms / batch.weights)[::-1]
    few = order[: max(1, int(np.searchsorted(np.cumsum(batch.weights[order]), 0.02, side="right")))]
    share = norms[few].sum() / total
    if share < 0.5:
        return []
    reason = "|ψ|² sits on the others, and these are seldom sampled"
    if tangent.parts == 2:
        reason = "near zeros of ψ, where log ψ has poles, or seldom sampled"
    return [
        Finding(
            "heavy tails",
            f"{len(few)} of {len(batch)} configurations carry {100 * share:.0f} % of the tangent kernel ({reason}): "
            "averages over samples do not settle. Smaller parameters have lighter tails; else take more samples",
        )
    ]


def variance(residual: float, energy: complex, batch: Batch) -> list[Finding]:
    """Local energies that are all the same."""
    if residual > 1e-20 * max(1.0, abs(energy)) ** 2:
        return []
    if len(np.unique(np.asarray(batch.x), axis=0)) == 1:
        return [
            Finding(
                "zero variance",
                "every sample is the same configuration: the sampler is stuck, or |ψ|² sits on one configuration; "
                "gradients are zero whatever the energy is. Start from a smaller initial scale",
            )
        ]
    return [
        Finding(
            "zero variance",
            f"all local energies are {np.real(energy):.6g}: an eigenstate, on which gradients are zero and no rate "
            "matters",
        )
    ]


def parity(
    log_psi: LogPsi, parameters: PyTree, hamiltonian: DiscreteOperator, x: np.ndarray
) -> list[Finding]:
    """Networks odd or even under the flip of all spins, where the Hamiltonian commutes with it.

    Args:
        log_psi: (parameters, x) -> log ψ.
        parameters: Of log ψ.
        hamiltonian: A discrete operator.
        x: Some configurations (n, sites) drawn from all of the basis.
    """
    hilbert = hamiltonian.hilbert
    if not (isinstance(hilbert, nk.hilbert.Spin) and hilbert.local_size == 2):
        return []
    if hilbert.constrained and not np.all(np.sum(x, -1) == 0):
        return []
    if not _commutes_with_flip(hamiltonian, x):
        return []
    # Off the special point that parameters may start from: biases of zero.
    kick = jax.tree.map(
        lambda p: (
            p + 0.1 * (0.1 + jnp.abs(p).mean()) * jax.random.normal(jax.random.key(0), p.shape)
        ),
        parameters,
    )
    up, down = (np.asarray(values(log_psi, kick, jnp.asarray(s * x))) for s in (1, -1))
    if not (np.isfinite(up).all() and np.isfinite(down).all()):
        return []
    size = np.abs(up - up.mean()).max()
    if not size > 0:
        return []
    tolerance = 1e-4 * size
    total = up + down
    if np.abs(total - total.mean()).max() < tolerance:
        return [
            Finding(
                "odd network",
                "log ψ(-x) + log ψ(x) is a constant whatever the parameters, but H commutes with the flip of "
                "all spins: |ψ(x)| = |ψ(-x)| is reached by a constant only. Give it biases, or an even activation",
            )
        ]
    if np.abs(np.exp(up - down) - 1).max() < max(1e-4 * min(size, 1.0), 1e-12):
        return [
            Finding(
                "even network",
                "ψ(-x) = ψ(x) whatever the parameters: states odd under the flip of all spins cannot be reached. H "
                "commutes with the flip, so the ground state of its even sector can",
            )
        ]
    return []


def _commutes_with_flip(hamiltonian: DiscreteOperator, x: np.ndarray) -> bool:
    """Whether H maps an even function to an even one, on configurations x."""
    w = np.random.default_rng(1).normal(size=x.shape[-1])

    def image(states: np.ndarray) -> np.ndarray:
        connected, elements = map(np.asarray, hamiltonian.get_conn_padded(states))
        return np.sum(elements * np.cos(connected @ w), -1)

    up, down = image(x), image(-x)
    return bool(np.allclose(up, down, rtol=1e-9, atol=1e-9 * max(1.0, np.abs(up).max())))


def after_the_choice(
    chosen: Candidate, modes: TangentModes, n_samples: int | None, flat: bool
) -> list[Finding]:
    """What the recommended settings show.

    Args:
        chosen: The settings.
        modes: At the start.
        n_samples: Samples of a step, None for none.
        flat: Whether the kernel of the start is gone after one step.
    """
    out = []
    if n_samples is not None and chosen.trained > 0.5 * n_samples:
        out.append(
            Finding(
                "few samples",
                f"SR trains {chosen.trained:.0f} modes from {n_samples} samples: their forces are mostly noise. Take "
                "more samples, or a larger shift",
            )
        )
    if flat:
        out.append(
            Finding(
                "flat start",
                "the tangent kernel of the start is gone after one step (often tiny initial parameters: a saddle). "
                "The settings are for the kernel after that step; ask again after ten",
            )
        )
    if modes.unreachable > 0.5:
        out.append(
            Finding(
                "out of reach",
                f"{100 * modes.unreachable:.0f} % of what the energy asks for lies outside the tangent space: take a "
                "wider or another network, or break a symmetry that it has and the ground state lacks",
            )
        )
    return out
