"""Operators of two-level systems as changes of one or two sites with signs: what fast local estimators read."""

import functools
import itertools
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
import scipy.sparse
from jax import Array
from netket.hilbert import DiscreteHilbert
from netket.operator import DiscreteOperator

from netket_qsntk.models.neighbour_patterns import ChangedPlaces
from netket_qsntk.symmetry.orbits import words

# Operators remembered.
_REMEMBERED = 16
# Sites of a term of a LocalOperator beyond which its 4^k Pauli strings are not looked through.
_LARGEST = 4


class FlipTerms(NamedTuple):
    """⟨x|H|x'⟩ = Σ over the terms that lead from x to x', weight × Π_{i in support} z_i(x); a pytree.

    Attributes:
        weights: (T,) real or complex.
        supports: Words of the supports, (W, T).
        leads_to: For each term which change it makes: 0 none, then the flips, then the pairs; (T,).
        flips: Sites that change alone, (F,).
        pairs: Sites that change together, (P, 2).
        states: The two local states, (2,), that with z = 1 first.
        places: The places that each change meets, where the model counts patterns; None otherwise.
    """

    weights: Array
    supports: Array
    leads_to: Array
    flips: Array
    pairs: Array
    states: Array
    places: ChangedPlaces | None = None

    def matrix_elements(self, x: Array) -> Array:
        """⟨x|H|x'⟩ for x' = x and each change: (n, 1 + F + P), for x (n, sites)."""
        bits = words(x != self.states[0].astype(x.dtype))
        parity = jnp.zeros((), jnp.int32)
        for a, b in zip(bits, self.supports, strict=True):
            parity = parity + jax.lax.population_count(a[:, None] & b[None]).astype(jnp.int32)
        values = jnp.where(parity % 2 == 0, self.weights, -self.weights)
        n = 1 + self.flips.shape[0] + self.pairs.shape[0]
        return jax.ops.segment_sum(values.T, self.leads_to, n).T


Term = tuple[complex, tuple[int, ...], tuple[int, ...]]
_known: "OrderedDict[Any, FlipTerms | None]" = OrderedDict()


def flip_terms(operator: DiscreteOperator) -> FlipTerms | None:
    """An operator of NetKet's (Ising, LocalOperator, PauliStrings) as :class:`FlipTerms`; None if it is none.

    That is where a local Hilbert space has other than two states, or a term changes more than two sites.
    """
    hilbert = operator.hilbert
    if not isinstance(hilbert, nk.hilbert.HomogeneousHilbert) or hilbert.local_size != 2:
        return None
    if isinstance(operator, nk.operator.LocalOperator | nk.operator.LocalOperatorJax) and any(
        len(sites) > _LARGEST for sites in operator.acting_on
    ):
        return None
    key = _key(operator)
    if key not in _known:
        _known[key] = _assembled(_terms(operator), hilbert)
        while len(_known) > _REMEMBERED:
            _known.popitem(last=False)
    return _known[key]


def _key(operator: DiscreteOperator) -> Any:
    """What it is made of: operators that are summed in place are others afterwards."""
    if isinstance(operator, nk.operator.Ising | nk.operator.IsingJax):
        content: list[Any] = [operator.h, operator.J, operator.edges]
    elif isinstance(operator, nk.operator.PauliStrings | nk.operator.PauliStringsJax):
        content = [operator.weights, operator.operators]
    else:
        content = [operator.constant, *operator.operators, operator.acting_on]
    return (
        type(operator).__name__,
        operator.hilbert,
        tuple(str(c) if isinstance(c, list) else np.asarray(c).tobytes() for c in content),
    )


def _terms(operator: DiscreteOperator) -> list[Term]:
    """(weight, sites that change, sites whose z enters)."""
    if isinstance(operator, nk.operator.Ising | nk.operator.IsingJax):
        h, coupling = complex(operator.h), complex(operator.J)
        flips: list[Term] = [(-h, (i,), ()) for i in range(operator.hilbert.size)]
        return flips + [(coupling, (), (int(i), int(j))) for i, j in np.asarray(operator.edges)]
    found: list[Term] = []
    if isinstance(operator, nk.operator.PauliStrings | nk.operator.PauliStringsJax):
        for string, weight in zip(operator.operators, np.asarray(operator.weights), strict=True):
            found.append(_pauli_term(str(string), range(len(str(string))), complex(weight)))
        return found
    for matrix, sites in zip(operator.operators, operator.acting_on, strict=True):
        dense = np.asarray(matrix.todense() if scipy.sparse.issparse(matrix) else matrix)
        # c_P = tr(PO)/2^k.
        for letters in itertools.product("IXYZ", repeat=len(sites)):
            pauli = functools.reduce(np.kron, [_PAULI[letter] for letter in letters])
            weight = np.sum(pauli.T * dense) / len(dense)
            if abs(weight) > 1e-15 * np.abs(dense).max():
                found.append(_pauli_term("".join(letters), sites, complex(weight)))
    constant = complex(operator.constant)
    return [*found, (constant, (), ())] if constant or not found else found


_PAULI = {
    "I": np.eye(2),
    "X": np.array([[0, 1], [1, 0]]),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.diag([1, -1]),
}


def _pauli_term(letters: str, sites: Iterable[int], weight: complex) -> Term:
    at = [(letter, int(site)) for letter, site in zip(letters, sites, strict=True)]
    change = tuple(sorted(site for letter, site in at if letter in "XY"))
    support = tuple(site for letter, site in at if letter in "YZ")
    # ⟨z|Y|-z⟩ = -iz.
    return weight * (-1j) ** letters.count("Y"), change, support


def _assembled(terms: list[Term], hilbert: DiscreteHilbert) -> FlipTerms | None:
    changes = sorted({change for _, change, _ in terms if change}, key=lambda c: (len(c), c))
    if any(len(change) > 2 for change in changes):
        return None
    place = {(): 0} | {change: i + 1 for i, change in enumerate(changes)}
    supports = np.zeros((len(terms), hilbert.size), bool)
    for row, (_, _, sites) in zip(supports, terms, strict=True):
        # A site named twice has z² = 1.
        for site in sites:
            row[site] ^= True
    weights = np.array([w for w, _, _ in terms])
    pairs = np.array([c for c in changes if len(c) == 2], np.int32).reshape(-1, 2)
    with jax.ensure_compile_time_eval():
        return FlipTerms(
            weights=jnp.asarray(weights if np.any(weights.imag) else weights.real),
            supports=words(supports),
            leads_to=jnp.asarray([place[change] for _, change, _ in terms], jnp.int32),
            flips=jnp.asarray([c[0] for c in changes if len(c) == 1], jnp.int32),
            pairs=jnp.asarray(pairs),
            states=jnp.asarray(np.asarray(hilbert.local_states, float)),
        )
