"""The centres of an infinitely wide network: the kernel among them, and what evaluates it elsewhere."""

import math
import os
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from netket_qsntk.errors import InvalidConfigurationsError, InvalidModelError
from netket_qsntk.kernels import patterns
from netket_qsntk.kernels.base import InfiniteWidthKernel
from netket_qsntk.kernels.group_sums import hamming_table, two_states
from netket_qsntk.kernels.symmetrized import SymmetrizedKernel
from netket_qsntk.spectral import rounding_floor
from netket_qsntk.symmetry.orbits import distinct, folded, orbit_sums, orbit_words, words
from netket_qsntk.symmetry.projection import Projection
from netket_qsntk.tracing import is_traced, on_host

Which = Literal["ntk", "nngp"]
Variables = dict[str, Array]


@dataclass(frozen=True, eq=False)
class FixedKernel:
    """A kernel as a field of a flax module: hashed and compared by its numbers."""

    kernel: InfiniteWidthKernel

    def _key(self) -> tuple[Any, ...]:
        leaves, treedef = jax.tree.flatten(self.kernel)
        return treedef, tuple(
            (np.shape(leaf), np.asarray(leaf).tobytes())
            if isinstance(leaf, jax.Array | np.ndarray | float)
            else leaf
            for leaf in leaves
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FixedKernel) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return repr(self.kernel)


def taken_apart(kernel: InfiniteWidthKernel) -> tuple[InfiniteWidthKernel, Projection | None]:
    """A kernel and the projection it was symmetrised with, if it was."""
    if isinstance(kernel, SymmetrizedKernel):
        return kernel.kernel, kernel.symmetry
    return kernel, None


def evaluator(
    kernel: InfiniteWidthKernel, configurations: ArrayLike, which: Which, dtype: DTypeLike
) -> Variables:
    """What :func:`rows` needs of a kernel and its centres (M, d): their bits and tables where it has such structure.

    Raises:
        SymmetryError: The symmetry group is of another lattice.
        InvalidModelError: A complex character.
    """
    y = np.asarray(configurations)
    inner, symmetry = taken_apart(kernel)
    made: Variables = {"configurations": jnp.asarray(y)}
    if symmetry is not None:
        symmetry.check(y.shape[1], "The system of the centres")
        if not symmetry.is_real:
            raise InvalidModelError(
                "InfiniteWidth: the kernel's character is complex, which mixes log-amplitude and phase. Use a real "
                "one (χ = 1 makes ψ invariant) and put the momentum into a reference."
            )
    states = two_states(y, symmetry=symmetry)
    if states is None:
        return made
    middle = (states[0] + states[1]) / 2
    parts, rest = patterns.parted(inner)
    local = patterns.counted(parts, symmetry, dtype)
    table = None
    if (rest if local is not None else inner) is not None:
        table = hamming_table(
            inner if local is None or rest is None else rest, states, y.shape[1], which
        )
        if table is None:
            return made
    made["middle"] = jnp.asarray(middle, dtype)
    if local is not None and symmetry is not None:
        made |= {name: jnp.asarray(value) for name, value in local._asdict().items()}
        made["columns"] = jnp.asarray(
            patterns.columns(parts, symmetry, y > middle, states, which), dtype
        )
    if table is None:
        return made
    made |= {
        "orbits": orbit_words(y > middle, symmetry),
        "table": jnp.asarray(folded(on_host(table), symmetry), dtype),
    }
    if symmetry is not None and np.any(np.asarray(symmetry.characters) != 1):
        made["weights"] = jnp.asarray(symmetry.weights, dtype)
    return made


def rows(made: Variables, kernel: InfiniteWidthKernel | None, x: Array, which: Which) -> Array:
    """k(x, Y) between configurations (n, d) and the centres: (n, M); no numbers where :func:`_ups` says so."""
    if "middle" not in made and kernel is not None:
        y = made["configurations"]
        return kernel.ntk(x, y) if which == "ntk" else kernel.nngp(x, y)
    up, known = _ups(made, x)
    values = []
    if "columns" in made:
        counts = pattern_places(made).counts(up, made["columns"].shape[0])
        values.append(counts @ made["columns"])
    if "table" in made:
        values.append(orbit_sums(words(up), made["orbits"], made["table"], made.get("weights")))
    return jnp.where(known[:, None], sum(values[1:], values[0]), jnp.nan)


def _ups(made: Variables, x: Array) -> tuple[Array, Array]:
    """Configurations as booleans, and whether all their sites have one of the two states of the centres' (n,).

    Where they have not (centres of only two of three local states, 0 and 1 for ±1), tables say nothing.

    Raises:
        InvalidConfigurationsError: They have not, and their values are known.
    """
    middle = made["middle"].astype(x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else float)
    half = jnp.abs(made["configurations"][0, 0].astype(middle.dtype) - middle)
    known = jnp.all(jnp.abs(jnp.abs(x - middle) - half) < 1e-3 * half, axis=-1)
    if not is_traced((x, known)) and not bool(known.all()):
        strange = np.asarray(x)[~np.asarray(known)][0]
        raise InvalidConfigurationsError(
            f"Sites of the centres are {float(middle - half):g} or {float(middle + half):g}, and a configuration is "
            f"{strange.tolist()}: expected centres with all local states, such as vs.samples of more configurations."
        )
    return x > middle, known


