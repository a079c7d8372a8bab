r"""Kernels of networks of dense layers, without their Jacobian.

The gradient of an output f with respect to the weights of a dense layer y = c_w W a + c_b b is an outer
product, c_w δ ⊗ a with δ = ∂f/∂y, so that a layer's share of Σᵢ ∂ᵢf_α(x) ∂ᵢf_β(y) is

.. math:: (c_w^2\, A A'^T + c_b^2) \circ (\Delta_\alpha \Delta_\beta'^T)

with the rows of A (n, fan_in) the inputs and of Δ (n, features) the δ's. For one hidden layer of width N
this is 4n²N operations instead of the 2n²P of the Jacobian route, P = N(d + 2), half of them where x = y;
it holds 2nN numbers instead of nP.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from netket_qsntk.kernels.base import Trainable
from netket_qsntk.kernels.tiles import Operand, Part, assemble, balanced_chunk, starts
from netket_qsntk.networks import FourierFeatures, WaveFunction


class LayerFactors(NamedTuple):
    """Of one dense layer and a chunk of configurations."""

    inputs: Array
    """A (n, fan_in)"""
    deltas: Array
    """δ of each output (n, outputs, features)"""
    scales: Array
    """(c_w, c_b)"""


def factorises(model: Any) -> bool:
    """Whether the model is made of this package's dense layers alone."""
    return isinstance(model, (WaveFunction, FourierFeatures))


def _paths(tree: Any, leaf: str, prefix: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    found = {}
    for name, value in tree.items():
        if name == leaf:
            found[prefix] = value[0] if isinstance(value, tuple) else value
        elif isinstance(value, dict):
            found.update(_paths(value, leaf, (*prefix, name)))
    return found


@partial(jax.jit, static_argnames=("network", "outputs", "trainable"))
def layer_factors(
    network: nn.Module, parameters: Any, v: Array, outputs: int, trainable: Trainable = "all"
) -> list[LayerFactors]:
    """The factors of every trained dense layer of a real network at encoded inputs v (n, d)."""

    def sown(perturbations: Any) -> tuple[Array, Any]:
        variables = {"params": parameters, "perturbations": perturbations}
        out, state = network.apply(variables, v, mutable=["intermediates"])
        return out, state["intermediates"]

    shapes = jax.eval_shape(
        lambda: network.apply({"params": parameters}, v, mutable=["perturbations"])[1]
    )["perturbations"]
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    out, pullback, intermediates = jax.vjp(sown, zeros, has_aux=True)
    deltas = [
        _paths(pullback(jnp.zeros_like(out).at[..., k].set(1.0))[0], "output")
        for k in range(outputs)
    ]
    inputs, scales = _paths(intermediates, "input"), _paths(intermediates, "scales")
    return [
        LayerFactors(inputs[path], jnp.stack([d[path] for d in deltas], axis=1), scales[path])
        for path in sorted(inputs)
        if trainable == "all" or path[-1] == "readout"
    ]


def _products(a: Array, b: Array) -> Array:
    """Inner products of rows; an outer product where they are numbers."""
    return a * b.T if a.shape[-1] == 1 else a @ b.T


def _tile(
    x: list[LayerFactors], y: list[LayerFactors], parts: tuple[Part, ...]
) -> dict[Part, Array]:
    total: dict[Part, Array] = {}
    for left, right in zip(x, y, strict=True):
        weight, bias = left.scales**2
        gram = weight * _products(left.inputs, right.inputs) + bias
        for a, b in parts:
            share = gram * _products(left.deltas[:, a], right.deltas[:, b])
            total[a, b] = total[a, b] + share if (a, b) in total else share
    return total


def network_blocks(
    network: nn.Module,
    parameters: Any,
    u: Array,
    v: Array | None,
    parts: tuple[Part, ...],
    trainable: Trainable = "all",
    show_progress: bool = True,
) -> dict[Part, Array]:
    """Σᵢ ∂ᵢf_α(x) ∂ᵢf_β(y) of a real network for each (α, β) of ``parts``.

    Args:
        network: From inputs (…, d) to one output more than the largest index in ``parts``.
        parameters: Its parameters.
        u: Encoded x (n, d).
        v: Encoded y (m, d); None stands for y = x.
        parts: The outputs wanted.
        trainable: Sum over all layers, or the readout's parameters alone.
        show_progress: Whether a bar counts the tiles.
    """
    outputs = 1 + max(a for a, _ in parts)
    shape = (len(u), len(u if v is None else v))
    chunk = balanced_chunk(max(shape))

    def factors(inputs: Array) -> Operand:
        stop = min(chunk, len(inputs))
        return {
            i: layer_factors(network, parameters, inputs[i : i + stop], outputs, trainable)
            for i in starts(len(inputs), chunk)
        }.__getitem__

    right = None if v is None else factors(v)
    return assemble(
        _tile,
        factors(u),
        right,
        shape,
        parts,
        chunk=chunk,
        dtype=u.dtype,
        show_progress=show_progress,
    )


def networks(model: Any) -> dict[str, tuple[nn.Module, int]]:
    """The real networks inside a model: name in the parameter tree -> (module, outputs)."""
    inner = model.network if isinstance(model, FourierFeatures) else model
    prefix = ("network",) if isinstance(model, FourierFeatures) else ()
    names = {"shared": {"trunk": 2}, "real": {"real": 1}, "independent": {"real": 1, "imag": 1}}
    return {
        "/".join((*prefix, name)): (inner.network(outputs), outputs)
        for name, outputs in names[inner.parts].items()
    }


def subtree(parameters: Any, path: str) -> Any:
    """The parameters of one of :func:`networks`."""
    for name in path.split("/"):
        parameters = parameters[name]
    return parameters


def network_kernels(
    model: Any,
    parameters: Any,
    u: Array,
    v: Array | None,
    trainable: Trainable = "all",
    show_progress: bool = True,
) -> dict[Part, Array]:
    """The blocks Θ_αβ that do not vanish, one network at a time, at encoded inputs u (n, d), v (m, d)."""
    blocks: dict[Part, Array] = {}
    for k, (path, (network, outputs)) in enumerate(networks(model).items()):
        own = subtree(parameters, path)
        if outputs == 1:
            found = network_blocks(network, own, u, v, ((0, 0),), trainable, show_progress)
            blocks[k, k] = found[0, 0]
        else:
            parts: tuple[Part, ...] = ((0, 0), (1, 1), (0, 1)) + (() if v is None else ((1, 0),))
            blocks = network_blocks(network, own, u, v, parts, trainable, show_progress)
    return blocks
