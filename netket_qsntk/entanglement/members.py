r"""Whole wave functions of networks drawn at random, by the cheapest exact evaluation.

A hidden unit of CosNet or GaussNet is a short sum of products over two halves of the sites,
:math:`\cos(\alpha + \beta) = \cos\alpha\cos\beta - \sin\alpha\sin\beta` with
:math:`\alpha = w_A x_A,\ \beta = w_B x_B + b`. Over the whole basis a member is then a product of
matrices with 2^{d/2} rows instead of N 2^d cosines: some ten times less time at d = 12.
"""

from collections.abc import Callable
from functools import partial, singledispatch
from typing import Any

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from jax import Array
from netket.hilbert import DiscreteHilbert

from netket_qsntk.entanglement.from_models import site_values
from netket_qsntk.errors import EnsembleError, SystemTooLargeError
from netket_qsntk.models import CosNet, GaussNet
from netket_qsntk.models.dense import Dense
from netket_qsntk.wavefunction import psi_function

# Hidden numbers evaluated at once where there is no short cut: 2^19 doubles are 4 MB.
_CHUNK_NUMBERS = 2**19
_MAX_AMPLITUDES = 2**28


def draw_members(model: Any, hilbert: DiscreteHilbert, n_members: int, seed: int = 0) -> np.ndarray:
    """ψ of independently initialised networks on the whole basis.

    Member i is that of ``EnsembleState(hilbert, model, n_members, seed)``, evaluated without
    storing the parameters of any.

    Args:
        model: A flax module giving log ψ (any NetKet model), or ψ by a method ``psi``.
        hilbert: NetKet's space; its basis must be one that can be listed.
        n_members: Number of networks.
        seed: Seed of JAX's generator.

    Returns:
        (n_members, n_states), complex or real as ψ is, unnormalised.

    Raises:
        SystemTooLargeError: More than 2**28 amplitudes.

    Example:
        >>> import netket_qsntk as qs
        >>> model = qs.models.CosNet(100, sigma_w=2.0)
        >>> draw_members(model, nk.hilbert.Spin(0.5, 6), 3, seed=1).shape
        (3, 64)
    """
    if not isinstance(n_members, int) or n_members < 1:
        raise EnsembleError(f"n_members={n_members!r}: expected a positive integer.")
    if not hilbert.is_indexable or hilbert.n_states * n_members > _MAX_AMPLITUDES:
        raise SystemTooLargeError(
            f"{n_members} members on {hilbert} are too many amplitudes to hold. Averages that "
            "need none: annealed_renyi and normalized_purity of gaussian_ensemble(model, "
            "hilbert), and finite_width_purity(model, hilbert, partition)."
        )
    key = nk.jax.PRNGKey(seed)
    keys = jnp.stack([jax.random.fold_in(key, i) for i in range(n_members)])
    sample = hilbert.random_state(key, 1, dtype=float)
    return np.asarray(_members(model, hilbert, keys, sample))


@partial(jax.jit, static_argnums=(0, 1))
def _members(model: Any, hilbert: DiscreteHilbert, keys: Array, sample: Array) -> Array:
    evaluate = whole_basis(model, hilbert)
    return jax.lax.map(lambda k: evaluate(model.init({"params": k}, sample)["params"]), keys)


@singledispatch
def whole_basis(model: Any, hilbert: DiscreteHilbert) -> Callable[[Any], Array]:
    """A function from a member's parameters to its ψ on the whole basis, (n_states,)."""
    return _in_rows(model, hilbert)


def _in_rows(model: Any, hilbert: DiscreteHilbert) -> Callable[[Any], Array]:
    psi, states = psi_function(model), jnp.asarray(hilbert.all_states())

    def evaluate(parameters: Any) -> Array:
        numbers = sum(leaf.size for leaf in jax.tree.leaves(parameters)) / hilbert.size
        rows = max(32, int(_CHUNK_NUMBERS / max(numbers, 1)))
        return jax.lax.map(lambda x: psi(parameters, x[None])[0], states, batch_size=rows)

    return evaluate


@whole_basis.register(CosNet)
@whole_basis.register(GaussNet)
def _separable(model: CosNet | GaussNet, hilbert: DiscreteHilbert) -> Callable[[Any], Array]:
    values = site_values(model.encoding, hilbert)
    if values is None or hilbert.size < 2:
        return _in_rows(model, hilbert)
    half = hilbert.size // 2
    grids = [
        _configurations(values, n).astype(model.param_dtype) for n in (half, hilbert.size - half)
    ]
    network = partial(_separable_network, model, grids)

    def evaluate(parameters: Any) -> Array:
        if model.parts == "shared":
            real, imag = network(parameters["trunk"])
            return jax.lax.complex(real, imag)
        (real,) = network(parameters["real"])
        if model.parts == "real":
            return real
        return jax.lax.complex(real, *network(parameters["imag"]))

    return evaluate


def _configurations(values: np.ndarray, n_sites: int) -> np.ndarray:
    """All configurations of n_sites in the order of NetKet's basis, (states, n_sites)."""
    grid = np.meshgrid(*[values] * n_sites, indexing="ij")
    return np.stack([g.ravel() for g in grid], axis=1)


def _separable_network(
    model: CosNet | GaussNet, grids: list[np.ndarray], parameters: Any
) -> list[Array]:
    """The outputs f of one real network on the whole basis, from the configurations of halves."""
    w, readout = parameters["hidden"]["kernel"], parameters["readout"]["kernel"]
    d, width = w.shape
    options = {"parametrization": model.parametrization, "param_dtype": model.param_dtype}
    w = w * Dense(width, model.sigma_w, 0.0, **options).factors(d)[0]
    readout = readout * Dense(1, model.sigma_a, 0.0, **options).factors(width)[0]
    half = grids[0].shape[1]
    left, right = grids[0] @ w[:half], grids[1] @ w[half:]
    if isinstance(model, CosNet):
        right = right + parameters["hidden"]["bias"]
        terms = [(jnp.cos(left), jnp.cos(right)), (-jnp.sin(left), jnp.sin(right))]
    else:
        shift = [model.sigma_w**2 / d * np.sum(x * x, axis=1, keepdims=True) for x in grids]
        terms = [(jnp.exp(left - shift[0]), jnp.exp(right - shift[1]))]
    outputs = (sum((u * column) @ v.T for u, v in terms) for column in readout.T)
    return [jnp.ravel(f) for f in outputs]
