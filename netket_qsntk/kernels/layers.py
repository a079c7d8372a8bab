r"""Kernels of networks of dense layers, without their Jacobian.

The gradient of an output f with respect to the weights of a dense layer y = c_w W a + c_b b is an outer
product, c_w δ ⊗ a with δ = ∂f/∂y, so that a layer's share of Σᵢ ∂ᵢf_α(x) ∂ᵢf_β(y) is

.. math:: (c_w^2\, A A'^T + c_b^2) \circ (\Delta_\alpha \Delta_\beta'^T)

with the rows of A (n, fan_in) the inputs and of Δ (n, features) the δ's. For one hidden layer of width N
this is 4n²N operations instead of the 2n²P of the Jacobian route, P = N(d + 2), half of them where x = y;
it holds 2nN numbers instead of nP.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple, TypeGuard

import jax
import jax.numpy as jnp
from flax import errors, linen, traverse_util
from flax import linen as nn
from jax import Array
from jax.tree_util import PyTreeDef
from jax.typing import DTypeLike
from netket.utils.types import PyTree

from netket_qsntk.kernels.arguments import Trainable
from netket_qsntk.kernels.registry import defined
from netket_qsntk.kernels.tiles import Operand, Part, assemble, balanced_chunk, starts
from netket_qsntk.networks import FourierFeatures, WaveFunction
from netket_qsntk.networks.dense_layer import Dense
from netket_qsntk.tracing import is_hashable

Factorised = WaveFunction | FourierFeatures


class LayerFactors(NamedTuple):
    """Of one dense layer and a chunk of configurations."""

    inputs: Array
    """A (n, fan_in)"""
    deltas: Array
    """δ of each output (n, outputs, features)"""
    scales: Array
    """(c_w, c_b)"""


_SAID_ONCE = ("__call__", "psi", "fields", "setup")


def factorises(model: linen.Module | None) -> TypeGuard[Factorised]:
    """Whether ψ is made of the model's real networks as this package makes it: no subclass says otherwise."""
    for kind in (WaveFunction, FourierFeatures):
        if isinstance(model, kind):
            inner = model.network if isinstance(model, FourierFeatures) else None
            own = all(defined(type(model), name) is defined(kind, name) for name in _SAID_ONCE)
            return own and (inner is None or factorises(inner))
    return False


def dense_alone(model: Factorised, parameters: PyTree, x: Array) -> bool:
    """Whether the parameters of the model's networks are those of this package's dense layers, each used once.

    Found by tracing the networks, not by their types: a layer of flax, a second use, a parameter of another kind or a
    variable that is not trained has a share in the kernel that the factors of the dense layers do not hold.

    Args:
        model: The model.
        parameters: Of all its networks.
        x: Some configuration (1, sites).
    """
    trained = set(traverse_util.flatten_dict(parameters, sep="/"))
    inputs = jax.eval_shape(model.encode, jax.ShapeDtypeStruct(x.shape, x.dtype))
    expected: set[str] = set()
    for prefix, (network, _) in networks(model).items():
        leaves, kind = jax.tree.flatten(subtree(parameters, prefix))
        shapes = tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        if not is_hashable(network):
            return False  # programs for the layers are kept by network
        names = _names_in_layers(network, kind, shapes, inputs.shape, inputs.dtype)
        if names is None:
            return False
        expected |= {f"{prefix}/{name}" for name in names}
    return trained == expected


@lru_cache(maxsize=64)
def _names_in_layers(
    network: nn.Module,
    kind: PyTreeDef,
    shapes: tuple[tuple[tuple[int, ...], DTypeLike], ...],
    shape: tuple[int, ...],
    dtype: DTypeLike,
) -> frozenset[str] | None:
    """The parameters of a network that this package's dense layers hold; None where they are not all there is."""
    own = kind.unflatten([jax.ShapeDtypeStruct(*leaf) for leaf in shapes])
    layers: list[tuple[str, ...]] = []

    def look(
        call: Callable[..., PyTree],
        arguments: tuple[PyTree, ...],
        options: dict[str, PyTree],
        context: linen.module.InterceptorContext,
    ) -> PyTree:
        if type(context.module) is Dense and context.method_name == "__call__":
            layers.append(context.module.path)
        return call(*arguments, **options)

    try:
        with linen.intercept_methods(look):
            jax.eval_shape(
                lambda p, v: network.apply({"params": p}, v),
                own,
                jax.ShapeDtypeStruct(shape, dtype),
            )
    except errors.FlaxError:
        return None  # it wants variables that are not trained
    if len(set(layers)) != len(layers):
        return None
    return frozenset(
        "/".join((*path, name))
        for path in layers
        for name in (subtree(own, "/".join(path)) if path else own)
    )


