"""The kernels of this package's models in closed form, as functions of inner products of encoded inputs."""

import dataclasses
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk.activations import Activation, Pair
from netket_qsntk.errors import InvalidModelError, UnknownKernelError
from netket_qsntk.kernels.arguments import Trainable
from netket_qsntk.kernels.dot_product import DotProductKernel
from netket_qsntk.kernels.formula import Encoding, Formula
from netket_qsntk.kernels.registry import infinite_width
from netket_qsntk.networks import CosNet, FourierFeatures, GaussNet, WaveFunction, WideMLP
from netket_qsntk.tracing import is_traced


class ExponentialKernel(Formula):
    r"""CosNet and GaussNet.

    .. math:: K = A e^{-\sigma_w^2|x-y|^2/2d},\qquad
        \Theta = K\,(c_a + c_w\, x\cdot y/d + c_b)

    with A = σ_a²/2, c_b = 1 for CosNet (its phase is trained with factor 1) and A = σ_a², c_b = 0 for GaussNet;
    (c_a, c_w) = (1, σ_w²) in the NTK parametrisation and (1/σ_a², 1) in the standard one. The first is Eq. 4 of
    arXiv:2112.00723, the second follows from ∂f/∂a, ∂f/∂w, ∂f/∂b (E[sin sin] = E[cos cos] over the phase).
    """

    sigma_a: Array
    sigma_w: Array
    phase: bool = eqx.field(static=True)
    standard: bool = eqx.field(static=True)
    trainable: Trainable = eqx.field(static=True)

    def __call__(self, d: ArrayLike, pair: Pair) -> tuple[Array, Array]:
        """(NNGP, NTK) for inputs of length d with these inner products."""
        amplitude = self.sigma_a**2 * (0.5 if self.phase else 1.0)
        nngp = amplitude * jnp.exp(-(self.sigma_w**2) * pair.gap / d)
        c_a = 1 / self.sigma_a**2 if self.standard else 1.0
        if self.trainable == "readout":
            return nngp, c_a * nngp
        c_w = 1.0 if self.standard else self.sigma_w**2
        c_b = 1.0 if self.phase else 0.0
        return nngp, nngp * (c_a + c_b + c_w * pair.c / d)

    def __repr__(self) -> str:
        name = "CosNet" if self.phase else "GaussNet"
        return (
            f"{name}(sigma_a={_number(self.sigma_a)}, sigma_w={_number(self.sigma_w)}"
            f"{_parametrization(self.standard)})"
        )


class PerceptronKernel(Formula):
    r"""WideMLP: the layer recursion (Jacot et al. 2018; Lee et al. 2018).

    .. math:: K^1 = \sigma_w^2 \frac{x\cdot y}{d} + \sigma_b^2,\quad
        K^{l+1} = \sigma_w^2\tau(K^l) + \sigma_b^2,\quad
        \Theta^{l+1} = c_w\tau(K^l) + c_b + \sigma_w^2\dot\tau(K^l)\,\Theta^l

    with Θ¹ = c_w x·y/d + c_b and (c_w, c_b) = (σ_w², σ_b²) in the NTK parametrisation, (1, 1) in the
    standard one (c_b = 0 for a layer without bias).
    """

    sigma_w: Array
    sigma_b: Array
    biased: tuple[bool, ...] = eqx.field(static=True)
    activation: Activation = eqx.field(static=True)
    standard: bool = eqx.field(static=True)
    trainable: Trainable = eqx.field(static=True)

    def __call__(self, d: ArrayLike, pair: Pair) -> tuple[Array, Array]:
        """(NNGP, NTK) for inputs of length d with these inner products."""
        shape = pair.c.shape
        weight = self.sigma_w**2
        bias = self.sigma_b**2
        # What each layer's own parameters add to the NTK: c_w τ + c_b.
        trained = (
            np.ones(len(self.biased)) if self.trainable == "all" else np.zeros(len(self.biased))
        )
        trained[-1] = 1.0
        own_weight, own_bias = (
            (np.ones_like(trained), np.asarray(self.biased, float))
            if self.standard
            else (weight, bias)
        )
        layers = weight, bias, trained * own_weight, trained * own_bias

        def layer(
            carry: tuple[Pair, Array], sigmas: tuple[Array, ...]
        ) -> tuple[tuple[Pair, Array], None]:
            moments, ntk = carry
            sw, sb, cw, cb = sigmas
            moments, slope = self.activation.dual(moments)
            ntk = sw * slope * ntk + cw * moments.c + cb
            return (moments.affine(sw, sb), ntk), None

        a, b, c, gap, determinant = pair
        moments = Pair(
            a / d,
            b / d,
            c / d,
            jnp.broadcast_to(gap / d, shape),
            jnp.broadcast_to(determinant / d**2, shape),
        )
        sigmas = tuple(jnp.asarray(t, float) for t in layers)
        ntk = sigmas[2][0] * moments.c + sigmas[3][0]
        carry = moments.affine(sigmas[0][0], sigmas[1][0]), ntk
        # One compiled layer, however many there are.
        carry, _ = jax.lax.scan(layer, carry, tuple(t[1:] for t in sigmas))
        return carry[0].c, carry[1]

    def for_inputs(self, largest: float) -> "PerceptronKernel":
        """The same with a quadrature for inputs with x·x/d up to ``largest``, at every layer."""
        if self.activation.density is None or is_traced((self.sigma_w, self.sigma_b)):
            return self
        sigma_w, sigma_b = (
            tuple(float(s) for s in np.asarray(t)) for t in (self.sigma_w, self.sigma_b)
        )
        activation = _resolved(self.activation, sigma_w, sigma_b, float(largest))
        return dataclasses.replace(self, activation=activation.checked())

    def __repr__(self) -> str:
        layers = len(self.biased) - 1
        return (
            f"WideMLP({layers} hidden layer{'s' * (layers != 1)}, activation={self.activation.name}, "
            f"sigma_w={_numbers(self.sigma_w)}, sigma_b={_numbers(self.sigma_b)}"
            f"{_parametrization(self.standard)})"
        )


