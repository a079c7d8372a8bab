"""Local estimators of infinitely wide networks for NetKet: all connected configurations by tables and two products.

NetKet asks :func:`netket.vqs.mc.get_local_kernel` how to evaluate an operator on the samples of a state, whatever
driver, ``expect`` or ``local_estimators`` needs it. For an operator that changes one or two sites at a time and a
state of :class:`netket_qsntk.models.InfiniteWidth` the answer is :mod:`netket_qsntk.models.neighbours` where there is
a table, and :mod:`netket_qsntk.models.neighbour_patterns` where patterns of patches are counted. For all others it is
NetKet's own.
"""

from typing import Any

import jax
import jax.numpy as jnp
import netket as nk
from jax import Array
from netket.operator import (
    DiscreteJaxOperator,
    DiscreteOperator,
    Ising,
    IsingJax,
    LocalOperator,
    LocalOperatorJax,
    PauliStrings,
    PauliStringsJax,
)
from netket.vqs import MCState
from netket.vqs.mc import check_hilbert, get_local_kernel, get_local_kernel_arguments

from netket_qsntk.models import InfiniteWidth
from netket_qsntk.models.centres import pattern_places
from netket_qsntk.models.neighbour_patterns import changed_places, pattern_differences
from netket_qsntk.models.neighbours import differences
from netket_qsntk.readout import Reference
from netket_qsntk.symmetry.orbits import words
from netket_qsntk.vqs.flip_terms import FlipTerms, flip_terms


def local_values(model: InfiniteWidth, variables: Any, x: Array, terms: FlipTerms) -> Array:
    """Σ_x' ⟨x|O|x'⟩ ψ(x')/ψ(x) for n configurations (n, sites): (n,)."""
    centres = variables["centres"]
    weights = jnp.asarray(model.apply(variables, method="weights"))
    up, changes = x > centres["middle"].astype(x.dtype), []
    if "table" in centres:
        changes += [
            jnp.concatenate(
                differences(centres, weights, words(up), terms.flips, terms.pairs), axis=1
            )
        ]
    if terms.places is not None:
        values = centres["columns"] @ weights
        changes += [pattern_differences(pattern_places(centres), values, up, terms.places)]
    change = sum(changes[1:], changes[0])
    real = model.parts == "real"
    log_ratio = change[..., 0] if real else jax.lax.complex(change[..., 0], change[..., 1])
    for fixed in (model.readout.reference, model.initial):
        if fixed is not None:
            log_ratio = log_ratio + _fixed_part(fixed, x, terms)
    elements = terms.matrix_elements(x)
    return elements[:, 0] + jnp.sum(elements[:, 1:] * jnp.exp(log_ratio), axis=1)


def _fixed_part(reference: Reference, x: Array, terms: FlipTerms) -> Array:
    """Differences of a fixed log ψ at all neighbours, evaluated one by one: (n, F + P)."""
    sites = jnp.concatenate([jnp.stack([terms.flips, terms.flips], axis=1), terms.pairs])
    # Of two local states a, b the other one is a + b - x.
    total = jnp.sum(terms.states).astype(x.dtype)

    def at(pair: Array) -> Array:
        return reference(x.at[:, pair].set(total - x[:, pair]))

    return jax.lax.map(at, sites).T - reference(x)[:, None]


def _kernel(
    log_psi: Any,
    variables: Any,
    x: Array,
    terms: FlipTerms,
    *,
    model: InfiniteWidth,
    chunk_size: int | None = None,
) -> Array:
    def values(variables: Any, x: Array) -> Array:
        return local_values(model, variables, x, terms)

    if chunk_size is None:
        return values(variables, x)
    return nk.jax.apply_chunked(values, in_axes=(None, 0), chunk_size=chunk_size)(variables, x)


def _terms(state: MCState, operator: DiscreteOperator) -> FlipTerms | None:
    """What the fast way needs, or None where it does not apply."""
    if not isinstance(state.model, InfiniteWidth):
        return None
    centres = state.model_state["centres"]
    terms = flip_terms(operator) if "middle" in centres else None
    if terms is None or "columns" not in centres:
        return terms
    return terms._replace(places=changed_places(centres["powers"], terms.flips, terms.pairs))


def _register(kind: type, base: type) -> None:
    """Ask for the fast way first for operators of this kind; NetKet's for ``base`` otherwise."""

    def arguments(vstate: MCState, operator: Any) -> Any:
        terms = _terms(vstate, operator)
        if terms is None:
            return get_local_kernel_arguments.invoke(MCState, base)(vstate, operator)
        check_hilbert(vstate.hilbert, operator.hilbert)
        return vstate.samples, terms

    def kernel(vstate: MCState, operator: Any) -> Any:
        if _terms(vstate, operator) is None:
            return get_local_kernel.invoke(MCState, base)(vstate, operator)
        return nk.utils.HashablePartial(_kernel, model=vstate.model)

    def chunked(vstate: MCState, operator: Any, chunk_size: int) -> Any:
        if _terms(vstate, operator) is None:
            return get_local_kernel.invoke(MCState, base, int)(vstate, operator, chunk_size)
        return nk.utils.HashablePartial(_kernel, model=vstate.model)

    for function, types in ((arguments, (kind,)), (kernel, (kind,)), (chunked, (kind, int))):
        names = ("vstate", "operator", "chunk_size")
        function.__annotations__ = dict(zip(names, (MCState, *types), strict=False))
    get_local_kernel_arguments.dispatch(arguments)
    get_local_kernel.dispatch(kernel)
    get_local_kernel.dispatch(chunked)


for _kind in (Ising, LocalOperator, PauliStrings):
    _register(_kind, DiscreteOperator)
for _kind in (IsingJax, LocalOperatorJax, PauliStringsJax):
    _register(_kind, DiscreteJaxOperator)
