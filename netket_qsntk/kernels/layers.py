r"""Kernels of networks of dense layers, without their Jacobian.

The gradient of an output f with respect to the weights of a dense layer y = c_w W a + c_b b is an outer product,
c_w δ ⊗ a with δ = ∂f/∂y, so that a layer's share of Σᵢ ∂ᵢf_α(x) ∂ᵢf_β(y) is

.. math:: (c_w^2\, A A'^T + c_b^2) \circ (\Delta_\alpha \Delta_\beta'^T)

with the rows of A (n, fan_in) the inputs and of Δ (n, features) the δ's. For one hidden layer of width N this is
4n²N operations instead of the 2n²P of the Jacobian route, P = N(d + 2), and (2n)N numbers instead of nP.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from netket_qsntk.kernels.base import Trainable
from netket_qsntk.models import FourierFeatures, WaveFunction
from netket_qsntk.models.dense import Dense


class LayerFactors(NamedTuple):
    """Of one dense layer: inputs (n, fan_in), δ for each output (outputs, n, features), (c_w, c_b)."""

    inputs: Array
    deltas: Array
    factors: tuple[float, float]


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


@partial(jax.jit, static_argnums=(0, 3))
def _factors(network: nn.Module, parameters: Any, v: Array, outputs: int) -> dict[Any, Any]:
    shapes = jax.eval_shape(
        lambda: network.apply(
            {"params": parameters}, v, mutable=["perturbations", "intermediates"]
        )[1]["perturbations"]
    )
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def summed(perturbations: Any, output: int) -> tuple[Array, Any]:
        out, sown = network.apply(
            {"params": parameters, "perturbations": perturbations}, v, mutable=["intermediates"]
        )
        return out[..., output].sum(), sown["intermediates"]

    deltas, sown = [], None
    for output in range(outputs):
        grad, sown = jax.grad(summed, has_aux=True)(zeros, output)
        deltas.append(_paths(grad, "output"))
    inputs = _paths(sown, "input")
    return {path: (inputs[path], jnp.stack([d[path] for d in deltas])) for path in inputs}


def layer_factors(
    network: nn.Module, parameters: Any, v: Array, outputs: int, trainable: Trainable = "all"
) -> list[LayerFactors]:
    """The factors of every trained dense layer of a real network at encoded inputs v (n, d)."""
    layers: dict[tuple[str, ...], Dense] = {}

    def spy(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        if isinstance(context.module, Dense):
            layers[context.module.path] = context.module
        return call(*args, **kwargs)

    with nn.intercept_methods(spy):
        jax.eval_shape(lambda: network.apply({"params": parameters}, v))
    found = _factors(network, parameters, v, outputs)
    return [
        LayerFactors(a, delta, layers[path].factors(a.shape[-1]))
        for path, (a, delta) in found.items()
        if trainable == "all" or path[-1] == "readout"
    ]


@jax.jit
def _share(a: Array, b: Array, da: Array, db: Array, cw2: Array, cb2: Array) -> Array:
    # A one-dimensional δ (the readout's constant 1) or input makes its product an outer product: XLA sees it.
    return (cw2 * (a @ b.T) + cb2) * (da @ db.T)


def kernel_block(x: list[LayerFactors], y: list[LayerFactors], alpha: int, beta: int) -> Array:
    """Σᵢ ∂ᵢf_α(x) ∂ᵢf_β(y) from the factors at x and at y: (n, m)."""
    total: Any = 0.0
    for layer_x, layer_y in zip(x, y, strict=True):
        cw, cb = layer_x.factors
        total = total + _share(
            layer_x.inputs,
            layer_y.inputs,
            layer_x.deltas[alpha],
            layer_y.deltas[beta],
            jnp.asarray(cw**2),
            jnp.asarray(cb**2),
        )
    return total


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
