"""The power of a target in the levels of a kernel: what of it is simple, and what is not."""

from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from netket.utils.group import PermutationGroup
from numpy.typing import ArrayLike

from netket_qsntk.errors import SymmetryError, TargetPowerError
from netket_qsntk.learning.chain_states import ChainState
from netket_qsntk.learning.levels import Levels
from netket_qsntk.learning.product_levels import occupations
from netket_qsntk.learning.schemes import hamming_scheme, johnson_scheme
from netket_qsntk.operators.transforms import apply_factors, walsh_hadamard
from netket_qsntk.readout import Readout
from netket_qsntk.symmetry import Projection, projection
from netket_qsntk.targets import Target, all_states

__all__ = ["TargetPower", "target_power"]

# Sites whose transform goes in one piece, two real vectors of 2^26: 1 GiB. Each site more doubles the pieces.
_WHOLE = 26
# 64 transforms of one piece, some minutes, and what the target itself takes.
_MOST_SPINS = 32


class TargetPower(np.ndarray):
    """Mean square amplitude of a target in each level: an array (levels,) that knows how spread out the target is.

    Attributes:
        participation: 1/Σ p², p = |f|²/Σ|f|²: over how many configurations the target is spread, effectively; nan
            where that is not known.
        n_states: How many configurations the target has; None where that is not known.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> target = qs.targets.Target(nk.hilbert.Spin(0.5, 2), [1, 1, 1, 1])
        >>> power = qs.learning.target_power(target)
        >>> power.tolist(), float(power.participation)
        ([0.25, 0.0, 0.0], 4.0)
    """

    participation: float
    n_states: float | None

    def __new__(
        cls, values: ArrayLike, participation: float = np.nan, n_states: float | None = None
    ) -> "TargetPower":
        """Values (levels,), the participation, and the number of configurations."""
        try:
            made = np.asarray(values, dtype=float).view(cls)
        except (TypeError, ValueError) as error:
            raise TargetPowerError(
                f"TargetPower takes numbers (levels,), got a {type(values).__name__}: "
                "qs.learning.target_power(target) makes them of a target."
            ) from error
        made.participation = float(participation)
        made.n_states = None if n_states is None else float(n_states)
        return made

    def __array_finalize__(self, other: object) -> None:
        if isinstance(other, TargetPower):
            self.participation, self.n_states = other.participation, other.n_states
        else:
            self.participation, self.n_states = np.nan, None

    def __repr__(self) -> str:
        return f"TargetPower({self.size} levels, total={self.sum():.6g}, participation={self.participation:.6g})"

    def __reduce__(self) -> tuple[Any, ...]:
        return TargetPower, (np.asarray(self), self.participation, self.n_states)