def _paths(tree: PyTree, leaf: str, prefix: tuple[str, ...] = ()) -> dict[tuple[str, ...], PyTree]:
    found = {}
    for name, value in tree.items():
        if name == leaf:
            found[prefix] = value[0] if isinstance(value, tuple) else value
        elif isinstance(value, dict):
            found.update(_paths(value, leaf, (*prefix, name)))
    return found


@partial(jax.jit, static_argnames=("network", "outputs", "trainable"))
def layer_factors(
    network: nn.Module, parameters: PyTree, v: Array, outputs: int, trainable: Trainable = "all"
) -> list[LayerFactors]:
    """The factors of every trained dense layer of a real network at encoded inputs v (n, d)."""

    def sown(perturbations: PyTree) -> tuple[Array, PyTree]:
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
    parameters: PyTree,
    u: Array,
    v: Array | None,
    parts: tuple[Part, ...],
    trainable: Trainable = "all",
) -> dict[Part, Array]:
    """Σᵢ ∂ᵢf_α(x) ∂ᵢf_β(y) of a real network for each (α, β) of ``parts``.

    Args:
        network: From inputs (…, d) to one output more than the largest index in ``parts``.
        parameters: Its parameters.
        u: Encoded x (n, d).
        v: Encoded y (m, d); None stands for y = x.
        parts: The outputs wanted.
        trainable: Sum over all layers, or the readout's parameters alone.
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
    )


def networks(model: Factorised) -> dict[str, tuple[nn.Module, int]]:
    """The real networks inside a model: name in the parameter tree -> (module, outputs)."""
    inner = model.network if isinstance(model, FourierFeatures) else model
    prefix = ("network",) if isinstance(model, FourierFeatures) else ()
    names = {"shared": {"trunk": 2}, "real": {"real": 1}, "independent": {"real": 1, "imag": 1}}
    return {
        "/".join((*prefix, name)): (inner.network(outputs), outputs)
        for name, outputs in names[inner.parts].items()
    }


def subtree(parameters: PyTree, path: str) -> PyTree:
    """The parameters of one of :func:`networks`."""
    for name in path.split("/"):
        parameters = parameters[name]
    return parameters


def network_kernels(
    model: Factorised,
    parameters: PyTree,
    u: Array,
    v: Array | None,
    trainable: Trainable = "all",
) -> dict[Part, Array]:
    """The blocks Θ_αβ that do not vanish, one network at a time, at encoded inputs u (n, d), v (m, d)."""
    blocks: dict[Part, Array] = {}
    for k, (path, (network, outputs)) in enumerate(networks(model).items()):
        own = subtree(parameters, path)
        if outputs == 1:
            found = network_blocks(network, own, u, v, ((0, 0),), trainable)
            blocks[k, k] = found[0, 0]
        else:
            parts: tuple[Part, ...] = ((0, 0), (1, 1), (0, 1)) + (() if v is None else ((1, 0),))
            blocks = network_blocks(network, own, u, v, parts, trainable)
    return blocks


def of_amplitudes(
    blocks: dict[Part, Array], slope: Array, other: Array | None
) -> dict[Part, Array]:
    """Blocks of ψ from those of f, with the slopes c = ∂ψ/∂f at x (n,) and at y (m,): dψ = c df.

    Args:
        blocks: Θ_αβ of f; parts that are missing vanish.
        slope: c at x.
        other: c at y; None stands for y = x.
    """
    a, b = slope.real[:, None], slope.imag[:, None]
    c = slope if other is None else other
    u, v = c.real[None], c.imag[None]
    zero = jnp.zeros_like(blocks[0, 0])
    t11, t12, t22 = (blocks.get(part, zero) for part in ((0, 0), (0, 1), (1, 1)))
    t21 = t12.T if other is None else blocks.get((1, 0), zero)
    if not jnp.iscomplexobj(slope) and not jnp.iscomplexobj(c):
        return {part: a * u * block for part, block in blocks.items()}
    out = {
        (0, 0): a * u * t11 - a * v * t12 - b * u * t21 + b * v * t22,
        (1, 1): b * v * t11 + b * u * t12 + a * v * t21 + a * u * t22,
        (0, 1): a * v * t11 + a * u * t12 - b * v * t21 - b * u * t22,
    }
    if other is not None:
        out[1, 0] = b * u * t11 - b * v * t12 + a * u * t21 - a * v * t22
    return out
