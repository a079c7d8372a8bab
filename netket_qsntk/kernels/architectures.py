"""The kernels of this package's models in closed form, as functions of inner products of encoded inputs."""

import dataclasses
import math
from functools import lru_cache
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk.activations import Activation, Pair
from netket_qsntk.errors import InvalidModelError
from netket_qsntk.kernels.base import Trainable
from netket_qsntk.kernels.dot_product import DotProductKernel, Encoding, Formula, is_traced
from netket_qsntk.kernels.registry import infinite_width
from netket_qsntk.networks import CosNet, FourierFeatures, GaussNet, WaveFunction, WideMLP

# σ are NumPy arrays where a kernel is made: constants stay known inside jax.jit, where jnp.asarray would trace them.


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
        a, b, c, gap, determinant = pair
        moments, ntk = Pair(a / d, b / d, c / d, gap / d, determinant / d**2), jnp.zeros(())
        last = len(self.biased) - 1
        for i, biased in enumerate(self.biased):
            sw, sb = self.sigma_w[i], self.sigma_b[i]
            if i > 0:
                moments, slope = self.activation.dual(moments)
                ntk = sw**2 * slope * ntk
            if i == last or self.trainable == "all":
                c_w, c_b = (1.0, float(biased)) if self.standard else (sw**2, sb**2)
                ntk = ntk + c_w * moments.c + c_b
            moments = moments.affine(sw**2, sb**2)
        return moments.c, ntk

    def for_inputs(self, largest: float) -> "PerceptronKernel":
        """The same with a quadrature for inputs with x·x/d up to ``largest``, at every layer."""
        if self.activation.density is None or is_traced((self.sigma_w, self.sigma_b)):
            return self
        sigma_w, sigma_b = (
            tuple(float(s) for s in np.asarray(t)) for t in (self.sigma_w, self.sigma_b)
        )
        # Rounded up to a power of √2, so that nearly all inputs share a quadrature.
        largest = 2.0 ** (math.ceil(2 * math.log2(max(largest, 1.0))) / 2)
        activation = _resolved(self.activation, sigma_w, sigma_b, largest)
        return dataclasses.replace(self, activation=activation)

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
        with jax.ensure_compile_time_eval():
            a = jnp.asarray(variance)
            square = float(activation.resolved(deviation).dual(Pair.of(a, a, a))[0].c)
    return activation.resolved(deviation)


class FourierEncoding(eqx.Module):
    """γ(x) = (a_k cos 2πb_k·x, a_k sin 2πb_k·x) of configurations."""

    model: FourierFeatures = eqx.field(static=True)

    def __call__(self, x: Any) -> Array:
        """(n, sites) -> (n, 2 features)."""
        return self.model.encode(x)


def _number(sigma: Any) -> str:
    return str(sigma) if is_traced(sigma) else f"{float(sigma):.6g}"


def _numbers(sigmas: Any) -> str:
    if is_traced(sigmas):
        return str(sigmas)
    few = sorted({float(s) for s in np.asarray(sigmas)})
    return f"{few[0]:.6g}" if len(few) == 1 else f"({', '.join(f'{float(s):.6g}' for s in sigmas)})"


def _parametrization(standard: bool) -> str:
    return ", parametrization='standard'" if standard else ""


def _check(trainable: str) -> None:
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
    _check(trainable)
    formula = ExponentialKernel(
        sigma_a=np.asarray(model.sigma_a, float),
        sigma_w=np.asarray(model.sigma_w, float),
        phase=isinstance(model, CosNet),
        standard=model.parametrization == "standard",
        trainable=trainable,
    )
    return _kernel(model, formula, trainable)


@infinite_width.register
def _perceptron(model: WideMLP, trainable: Trainable = "all") -> DotProductKernel:
    _check(trainable)
    sigma_w, sigma_b = model.sigmas()
    formula = PerceptronKernel(
        sigma_w=np.asarray(sigma_w, float),
        sigma_b=np.asarray(sigma_b, float),
        biased=tuple(s > 0 for s in sigma_b),
        activation=model.nonlinearity,
        standard=model.parametrization == "standard",
        trainable=trainable,
    )
    # For quadratures of traced inputs, of which nothing is known: spins to 2, four bosons a site, all fermions.
    return _kernel(model, formula.for_inputs(16.0), trainable)


@infinite_width.register
def _fourier(model: FourierFeatures, trainable: Trainable = "all") -> DotProductKernel:
    inner = infinite_width(model.network, trainable)
    if not isinstance(inner, DotProductKernel):
        raise InvalidModelError(
            f"FourierFeatures needs a network whose kernel depends on inner products, got {inner!r}."
        )
    return DotProductKernel(
        inner.formula, encode=FourierEncoding(model), n_parts=inner.n_parts, trainable=trainable
    )