def target_power(
    target: Target | ChainState,
    *,
    group: PermutationGroup | Projection | None = None,
    levels: Levels | None = None,
    readout: Readout | Literal["psi", "log_psi"] = "psi",
) -> TargetPower:
    r"""Mean square amplitude of a target in each level of :func:`netket_qsntk.learning.levels`.

    .. math:: P_w = \sum_{|S| = w} |\hat\psi_S|^2,\qquad
        \hat\psi_S = \frac1N \sum_x \psi(x) \prod_{i \in S} x_i,\qquad \sum_w P_w = \frac1N \sum_x |\psi(x)|^2

    on all configurations of spins; in a sector of fixed magnetisation the mean square of the part of each total
    spin. Exact states by a Walsh-Hadamard transform; :class:`~netket_qsntk.learning.ChainState` (product states,
    Ising quenches, matrix product states) by a transfer matrix, for hundreds of sites.

    Args:
        target: The target, or a state of a chain.
        group: A symmetry group: the target must belong to its trivial representation (or to that of the
            :class:`netket_qsntk.symmetry.Projection`), as everything that a symmetrised network can learn.
        levels: The levels that the powers are for; needed for sites of more than two states, whose functions depend
            on the kernel.
        readout: What the network's function is, with its reference: ``"log_psi"`` asks for log ψ, the function that a
            network of log ψ learns (its phase in (-π, π]); a model's ``readout`` says it with the reference.

    Returns:
        (levels,) float64, summing to 1/N for ψ of unit norm.

    Raises:
        TargetPowerError: No levels on this Hilbert space; a logarithm of zero amplitudes; a chain's logarithm.
        SymmetryError: The target has not the symmetry of the group.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> target = qs.targets.Target(nk.hilbert.Spin(0.5, 2), [1, 1, 1, -1])
        >>> (qs.learning.target_power(target) * 16).tolist()
        [1.0, 2.0, 1.0]
    """
    chosen = Readout(readout) if isinstance(readout, str) else readout
    if isinstance(target, ChainState):
        if chosen != Readout("psi"):
            raise TargetPowerError(
                "The powers of a chain's state are those of ψ without a reference: for log ψ give a Target."
            )
        return TargetPower(target.powers(), target.participation(), 2.0**target.n_sites)
    if not isinstance(target, Target):
        raise TargetPowerError(
            f"target is a {type(target).__name__}: expected a qs.targets.Target (Target.from_state(vs) makes one of "
            "a NetKet state), or a state of a chain, such as qs.learning.product_state(...)."
        )
    values = _function(target, chosen)
    weights = np.abs(values) ** 2
    participation = weights.sum() ** 2 / (weights**2).sum() if weights.any() else 0.0
    if group is not None:
        _check_symmetry(target, values, group)
    if levels is not None and levels.site_functions is not None:
        return TargetPower(_of_sites(values, target, levels), participation, target.n_states)
    return TargetPower(_of_spins(values, target), participation, target.n_states)


def _function(target: Target, readout: Readout) -> np.ndarray:
    """The real or complex function that a network has to become: (n_states,)."""
    if not readout.is_log and readout.reference is None:
        return target.amplitudes
    if readout.is_log and not np.all(target.amplitudes):
        raise TargetPowerError(
            f"{int(np.sum(target.amplitudes == 0))} amplitudes are zero and have no logarithm: learn ψ "
            "(readout='psi'), or restrict the Hilbert space to a sector where ψ has no zeros."
        )
    with np.errstate(divide="ignore"):
        log_psi = np.log(target.amplitudes)
    values = np.asarray(readout.functions(jnp.asarray(log_psi), all_states(target.hilbert)))
    if readout.is_log:
        # A reference's phase is known up to turns: the network's is the nearest to 0.
        values = values.real + 1j * (np.mod(values.imag + np.pi, 2 * np.pi) - np.pi)
    return values


def _up(target: Target) -> np.ndarray:
    states = all_states(target.hilbert)
    kinds = np.unique(states)
    if len(kinds) > 2 or any(size > 2 for size in target.hilbert.shape):
        raise TargetPowerError(
            f"Sites of {target.hilbert} have more than two states, and the functions of a level depend on the "
            "kernel: pass levels=qs.learning.levels(kernel, hilbert)."
        )
    return states == kinds[-1]


def _of_spins(values: np.ndarray, target: Target) -> np.ndarray:
    up = _up(target)
    d = up.shape[1]
    if d > _MOST_SPINS:
        raise TargetPowerError(
            f"{d} sites: the transform goes over 2^{d} numbers. Expected at most {_MOST_SPINS} sites, or a state of "
            "a chain (qs.learning.ChainState), which is good for hundreds."
        )
    # NetKet's order varies with the Hilbert space; a site is a bit.
    numbers = up @ (1 << np.arange(d, dtype=np.int64))
    counts = np.unique(up.sum(1))
    n = 1 << d
    powers = sum(
        (_walsh_powers(numbers, part, d) for part in (values.real, values.imag) if part.any()),
        start=np.zeros(d + 1),
    )
    if len(values) == n:
        return powers
    scheme = johnson_scheme(d, int(counts[0]))
    if len(counts) > 1 or len(values) != scheme.n_states:
        raise TargetPowerError(
            f"{target.hilbert} is neither the whole basis of its sites nor a sector with a fixed number of them up: "
            "kernels have no levels there."
        )
    # From mean squares over all configurations to means over the sector.
    return _sector(d, int(counts[0])) @ powers


