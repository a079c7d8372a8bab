r"""Whole wave functions of networks drawn at random, by the cheapest exact evaluation.

A hidden unit of CosNet is the real part of a product over sites, :math:`e^{ib}\prod_i e^{i w_i x_i}`, one of GaussNet
a real product. Over the whole basis a member is then a product of matrices with 2^{d/2} rows, and those of each half
come from d/2 cosines a unit by one multiplication each, instead of N 2^d cosines.
"""

import numbers
from collections.abc import Callable
from functools import partial
from operator import itemgetter

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from flax import linen as nn
from jax import Array
from netket.hilbert import DiscreteHilbert
from netket.utils.types import PyTree

from netket_qsntk.entanglement.from_models import site_values
from netket_qsntk.entanglement.threads import in_threads
from netket_qsntk.errors import EnsembleError, SystemTooLargeError
from netket_qsntk.networks import CosNet, GaussNet
from netket_qsntk.networks.dense_layer import Dense
from netket_qsntk.readout import Readout
from netket_qsntk.wavefunction import psi_function

# Hidden numbers evaluated at once where there is no short cut: 2^19 doubles are 4 MB.
_CHUNK_NUMBERS = 2**19
# Parameters of the members drawn at once: 64 MB.
_BLOCK_NUMBERS = 2**23
_MAX_AMPLITUDES = 2**28


def draw_members(
    model: nn.Module, hilbert: DiscreteHilbert, n_members: int, seed: int = 0
) -> np.ndarray:
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
    if not isinstance(n_members, numbers.Integral) or n_members < 1:
        raise EnsembleError(f"n_members={n_members!r}: expected a positive integer.")
    if not hilbert.is_indexable or hilbert.n_states * n_members > _MAX_AMPLITUDES:
        raise SystemTooLargeError(
            f"{n_members} members on {hilbert} are too many amplitudes to hold. Averages that "
            "need none: annealed_renyi and normalized_purity of gaussian_ensemble(model, "
            "hilbert), and finite_width_purity(model, hilbert, partition)."
        )
    key = nk.jax.PRNGKey(seed)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(n_members))
    sample = hilbert.random_state(key, 1, dtype=float)
    products = _site_products(model, hilbert)
    if products is None:
        return np.asarray(_members(model, hilbert, keys, sample))
    size = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(model.init, key, sample)))
    block = max(1, _BLOCK_NUMBERS // size)
    dtype = model.dtype if model.parts == "real" else jnp.result_type(model.dtype, 1j)
    psi = np.empty((n_members, hilbert.n_states), dtype)
    for start in range(0, n_members, block):
        drawn = _parameters(model, keys[start : start + block], sample)
        stacked = jax.tree.map(np.asarray, drawn)
        out = psi[start : start + block]

        def write(rows: slice, stacked: PyTree = stacked, out: np.ndarray = out) -> np.ndarray:
            for i in range(rows.start, rows.stop):
                products(jax.tree.map(itemgetter(i), stacked), out[i])
            return out[rows, :0]

        in_threads(write, len(out), hilbert.n_states)
    return psi


@partial(jax.jit, static_argnums=0)
def _parameters(model: nn.Module, keys: Array, sample: Array) -> PyTree:
    return jax.vmap(lambda k: model.init({"params": k}, sample)["params"])(keys)


@partial(jax.jit, static_argnums=(0, 1))
def _members(model: nn.Module, hilbert: DiscreteHilbert, keys: Array, sample: Array) -> Array:
    evaluate = _in_rows(model, hilbert)
    return jax.lax.map(lambda k: evaluate(model.init({"params": k}, sample)["params"]), keys)


def _in_rows(model: object, hilbert: DiscreteHilbert) -> Callable[[PyTree], Array]:
    psi, states = psi_function(model), jnp.asarray(hilbert.all_states())

    def evaluate(parameters: PyTree) -> Array:
        numbers = sum(leaf.size for leaf in jax.tree.leaves(parameters)) / hilbert.size
        rows = max(32, int(_CHUNK_NUMBERS / max(numbers, 1)))
        return jax.lax.map(lambda x: psi(parameters, x[None])[0], states, batch_size=rows)

    return evaluate


def _site_products(
    model: object, hilbert: DiscreteHilbert
) -> Callable[[PyTree, np.ndarray], None] | None:
    """A function that writes ψ of a CosNet's or GaussNet's parameters; None for others, and on other bases."""
    if not isinstance(model, (CosNet, GaussNet)) or hilbert.size < 2:
        return None
    if model.parametrization == "mup":  # its biases carry factors
        return None
    if model.readout != Readout():
        return None
    values = site_values(model.encoding, hilbert)
    if values is None:
        return None
    d, dtype = hilbert.size, np.dtype(model.dtype)
    width = model.width
    scales = [
        np.asarray(Dense(n, sigma, 0.0, model.parametrization, dtype).factors(fan_in)[0], dtype)
        for n, sigma, fan_in in ((width, model.sigma_w, d), (1, model.sigma_a, width))
    ]
    network = partial(_network, model, values.astype(dtype), scales)

    def write(parameters: PyTree, psi: np.ndarray) -> None:
        if model.parts == "real":
            (psi[:],) = network(parameters["real"])
        elif model.parts == "shared":
            psi.real, psi.imag = network(parameters["trunk"])
        else:
            (psi.real,), (psi.imag,) = (network(parameters[part]) for part in ("real", "imag"))

    return write


def _network(
    model: CosNet | GaussNet, values: np.ndarray, scales: list[np.ndarray], parameters: PyTree
) -> list[np.ndarray]:
    """The outputs f of one real network on the whole basis, from its parameters and their scales."""
    w = scales[0] * parameters["hidden"]["kernel"]
    readout = scales[1] * parameters["readout"]["kernel"]
    d, width = w.shape
    exponent = values[:, None] * w[:, None, :]  # (sites, local states, width)
    if isinstance(model, CosNet):
        factors = _phases(exponent)
        right = _phase(parameters["hidden"]["bias"])[None]
    else:
        shift = np.asarray(model.sigma_w**2 / d, w.dtype) * values[:, None] ** 2
        factors = np.exp(exponent - shift)
        right = np.ones((1, width), w.dtype)
    left = np.ones((1, width), factors.dtype)
    half = d // 2
    for factor in factors[:half]:
        left = (left[:, None] * factor).reshape(-1, width)
    for factor in factors[half:]:
        right = (right[:, None] * factor).reshape(-1, width)
    # Re Σ u v over complex numbers is a product of real matrices with their parts side by side.
    columns = np.conj(right).view(w.dtype).T
    return [((left * column).view(w.dtype) @ columns).ravel() for column in readout.T]


def _phases(angle: np.ndarray) -> np.ndarray:
    """e^{i angle} for (sites, local states, width); two opposite states need one cosine."""
    if angle.shape[1] == 2 and np.array_equal(angle[:, 0], -angle[:, 1]):
        first = _phase(angle[:, 0])
        return np.stack([first, np.conj(first)], axis=1)
    return _phase(angle)


def _phase(angle: np.ndarray) -> np.ndarray:
    """e^{i angle}."""
    out = np.empty(angle.shape, np.result_type(angle.dtype, 1j))
    out.real, out.imag = np.cos(angle), np.sin(angle)
    return out