def products(
    made: Variables, kernel: InfiniteWidthKernel | None, x: Array, which: Which, weights: Array
) -> Array:
    """k(x, Y) w for weights (M, k): (n, k). Of patches alone it costs one look-up a patch, whatever M is."""
    if "columns" not in made or "table" in made:
        return rows(made, kernel, x, which) @ weights
    up, known = _ups(made, x)
    found = pattern_places(made).sums(up, made["columns"] @ weights)
    return jnp.where(known[:, None], found, jnp.nan)


def pattern_places(made: Variables) -> patterns.Patterns:
    """Where patterns are looked for, from the variables of the centres."""
    return patterns.Patterns(*(made[name] for name in patterns.Patterns._fields))


def check_configurations(centres: ArrayLike) -> np.ndarray:
    """Centres (M, d) as an array of numbers.

    Raises:
        InvalidConfigurationsError: They are not that.
    """
    y = np.asarray(centres)
    if y.ndim == 3:
        y = y.reshape(-1, y.shape[-1])
    if y.ndim != 2 or not y.size:
        raise InvalidConfigurationsError(
            f"centres has shape {y.shape}: expected configurations (M, sites), such as vs.samples or "
            "hilbert.all_states()."
        )
    if not np.all(np.isfinite(y)):
        raise InvalidConfigurationsError(
            "centres has entries that are not finite: expected configurations."
        )
    return y


def check_distinct(y: np.ndarray, symmetry: Projection | None) -> None:
    """Raise :class:`InvalidConfigurationsError` where centres coincide, or are images of one another."""
    states = two_states(y)
    if states is None:
        n = len(np.unique(y, axis=0))
    else:
        if symmetry is not None:
            symmetry.check(y.shape[1], "The system of the centres")
        n = len(distinct(y > (states[0] + states[1]) / 2, symmetry))
    if n < len(y):
        alike = "coincide" if symmetry is None else "are images of others under the symmetry group"
        raise InvalidConfigurationsError(
            f"{len(y) - n} of {len(y)} centres {alike}. Choose different ones: qs.models.choose_centres(network, "
            "samples, n_centres) takes the most useful of many samples."
        )


def check_memory(m: int, sites: int, symmetry: Projection | None) -> None:
    """Raise :class:`InvalidConfigurationsError` where M centres do not fit into memory."""
    images = 1 if symmetry is None else symmetry.permutations.shape[0]
    # The kernel, its eigenvectors, the solver's work and the root; the bits of all images.
    needed = 8 * 5 * m**2 + 4 * m * images * math.ceil(sites / 32)
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > available:
        most = math.isqrt(available // 40)
        raise InvalidConfigurationsError(
            f"{m} centres need about {needed / 1e9:.3g} GB for the root of their kernel, and this machine has "
            f"{available / 1e9:.3g} GB: take at most {most}, for instance qs.models.choose_centres(network, samples, "
            f"{min(most, 2000)})."
        )


def centre_variables(
    kernel: InfiniteWidthKernel,
    configurations: np.ndarray,
    *,
    which: Which,
    floor: float | None,
    dtype: DTypeLike,
) -> Variables:
    """Everything that depends on the centres, Θ_YY^{-1/2} included: the collection "centres" of InfiniteWidth.

    Eigenvalues at or below ``floor`` times the largest count as zero; None is M times the rounding of ``dtype``.
    """
    check_memory(len(configurations), configurations.shape[1], taken_apart(kernel)[1])
    with jax.ensure_compile_time_eval():
        exact = evaluator(kernel, configurations, which, float)
        theta = np.asarray(rows(exact, kernel, jnp.asarray(configurations), which))
        made = evaluator(kernel, configurations, which, dtype)
        return made | {"root": jnp.asarray(inverse_root(theta, floor, dtype), dtype)}


def inverse_root(theta: np.ndarray, floor: float | None, dtype: DTypeLike = float) -> np.ndarray:
    """Θ^{-1/2}, zero where Θ's eigenvalues are at or below the floor: (M, M)."""
    values, vectors = np.linalg.eigh((theta + theta.T) / 2)
    largest = max(float(values[-1]), 0.0)
    least = rounding_floor(largest, len(values), dtype) if floor is None else floor * largest
    inverse = np.where(values > least, 1 / np.sqrt(np.where(values > least, values, 1.0)), 0.0)
    return (vectors * inverse) @ vectors.T
