"""The two models of arXiv:2112.00723 and the quenches that its networks learn.

The paper does not say which bonds and which numbering of the sites it uses; the defaults here are
those that come closest to the losses of its Fig. 3, and every other choice is an option.
"""

from collections.abc import Sequence
from functools import partial

import netket as nk

from netket_qsntk.errors import HamiltonianError
from netket_qsntk.targets.diagonalization import ground_state
from netket_qsntk.targets.evolution import quench
from netket_qsntk.targets.target import Target

__all__ = ["tfim", "hubbard", "tfim_quench", "hubbard_quench"]


def tfim(
    *, extent: Sequence[int] = (3, 4), field: float = 0.1, pbc: bool = True
) -> nk.operator.DiscreteOperator:
    r"""Transverse-field Ising model on a rectangle, Eq. 19.

    .. math:: H = -\sum_{\langle i,j\rangle} \sigma^z_i \sigma^z_j - J \sum_i \sigma^x_i

    Args:
        extent: Sides of the lattice; sites are numbered along the last one first.
        field: The paper's J, the transverse field (NetKet's ``h``).
        pbc: Periodic bonds. A periodic side of length 2 has each of its bonds once.

    Returns:
        ``nk.operator.Ising`` on ``nk.hilbert.Spin(0.5, n_sites)``.

    Example:
        >>> import netket_qsntk as qs
        >>> qs.targets.tfim(extent=(2, 3), pbc=False)
        Ising...(J=-1.0, h=0.1; dim=6)
    """
    graph = nk.graph.Grid(list(extent), pbc=_periodic_sides(extent, pbc))
    return nk.operator.Ising(nk.hilbert.Spin(0.5, graph.n_nodes), graph, h=field, J=-1.0)


def hubbard(
    U: float,
    *,
    extent: tuple[int, int] = (3, 4),
    order: int = 3,
    n_fermions_per_spin: tuple[int, int] = (2, 2),
    pbc: bool = False,
) -> nk.operator.DiscreteOperator:
    r"""Fermi-Hubbard model on a rectangle at fixed particle numbers, Eq. 20.

    .. math:: H = -\sum_{\langle i,j\rangle,\sigma} (c^\dagger_{i\sigma} c_{j\sigma} + h.c.)
        + U \sum_i n_{i\uparrow} n_{i\downarrow}

    The order of the fermionic modes sets the signs of the amplitudes: all sites with sz = -1, then
    all with sz = +1, and the sites numbered along the side of length `order` first. On 3×4 sites
    the two orders give targets that are not equally hard to learn: test losses differ by a factor
    of two.

    Args:
        U: On-site repulsion in units of the hopping.
        extent: Sides of the lattice.
        order: Length of the side along which consecutive sites lie; one of `extent`.
        n_fermions_per_spin: Numbers of fermions with sz = -1 and with sz = +1.
        pbc: Periodic bonds. A periodic side of length 2 has each of its bonds once.

    Returns:
        ``nk.operator.FermiHubbardJax`` on ``nk.hilbert.SpinOrbitalFermions``.

    Raises:
        HamiltonianError: `order` is not one of the two sides.

    Example:
        >>> import netket_qsntk as qs
        >>> qs.targets.hubbard(4.0).hilbert.n_states
        4356
    """
    if len(extent) != 2 or order not in extent:
        raise HamiltonianError(
            f"hubbard(extent={tuple(extent)}, order={order!r}): expected two sides, and order "
            "equal to the length of one of them, as in extent=(3, 4), order=3."
        )
    other = extent[1] if order == extent[0] else extent[0]
    sides = [other, order]
    graph = nk.graph.Grid(sides, pbc=_periodic_sides(sides, pbc))
    hilbert = nk.hilbert.SpinOrbitalFermions(
        graph.n_nodes, s=1 / 2, n_fermions_per_spin=tuple(n_fermions_per_spin)
    )
    return nk.operator.FermiHubbardJax(hilbert, t=1.0, U=U, graph=graph)


def tfim_quench(
    *,
    extent: Sequence[int] = (3, 4),
    field: float = 0.1,
    time: float = 2.1,
    pbc: bool = True,
) -> Target:
    r"""The Ising target of Figs. 2 and 3: :math:`e^{-iHt}|{+}\cdots{+}\rangle`, 4096 amplitudes.

    Args:
        extent: As for :func:`tfim`.
        field: As for :func:`tfim`.
        time: t in units of the inverse Ising coupling.
        pbc: As for :func:`tfim`.

    Returns:
        The target on ``nk.hilbert.Spin(0.5, n_sites)``.

    Example:
        >>> import netket_qsntk as qs
        >>> qs.targets.tfim_quench()
        Target(Spin(s=1/2, N=12...), 4096 states, effectively 3651.5, ...)
    """
    return quench(tfim(extent=extent, field=field, pbc=pbc), initial="plus", time=time)


def hubbard_quench(
    *,
    U_initial: float = 4.0,
    U_final: float = 8.0,
    time: float = 2.1,
    extent: tuple[int, int] = (3, 4),
    order: int = 3,
    n_fermions_per_spin: tuple[int, int] = (2, 2),
    pbc: bool = False,
) -> Target:
    r"""The Hubbard target of Figs. 2 and 3: the ground state at one U, evolved with another.

    .. math:: |\psi_T\rangle = e^{-iH(U_\mathrm{final})t} |\mathrm{gs}(U_\mathrm{initial})\rangle

    The first call compiles NetKet's fermion operators, which takes some ten seconds.

    Args:
        U_initial: On-site repulsion before the quench, in units of the hopping.
        U_final: On-site repulsion after the quench.
        time: t in units of the inverse hopping.
        extent: As for :func:`hubbard`.
        order: As for :func:`hubbard`.
        n_fermions_per_spin: As for :func:`hubbard`.
        pbc: As for :func:`hubbard`.

    Returns:
        The target on ``nk.hilbert.SpinOrbitalFermions``; 4356 amplitudes by default.

    Raises:
        DegenerateGroundStateError: The ground state at `U_initial` is not unique.
        HamiltonianError: `order` is not one of the two sides.

    Example:
        >>> import netket_qsntk as qs
        >>> qs.targets.hubbard_quench()
        Target(SpinOrbitalFermions(n_orbitals=12, ...), 4356 states, effectively ...)
    """
    on_lattice = partial(
        hubbard, extent=extent, order=order, n_fermions_per_spin=n_fermions_per_spin, pbc=pbc
    )
    return quench(on_lattice(U_final), initial=ground_state(on_lattice(U_initial)), time=time)


def _periodic_sides(extent: Sequence[int], pbc: bool) -> list[bool]:
    # NetKet's Grid warns about a periodic side with fewer than three sites and leaves it open.
    return [pbc and side > 2 for side in extent]
