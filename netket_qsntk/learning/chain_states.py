"""Wave functions of long chains as matrix products, with their powers by transfer matrices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from netket_qsntk.errors import TargetPowerError

__all__ = ["ChainState", "ising_quench", "product_state"]


@dataclass(frozen=True, repr=False)
class ChainState:
    r"""ψ(x) = A₁(x₁) A₂(x₂) ⋯ A_d(x_d), a matrix product over two-valued sites, normalised.

    Its powers follow site by site: with Â⁰ and Â¹ half the sum and the difference of A(+1) and A(-1),

    .. math:: E_w \leftarrow \hat A^{0\dagger} E_w \hat A^0 + \hat A^{1\dagger} E_{w-1} \hat A^1,
        \qquad P_w = E_w\ \text{at the end},

    sums of positive terms, accurate to rounding for any number of sites. Cost: d² products of D × D matrices.

    Args:
        tensors: One array (2, D_left, D_right) a site, x = +1 first; D = 1 at both ends.

    Raises:
        TargetPowerError: Tensors that do not fit together, are not finite, or have norm zero.

    Example:
        >>> import numpy as np, netket_qsntk as qs
        >>> plus = qs.learning.ChainState([np.ones((2, 1, 1))] * 100)
        >>> power = plus.powers() * 2.0**100
        >>> (power[:3] + 0.0).tolist()
        [1.0, 0.0, 0.0]
    """

    tensors: tuple[np.ndarray, ...]

    def __init__(self, tensors: Sequence[ArrayLike]) -> None:
        try:
            made = tuple(np.asarray(t, dtype=complex) for t in tensors)
        except (TypeError, ValueError) as error:
            raise TargetPowerError(
                f"ChainState takes a sequence of arrays (2, left, right), got a {type(tensors).__name__}. "
                "qs.learning.product_state and qs.learning.ising_quench make states of chains."
            ) from error
        ends = [1, *(t.shape[-1] for t in made)]
        for i, t in enumerate(made):
            if t.ndim != 3 or t.shape[:2] != (2, ends[i]) or not np.isfinite(t).all():
                raise TargetPowerError(
                    f"Tensor {i} has shape {t.shape}: expected finite numbers (2, {ends[i]}, right)."
                )
        if not made or ends[-1] != 1:
            raise TargetPowerError(
                f"Expected one tensor or more, and one column in the last: got {len(made)} tensors, the last of "
                f"{ends[-1]} columns."
            )
        object.__setattr__(self, "tensors", _normalised(made))

    @property
    def n_sites(self) -> int:
        """Length of the chain."""
        return len(self.tensors)

    def powers(self) -> np.ndarray:
        """P_w, (n_sites + 1,) float64: mean squares over all 2^d configurations, summing to 2^-d."""
        d = self.n_sites
        environment = np.zeros((d + 1, 1, 1), complex)
        environment[0] = 1.0
        for t in self.tensors:
            even, odd = (t[0] + t[1]) / 2, (t[0] - t[1]) / 2
            same = even.conj().T @ environment @ even
            moved = odd.conj().T @ environment @ odd
            same[1:] += moved[:-1]
            environment = same
        return environment[:, 0, 0].real

    def participation(self) -> float:
        """1/Σ|ψ|⁴: over how many configurations the state is spread, effectively. Cost: d products of D² × D²."""
        if max(t.shape[2] for t in self.tensors) > 8:
            return float("nan")
        vector = np.ones((1, 1), complex)
        for t in self.tensors:
            pair = [np.kron(a, a) for a in t]
            vector = sum((a.conj().T @ vector @ a for a in pair), start=np.zeros(()))
        return float(1 / vector[0, 0].real)

    def log_psi(self, x: ArrayLike) -> np.ndarray:
        """log ψ at configurations x (…, sites) of spins ±1: (…) complex."""
        up = np.asarray(x) > 0
        vector, log = np.ones((*up.shape[:-1], 1, 1), complex), np.zeros(up.shape[:-1])
        for i, t in enumerate(self.tensors):
            vector = vector @ np.where(up[..., i, None, None], t[0], t[1])
            size = np.abs(vector).max(axis=(-2, -1), keepdims=True)
            size = np.where(size == 0, 1.0, size)
            vector, log = vector / size, log + np.log(size[..., 0, 0])
        with np.errstate(divide="ignore"):
            return log + np.log(vector[..., 0, 0])

    def __repr__(self) -> str:
        bond = max(t.shape[2] for t in self.tensors)
        return f"ChainState({self.n_sites} sites, bond dimension {bond})"


def _normalised(tensors: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """The same state of norm one: each tensor divided by its share, so that nothing over- or underflows."""
    out, environment = [], np.ones((1, 1), complex)
    for t in tensors:
        new = sum((a.conj().T @ environment @ a for a in t), start=np.zeros(()))
        norm = np.linalg.norm(new)
        if norm == 0:
            raise TargetPowerError(
                "These tensors multiply to zero: the state has no norm to divide by."
            )
        out.append(t / np.sqrt(norm))
        environment = new / norm
    last = environment[0, 0].real
    return (*out[:-1], out[-1] / np.sqrt(last))


def product_state(sites: ArrayLike) -> ChainState:
    r"""ψ(x) = Π_i φ_i(x_i).

    Args:
        sites: (d, 2) amplitudes (φ_i(+1), φ_i(-1)), real or complex, of any norm.

    Raises:
        TargetPowerError: Anything but an array (d, 2) of numbers.

    Example:
        >>> import netket_qsntk as qs
        >>> power = qs.learning.product_state([[1.0, 0.0]] * 3).powers()
        >>> (power * 64).round(12).tolist()  # one configuration: all parities alike
        [1.0, 3.0, 3.0, 1.0]
    """
    try:
        array = np.asarray(sites, dtype=complex)
    except (TypeError, ValueError) as error:
        raise TargetPowerError(
            f"product_state takes amplitudes (d, 2), got a {type(sites).__name__} that is no array of numbers."
        ) from error
    if array.ndim != 2 or array.shape[1] != 2:
        raise TargetPowerError(f"sites has shape {array.shape}: expected (d, 2).")
    return ChainState(list(array[:, :, None, None]))


def ising_quench(
    n_sites: int, *, J: float, time: float, longitudinal: float = 0.0, pbc: bool = True
) -> ChainState:
    r"""The state e^{-iHt}|+…+⟩ of a classical Ising chain, H = J Σ σᶻσᶻ + g Σ σᶻ.

    .. math:: \psi(x) = 2^{-d/2} e^{-it(J\sum_i x_i x_{i+1} + g \sum_i x_i)}

    Args:
        n_sites: Length of the chain.
        J: Coupling; NetKet's ``Ising(hilbert, graph, h=0, J=J)``.
        time: t.
        longitudinal: g.
        pbc: Whether the last site is the first one's neighbour.

    Raises:
        TargetPowerError: ``n_sites`` is no whole number from two up.

    Example:
        >>> import netket_qsntk as qs
        >>> qs.learning.ising_quench(100, J=-1.0, time=0.3)
        ChainState(100 sites, bond dimension 4)
    """
    x = np.array([1.0, -1.0])
    if isinstance(n_sites, bool) or not isinstance(n_sites, int | np.integer) or n_sites < 2:
        raise TargetPowerError(
            f"n_sites={n_sites!r}: expected a whole number of spins, at least two."
        )
    bond = np.exp(-1j * J * time * np.outer(x, x))
    site = np.exp(-1j * longitudinal * time * x)
    # The bond's left index is the neighbour's spin; a ring carries the first spin along in a second one.
    carried = 2 if pbc and n_sites > 2 else 1
    first, middle, last = [], [], []
    for s in range(2):
        e = np.eye(2)[s : s + 1]
        start = np.kron(e, e) if carried == 2 else e
        first.append(site[s] * start)
        step = np.outer(bond[:, s], np.eye(2)[s])
        middle.append(site[s] * (np.kron(np.eye(2), step) if carried == 2 else step))
        end = np.outer(bond[:, s], bond[s]).T.reshape(-1, 1) if carried == 2 else bond[:, s : s + 1]
        last.append(site[s] * end)
    tensors: list[Any] = [np.array(first), *[np.array(middle)] * (n_sites - 2), np.array(last)]
    return ChainState(tensors)
