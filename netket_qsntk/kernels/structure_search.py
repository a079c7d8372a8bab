"""Which structure a kernel has: found from a few of its entries, believed after checking it at random ones.

A kernel of the Hamming distance shows k(0), …, k(d) along one path through the hypercube, a product over sites its
factor at configurations that differ on one site. Every kernel shows *something* there, so that what was read off is
then compared with entries at random configurations of the product basis and of the batch itself. No type is trusted:
a subclass may override what its parent promised, and an encoding may mix sites.
"""

from typing import Protocol, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from netket.hilbert import DiscreteHilbert

from netket_qsntk.kernels.arguments import Which
from netket_qsntk.operators.basis_index import local_values
from netket_qsntk.operators.structure import (
    TOLERANCE,
    HammingTable,
    SiteProduct,
    Structure,
    Unstructured,
)
from netket_qsntk.tracing import is_traced, on_host

_RANDOM = 24  # configurations on each side of a random check
_OF_BATCH = 16  # configurations of the batch that are looked at too
_LARGEST_Q = 32  # values of a coordinate beyond which nobody would use a product


class HasEntries(Protocol):
    """A kernel, as far as its structure is concerned."""

    def coordinates(self, x: ArrayLike) -> Array:
        """Configurations (n, sites) as real vectors (n, d)."""
        ...

    def of_coordinates(self, u: ArrayLike, v: ArrayLike, which: Which) -> Array:
        """Entries between vectors (n, d) and (m, d)."""
        ...


Entries = TypeVar("Entries", bound=HasEntries)


class _Domain:
    """Configurations to look at: a batch, or random ones of a Hilbert space; and the values that sites take."""

    def __init__(
        self, kernel: HasEntries, x: ArrayLike | DiscreteHilbert, y: ArrayLike | None
    ) -> None:
        rng = np.random.default_rng(0)
        if isinstance(x, DiscreteHilbert):
            local = np.asarray(x.local_states)
            raw = rng.choice(local, size=(max(4 * _RANDOM, 8 * len(local)), x.size))
            batches = [raw]
        else:
            batches = [np.asarray(t) for t in (x, y) if t is not None]
            few = [t[_spread(len(t))] for t in batches]
            local = np.unique(np.concatenate([t.ravel() for t in few]))
            raw = np.concatenate([*few, rng.choice(local, size=(_RANDOM, few[0].shape[1]))])
        self.raw = raw
        self.sample = np.asarray(kernel.coordinates(raw), float)
        seen = [np.asarray(kernel.coordinates(t), float) for t in batches]
        self.batch = np.concatenate([t[_spread(len(t))] for t in seen])
        self.states = _values(seen)
        self.d = self.sample.shape[-1]
        self.rng = rng

    def is_sitewise(self) -> bool:
        """Whether each coordinate is the same function of its own site, at every configuration looked at."""
        if self.sample.shape != self.raw.shape:
            return False
        images = (self.sample[self.raw == value] for value in np.unique(self.raw))
        return all(len(np.unique(image)) == 1 for image in images)

    def random_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Configurations (n, d), (m, d) for a check: random ones, neighbours at every distance, the batch's own."""
        one, two = self.rng.choice(self.states, size=(2, _RANDOM, self.d))
        distances = np.unique(np.linspace(0, self.d, min(self.d + 1, _RANDOM)).astype(int))
        moved = np.repeat(one[:1], len(distances), axis=0)
        for row, h in zip(moved, distances, strict=True):
            sites = self.rng.choice(self.d, h, replace=False)
            row[sites] = np.roll(self.states, 1)[np.searchsorted(-self.states, -row[sites])]
        return np.concatenate([one, self.batch]), np.concatenate([two, moved, self.batch])


def _values(batches: list[np.ndarray]) -> np.ndarray:
    """The values of all coordinates, largest first; of one value alone, and its opposite."""
    found = {float(t.flat[0]) for t in batches}
    others = [t[t != t.flat[0]] for t in batches]
    found |= {float(t[0]) for t in others if t.size}
    few = np.array(sorted(found, reverse=True))
    if any(not np.all((t == few[0]) | (t == few[-1])) for t in others):
        return local_values(*batches)
    return np.array([abs(few[0]), -abs(few[0])]) if len(few) == 1 and few[0] else few


def _spread(n: int) -> np.ndarray:
    return np.unique(np.linspace(0, n - 1, min(n, _OF_BATCH)).astype(int)) if n else np.arange(0)


def find(
    kernel: HasEntries,
    x: ArrayLike | DiscreteHilbert,
    y: ArrayLike | None = None,
    which: Which = "ntk",
    *,
    product_only: bool = False,
) -> Structure:
    """The structure of a kernel between configurations x and y, or on a Hilbert space x.

    A kernel of spins may be both, and is then given as a table unless a product is asked for.

    Works under ``jax.grad`` and ``jax.jit`` with respect to the kernel's parameters: what is found then depends on
    the kind of kernel alone, and the numbers on the parameters.
    """
    if not isinstance(x, DiscreteHilbert) and not all(
        np.shape(t)[0] for t in (x, y) if t is not None
    ):
        return Unstructured("there are no configurations")
    known = _concrete(kernel)
    with jax.ensure_compile_time_eval():
        domain, found = _of_known(known, x, y, which, product_only)
    if known is kernel or isinstance(found, Unstructured):
        return found
    return _with_numbers_of(kernel, found, domain, which)