def _walsh_powers(numbers: np.ndarray, values: np.ndarray, d: int) -> np.ndarray:
    """Σ |coefficient|² of the parities of w sites, (d + 1,): one transform for each parity of the last sites."""
    within = min(d, _WHOLE)
    low, high = numbers & ((1 << within) - 1), numbers >> within
    weights = np.bitwise_count(np.arange(1 << within, dtype=np.uint32))
    powers = np.zeros(d + 1)
    for parity in range(1 << (d - within)):
        signed = np.where(np.bitwise_count(high & parity) & 1, -values, values)
        piece = np.bincount(low, signed, minlength=1 << within)
        spectrum = np.asarray(walsh_hadamard(jnp.asarray(piece))) / 2.0**d
        shift = parity.bit_count()
        powers[shift : shift + within + 1] += np.bincount(weights, spectrum**2)
    return powers


def _sector(d: int, up: int) -> np.ndarray:
    """Powers in the levels of the sector from those of its function continued by zero: (levels, d + 1).

    Autocorrelations Σ_{distance 2i} ψ*ψ are Σ_w K_{2i}(w) |ψ̂_w|² on one side and Σ_j E_i(j) |ψ_j|² on the other.
    """
    cube, sector = hamming_scheme(d), johnson_scheme(d, up)
    valencies, n, m = sector.valencies, cube.n_states, sector.n_states
    rows = []
    for j, multiplicity in enumerate(sector.multiplicities):
        row = []
        for w in range(d + 1):
            pairs = zip(sector.distances, sector.table, valencies, strict=True)
            total = sum(relation[j] * cube.table[h][w] / valency for h, relation, valency in pairs)
            row.append(multiplicity * total * n / m**2)
        rows.append(row)
    return np.array(rows)


def _of_sites(values: np.ndarray, target: Target, levels: Levels) -> np.ndarray:
    functions = np.asarray(levels.site_functions)
    q, d = len(functions), target.hilbert.size
    if len(values) != q**d:
        raise TargetPowerError(
            f"levels are of sites of {q} states, and {target.hilbert} has {len(values)} configurations, not {q}^{d}."
        )
    states = all_states(target.hilbert)
    # Sites' functions are in the order of their states, which is not always a rising one.
    kinds = np.asarray(target.hilbert.states_at_index(0), dtype=states.dtype)
    rising = np.argsort(kinds)
    digits = rising[np.searchsorted(kinds, states, sorter=rising)]
    places = digits @ (q ** np.arange(d - 1, -1, -1, dtype=np.int64))
    powers = np.zeros(q**d)
    for part in (values.real, values.imag):
        whole = np.empty(q**d)
        whole[places] = part
        moved = apply_factors([jnp.asarray(functions.T)] * d, jnp.asarray(whole))
        powers += np.asarray(moved) ** 2
    digits = np.stack(np.unravel_index(np.arange(q**d), (q,) * d), axis=1)
    numbers = np.stack([(digits == s).sum(1) for s in range(q)], axis=1)
    key = (d + 1) ** np.arange(q, dtype=np.int64)
    wanted = occupations(d, q) @ key
    order = np.argsort(wanted)
    found = order[np.searchsorted(wanted[order], numbers @ key)]
    return np.bincount(found, powers, minlength=len(wanted)) / len(values)


def _check_symmetry(
    target: Target, values: np.ndarray, group: PermutationGroup | Projection | None
) -> None:
    symmetry = projection(group, sites=target.hilbert.size)
    states = all_states(target.hilbert)
    total = np.zeros(len(values), complex)
    for move, sign, chi in symmetry.elements():
        image = states[:, move] if sign > 0 else -states[:, move]
        total += np.conj(chi) * values[target.hilbert.states_to_numbers(image)]
    projected = total * symmetry.dimension / symmetry.order
    lost = np.linalg.norm(projected - values) / max(float(np.linalg.norm(values)), 1e-300)
    if lost > 1e-6:
        raise SymmetryError(
            f"{lost**2:.1%} of the target's norm has not the symmetry of {symmetry!r}, and no symmetrised network "
            "learns it. Project the target first, or leave the group out."
        )
