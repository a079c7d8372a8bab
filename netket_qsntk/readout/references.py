"""Fixed wave functions that networks multiply: sign rules, Jastrow factors, product states, other networks."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
import netket as nk
import numpy as np
from flax import linen as nn
from flax import traverse_util
from jax import Array
from jax.typing import ArrayLike
from netket.utils import HashableArray
from netket.utils.types import PyTree

from netket_qsntk.errors import InvalidModelError
from netket_qsntk.tracing import is_hashable


@runtime_checkable
class Reference(Protocol):
    """A fixed log ψ: hashable, from configurations (…, sites) to (…), real or complex."""

    def __call__(self, x: Array) -> Array:
        """Log ψ(x)."""
        ...


class _Summable:
    """``a + b`` is the product of two wave functions."""

    def __add__(self, other: object) -> "SumOfReferences":
        return SumOfReferences((self, as_reference(other)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class SumOfReferences(_Summable):
    """The product of several wave functions: their log ψ added.

    Args:
        terms: References.
    """

    terms: tuple[Reference, ...]

    def __repr__(self) -> str:
        return f"SumOfReferences({', '.join(map(repr, self.terms))})"

    def __call__(self, x: Array) -> Array:
        """Log ψ(x): (…, sites) -> (…)."""
        return sum((term(x) for term in self.terms), start=jnp.zeros(()))


@dataclass(frozen=True)
class MarshallSign(_Summable):
    r"""The sign (-1)^{number of up spins on one sublattice}, as log ψ = iπ (number mod 2).

    For spins of any size, and for particle numbers, x/2 (or x) steps by one from level to level, and so does the
    exponent. :func:`marshall` makes it for the sublattices of a graph.

    Args:
        sublattice: Sites of the sublattice.
        spacing: Difference of neighbouring values of a coordinate: 2 for NetKet's spins, 1 for particle numbers.

    Raises:
        InvalidModelError: A spacing that is neither.

    Example:
        >>> signs = jnp.exp(MarshallSign((0, 2))(jnp.array([[1, 1, -1, 1], [1, -1, 1, -1]])))
        >>> signs.real.round(12).tolist()
        [-1.0, 1.0]
    """

    sublattice: tuple[int, ...]
    spacing: int = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "sublattice", tuple(int(i) for i in self.sublattice))
        if self.spacing not in (1, 2):
            raise InvalidModelError(
                f"MarshallSign(spacing={self.spacing!r}): expected 2 (spins) or 1 (particle numbers)."
            )

    def __call__(self, x: Array) -> Array:
        """Log ψ(x): (…, sites) -> (…), 0 or iπ."""
        x = jnp.asarray(x)
        _check_sites(self, x, max(self.sublattice, default=-1) + 1, exact=False)
        ups = jnp.floor((x[..., list(self.sublattice)].astype(float) + 0.5) / self.spacing)
        odd = jnp.sum(ups, axis=-1) % 2
        return 1j * jnp.pi * odd

    def __repr__(self) -> str:
        return f"MarshallSign({len(self.sublattice)} sites of a sublattice)"


@dataclass(frozen=True)
class JastrowReference(_Summable):
    r"""A Jastrow factor and a product state: log ψ(x) = ½ Σ_ij x_i W_ij x_j + Σ_i h_i x_i.

    Args:
        couplings: W (sites, sites), symmetric, real or complex. The sum runs over all pairs twice, so that W_ij
            is the coefficient of x_i x_j.
        field: h, one number for all sites or (sites,).

    Raises:
        InvalidModelError: W is not a symmetric matrix, or h does not fit.

    Example:
        >>> import numpy as np, netket_qsntk as qs
        >>> bond = qs.readout.JastrowReference(np.array([[0.0, 0.5], [0.5, 0.0]]))
        >>> bond(np.array([[1, 1], [1, -1]])).tolist()
        [0.5, -0.5]
    """

    couplings: ArrayLike
    field: ArrayLike = 0.0

    def __post_init__(self) -> None:
        w = np.asarray(self.couplings)
        w = w.astype(complex if np.iscomplexobj(w) else float)
        if w.ndim != 2 or w.shape[0] != w.shape[1] or not np.allclose(w, w.T):
            raise InvalidModelError(
                f"JastrowReference(couplings of shape {w.shape}): expected a symmetric matrix (sites, sites)."
            )
        h = np.asarray(self.field)
        if h.shape not in ((), w.shape[:1]):
            raise InvalidModelError(
                f"JastrowReference(field of shape {h.shape}): expected one number or {w.shape[:1]}."
            )
        h = np.broadcast_to(h.astype(complex if np.iscomplexobj(h) else float), w.shape[:1])
        object.__setattr__(self, "couplings", HashableArray(w))
        object.__setattr__(self, "field", HashableArray(h))

    def __call__(self, x: Array) -> Array:
        """Log ψ(x): (…, sites) -> (…)."""
        w, h = jnp.asarray(np.asarray(self.couplings)), jnp.asarray(np.asarray(self.field))
        x = jnp.asarray(x)
        _check_sites(self, x, len(h), exact=True)
        x = x.astype(float)
        return jnp.sum((x @ (w / 2)) * x, axis=-1) + x @ h

    def __repr__(self) -> str:
        return f"JastrowReference({len(np.asarray(self.field))} sites)"


@dataclass(frozen=True)
class NetworkReference(_Summable):
    """A network with given variables, held fixed.

    Args:
        module: A flax linen module that gives log ψ.
        variables: Its variables; a copy is kept.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> vs = nk.vqs.FullSumState(nk.hilbert.Spin(0.5, 4), nk.models.Jastrow(param_dtype=float))
        >>> net = qs.models.WideMLP(widths=(8,), output="log_psi", reference=vs.model.bind(vs.variables))
        >>> net.reference
        NetworkReference(Jastrow)
    """

    module: nn.Module
    variables: PyTree

    def __post_init__(self) -> None:
        if not isinstance(self.variables, tuple):
            flat = traverse_util.flatten_dict(dict(self.variables))
            kept = tuple((path, HashableArray(np.asarray(leaf))) for path, leaf in flat.items())
            object.__setattr__(self, "variables", kept)

    def __call__(self, x: Array) -> Array:
        """Log ψ(x): (…, sites) -> (…)."""
        flat = {path: jnp.asarray(np.asarray(leaf)) for path, leaf in self.variables}
        return jnp.asarray(self.module.apply(traverse_util.unflatten_dict(flat), x))

    def __repr__(self) -> str:
        return f"NetworkReference({type(self.module).__name__})"


def as_reference(reference: object) -> Reference | None:
    """What a user gives for a reference, as one that is hashable: a bound flax module with its variables.

    Args:
        reference: A function of configurations, a bound flax module, a :class:`Reference`, or None.

    Example:
        >>> import netket as nk
        >>> vs = nk.vqs.FullSumState(nk.hilbert.Spin(0.5, 4), nk.models.Jastrow(), seed=0)
        >>> as_reference(vs.model.bind(vs.variables))
        NetworkReference(Jastrow)

    Raises:
        InvalidModelError: It cannot be called, is a module without variables, or cannot be hashed.
    """
    if reference is None:
        return None
    if isinstance(reference, nn.Module):
        if reference.scope is None:
            raise InvalidModelError(
                f"reference={type(reference).__name__}: a reference is fixed, and this module has no variables. Bind "
                "it to those of a state: reference=vs.model.bind(vs.variables)."
            )
        module, variables = reference.unbind()
        return NetworkReference(module, variables)
    if not callable(reference):
        raise InvalidModelError(
            f"reference={reference!r}: expected a function from configurations (…, sites) to a fixed log ψ (…), such "
            "as qs.readout.marshall(graph)."
        )
    if not is_hashable(reference):
        raise InvalidModelError(
            f"reference of type {type(reference).__name__} cannot be hashed, and JAX tells compiled programs apart "
            "by their models: use a function, a frozen dataclass, or a class of qs.readout."
        )
    return reference


def marshall(graph: nk.graph.AbstractGraph) -> MarshallSign:
    r"""The sign rule of Marshall for antiferromagnets on a graph of two sublattices.

    In that basis the Heisenberg model of bipartite lattices has no negative sign, and its ground state is
    positive (W. Marshall, Proc. R. Soc. A 232, 48 (1955)). The sublattice is that of site 0, and of the
    lowest site of every further connected part.

    Args:
        graph: A NetKet graph or lattice.

    Raises:
        InvalidModelError: The graph has no two sublattices, as every lattice with odd loops.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> qs.readout.marshall(nk.graph.Chain(4)).sublattice
        (0, 2)
    """
    neighbours: list[list[int]] = [[] for _ in range(graph.n_nodes)]
    for i, j in graph.edges():
        neighbours[i].append(j)
        neighbours[j].append(i)
    colour = [-1] * graph.n_nodes
    for start in range(graph.n_nodes):
        if colour[start] >= 0:
            continue
        colour[start], waiting = 0, [start]
        while waiting:
            i = waiting.pop()
            for j in neighbours[i]:
                if colour[j] < 0:
                    colour[j] = 1 - colour[i]
                    waiting.append(j)
                elif colour[j] == colour[i]:
                    raise InvalidModelError(
                        f"{type(graph).__name__} of {graph.n_nodes} sites has a loop of odd length (through the bond "
                        f"{i}-{j}), so no two sublattices and no Marshall sign. Choose one yourself: "
                        "qs.readout.MarshallSign(sites)."
                    )
    return MarshallSign(tuple(i for i, c in enumerate(colour) if c == 0))


def jastrow(
    graph: nk.graph.AbstractGraph, strengths: Iterable[complex] | complex, field: complex = 0.0
) -> JastrowReference:
    """A Jastrow factor that depends on the distance of two sites along the bonds of a graph.

    Args:
        graph: A NetKet graph or lattice.
        strengths: Coefficients of x_i x_j for pairs at distance 1, 2, …; one number is for nearest neighbours.
        field: h of the product state.

    Raises:
        InvalidModelError: A strength for distance 0, or none.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> r = qs.readout.jastrow(nk.graph.Chain(4), [0.25, 0.1])
        >>> float(r(nk.hilbert.Spin(0.5, 4).all_states()[0]))
        1.2
    """
    given = np.atleast_1d(np.asarray(strengths))
    if given.ndim != 1 or len(given) == 0:
        raise InvalidModelError(
            f"jastrow(strengths={strengths!r}): expected one number for each distance 1, 2, …."
        )
    distances = np.asarray(graph.distances())
    table = np.concatenate([[0.0], given, [0.0]])
    couplings = table[np.clip(distances, 0, len(given) + 1)]
    # NetKet writes -1 for pairs that no path connects.
    return JastrowReference(np.where(distances < 0, 0.0, couplings), field)


def _check_sites(reference: Reference, x: Array, sites: int, *, exact: bool) -> None:
    if x.shape[-1] < sites or (exact and x.shape[-1] != sites):
        raise InvalidModelError(
            f"{reference!r} got configurations of {x.shape[-1]} sites, expected {sites}{'' if exact else ' or more'}."
        )