@lru_cache(maxsize=256)
def _resolved(
    activation: Activation, sigma_w: tuple[float, ...], sigma_b: tuple[float, ...], largest: float
) -> Activation:
    """The activation with a quadrature for the pre-activations of every layer, for inputs with x·x/d <= largest."""
    square, deviation = largest, 0.0
    for w, b in zip(sigma_w[:-1], sigma_b[:-1], strict=True):
        variance = w**2 * square + b**2
        deviation = max(deviation, math.sqrt(variance))
        square = activation.mean_square(math.sqrt(variance))
    return activation.resolved(deviation)


class FourierEncoding(eqx.Module):
    """γ(x) = (a_k cos 2πb_k·x, a_k sin 2πb_k·x) of configurations."""

    model: FourierFeatures = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        """(n, sites) -> (n, 2 features)."""
        return self.model.encode(x)

    def __repr__(self) -> str:
        return f"{np.shape(self.model.frequencies)[0]} Fourier features"


def _leaf(sigma: float | Sequence[float]) -> Array:
    """σ as a leaf: NumPy's, which stays known inside ``jax.jit``, where ``jnp.asarray`` would trace it."""
    return cast(Array, np.asarray(sigma, float))


def _number(sigma: Array) -> str:
    return str(sigma) if is_traced(sigma) else f"{float(sigma):.6g}"


def _numbers(sigmas: Array) -> str:
    if is_traced(sigmas):
        return str(sigmas)
    few = sorted({float(s) for s in np.asarray(sigmas)})
    return f"{few[0]:.6g}" if len(few) == 1 else f"({', '.join(f'{float(s):.6g}' for s in sigmas)})"


def _parametrization(standard: bool) -> str:
    return ", parametrization='standard'" if standard else ""


def _check(model: WaveFunction, trainable: str) -> None:
    if model.parametrization == "mup":
        raise UnknownKernelError(
            f"{type(model).__name__}(parametrization='mup') learns features at any width: its wide limit is no "
            "kernel. Use parametrization='ntk', or qs.kernels.empirical(state, x) for the kernel of one network."
        )
    if trainable not in ("all", "readout"):
        raise InvalidModelError(f"trainable={trainable!r}: expected 'all' or 'readout'.")


def _kernel(model: WaveFunction, formula: Formula, trainable: Trainable) -> DotProductKernel:
    return DotProductKernel(
        formula,
        encode=Encoding(model.encoding),
        n_parts=1 if model.parts == "real" else 2,
        trainable=trainable,
    )


@infinite_width.register(CosNet)
@infinite_width.register(GaussNet)
def _exponential(model: CosNet | GaussNet, trainable: Trainable = "all") -> DotProductKernel:
    _check(model, trainable)
    formula = ExponentialKernel(
        sigma_a=_leaf(model.sigma_a),
        sigma_w=_leaf(model.sigma_w),
        phase=isinstance(model, CosNet),
        standard=model.parametrization == "standard",
        trainable=trainable,
    )
    return _kernel(model, formula, trainable)


@infinite_width.register
def _perceptron(model: WideMLP, trainable: Trainable = "all") -> DotProductKernel:
    _check(model, trainable)
    sigma_w, sigma_b = model.sigmas()
    formula = PerceptronKernel(
        sigma_w=_leaf(sigma_w),
        sigma_b=_leaf(sigma_b),
        biased=tuple(s > 0 for s in sigma_b),
        activation=model.nonlinearity,
        standard=model.parametrization == "standard",
        trainable=trainable,
    )
    # An activation that no quadrature is accurate for warns now, at |x|²/d = 1.
    formula.for_inputs(1.0)
    return _kernel(model, formula, trainable)


@infinite_width.register
def _fourier(model: FourierFeatures, trainable: Trainable = "all") -> DotProductKernel:
    inner = infinite_width(model.network, trainable)
    if not isinstance(inner, DotProductKernel):
        raise InvalidModelError(
            f"FourierFeatures needs a network whose kernel depends on inner products, got {inner!r}."
        )
    # Kernels are float64 whatever the parameters are.
    encode = FourierEncoding(model.clone(parent=None, param_dtype=jnp.float64))
    return DotProductKernel(
        inner.formula, encode=encode, n_parts=inner.n_parts, trainable=trainable
    )