def _of_known(
    kernel: HasEntries,
    x: ArrayLike | DiscreteHilbert,
    y: ArrayLike | None,
    which: Which,
    product_only: bool,
) -> tuple["_Domain", Structure]:
    domain = _Domain(kernel, x, y)
    why_not = []
    table = (_hamming, "function of the Hamming distance")
    product = (_product, "product over sites")
    for read, name in (product,) if product_only else (table, product):
        found = read(kernel, domain, which)
        if isinstance(found, str):
            why_not.append(found)
            continue
        u, v = domain.random_pairs()
        exact = np.asarray(kernel.of_coordinates(u, v, which))
        error = np.abs(np.asarray(found.entries(u, v)) - exact).max(initial=0.0)
        if error <= TOLERANCE * np.abs(exact).max(initial=0.0):
            return domain, found
        why_not.append(f"the kernel is no {name}: its entries at random configurations are others")
    return domain, Unstructured("; ".join(why_not))


def _with_numbers_of(
    kernel: HasEntries, found: HammingTable | SiteProduct, domain: "_Domain", which: Which
) -> Structure:
    if isinstance(found, HammingTable):
        return eqx.tree_at(lambda t: t.values, found, _path_values(kernel, domain, which))
    factor, scale, slope = _factors(kernel, domain, which)
    slope = jnp.zeros_like(slope) if found.is_pure else slope
    return eqx.tree_at(lambda t: (t.factor, t.scale, t.slope), found, (factor, scale, slope))


def _concrete(kernel: Entries) -> Entries:
    """The kernel with typical numbers in the place of traced ones: its kind does not depend on them."""
    leaves, treedef = jax.tree.flatten(kernel)
    if not is_traced(leaves):
        return kernel
    with jax.ensure_compile_time_eval():
        typical = [
            jnp.full(leaf.shape, 0.7 + 0.05 * i, leaf.dtype) if is_traced(leaf) else leaf
            for i, leaf in enumerate(leaves)
        ]
    return jax.tree.unflatten(treedef, typical)


def _hamming(kernel: HasEntries, domain: _Domain, which: Which) -> HammingTable | str:
    if len(domain.states) != 2:
        return f"the coordinates take {len(domain.states)} different values: the inputs are not ±1"
    return HammingTable(
        values=_path_values(kernel, domain, which),
        states=(float(domain.states[0]), float(domain.states[1])),
        sitewise=domain.is_sitewise(),
        reason="the kernel depends on the Hamming distance alone",
    )


def _path_values(kernel: HasEntries, domain: _Domain, which: Which) -> Array:
    """Entries between one configuration and those with its first h coordinates changed: (d + 1,)."""
    up, down = domain.states
    path = np.where(np.arange(domain.d) < np.arange(domain.d + 1)[:, None], down, up)
    return jnp.asarray(on_host(kernel.of_coordinates(path[:1], path, which))[0])


def _product(kernel: HasEntries, domain: _Domain, which: Which) -> SiteProduct | str:
    if len(domain.states) > _LARGEST_Q:
        return f"the coordinates take {len(domain.states)} different values"
    factor, scale, slope = _factors(kernel, domain, which)
    if not np.all(np.isfinite(factor)):
        return "the kernel is no product over sites: it has zeros"
    reach = domain.d * float(np.max(domain.states**2))
    is_pure = abs(float(slope)) * reach <= 1e-13 * abs(float(scale))
    return SiteProduct(
        factor=factor,
        scale=scale,
        slope=jnp.zeros_like(slope) if is_pure else slope,
        states=tuple(float(s) for s in domain.states),
        d=domain.d,
        is_pure=is_pure,
        sitewise=domain.is_sitewise(),
        reason="the kernel is a product over sites"
        + ("" if is_pure else ", times a function linear in x·y"),
    )


def _factors(kernel: HasEntries, domain: _Domain, which: Which) -> tuple[Array, Array, Array]:
    """(κ, α, β), read off where one site differs (κ) and where a few do (α and β, of an NTK)."""
    states, d = domain.states, domain.d
    common = states[np.argmax(np.abs(states))]
    one_site = np.full((len(states), d), common)
    one_site[:, 0] = states
    nngp = on_host(kernel.of_coordinates(one_site, one_site, "nngp"))
    at = int(np.argmax(np.abs(states)))
    base = nngp[at, at]
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = nngp / base
    if which == "nngp":
        return jnp.asarray(factor), jnp.asarray(base), jnp.zeros_like(jnp.asarray(base))
    # Θ/K = α + β u·v, fitted at configurations near one another, where K is not small.
    other = states[-1] if common == states[0] else states[0]
    near = np.full((min(d, 4) + 1, d), common)
    for changed, row in enumerate(near):
        row[:changed] = other
    inner = near @ near[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        theta, k = (on_host(kernel.of_coordinates(near[:1], near, w))[0] for w in ("ntk", "nngp"))
        ratio = theta / k
    centred = inner - inner.mean()
    slope = (centred * ratio).sum() / max(np.sum(centred**2), 1e-300)
    scale = ratio.mean() - slope * inner.mean()
    return jnp.asarray(factor), jnp.asarray(base * scale), jnp.asarray(base * slope)
