"""The kernels of this package's models in closed form, as functions of inner products of encoded inputs."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax.numpy as jnp
from jax import Array

from netket_qsntk.activations import Activation, Pair
from netket_qsntk.errors import InvalidModelError
from netket_qsntk.kernels.base import Trainable
from netket_qsntk.kernels.dot_product import DotProductKernel
from netket_qsntk.kernels.registry import infinite_width
from netket_qsntk.models import CosNet, FourierFeatures, GaussNet, WaveFunction, WideMLP


@dataclass(frozen=True)
class ExponentialKernel:
    r"""CosNet and GaussNet.

    .. math:: K = A e^{-\sigma_w^2|x-y|^2/2d},\qquad
        \Theta = K\,(c_a + c_w\, x\cdot y/d + c_b)

    with A = σ_a²/2, c_b = 1 for CosNet (its phase is trained with factor 1) and A = σ_a², c_b = 0 for GaussNet;
    (c_a, c_w) = (1, σ_w²) in the NTK parametrisation and (1/σ_a², 1) in the standard one. The first is Eq. 4 of
    arXiv:2112.00723, the second follows from ∂f/∂a, ∂f/∂w, ∂f/∂b (E[sin sin] = E[cos cos] over the phase).
    """

    network: Literal["CosNet", "GaussNet"]
    sigma_a: float
    sigma_w: float
    standard: bool
    trainable: Trainable

    translation_invariant_nngp: ClassVar[bool] = True

    @property
    def amplitude(self) -> float:
        """K(x, x)."""
        return self.sigma_a**2 * (0.5 if self.network == "CosNet" else 1.0)

    def __call__(self, d: int, pair: Pair) -> tuple[Array, Array]:
        """(NNGP, NTK) for inputs of length d with these inner products."""
        nngp = self.amplitude * jnp.exp(-(self.sigma_w**2) * pair.gap / d)
        c_a = 1 / self.sigma_a**2 if self.standard else 1.0
        if self.trainable == "readout":
            return nngp, c_a * nngp
        c_w = 1.0 if self.standard else self.sigma_w**2
        c_b = 1.0 if self.network == "CosNet" else 0.0
        return nngp, nngp * (c_a + c_b + c_w * pair.c / d)


@dataclass(frozen=True)
class PerceptronKernel:
    r"""WideMLP: the layer recursion (Jacot et al. 2018; Lee et al. 2018).

    .. math:: K^1 = \sigma_w^2 \frac{x\cdot y}{d} + \sigma_b^2,\quad
        K^{l+1} = \sigma_w^2\tau(K^l) + \sigma_b^2,\quad
        \Theta^{l+1} = c_w\tau(K^l) + c_b + \sigma_w^2\dot\tau(K^l)\,\Theta^l

    with Θ¹ = c_w x·y/d + c_b and (c_w, c_b) = (σ_w², σ_b²) in the NTK parametrisation, (1, 1) in the
    standard one (c_b = 0 for a layer without bias).
    """

    activation: Activation
    sigma_w: tuple[float, ...]
    sigma_b: tuple[float, ...]
    standard: bool
    trainable: Trainable

    translation_invariant_nngp: ClassVar[bool] = False

    def __call__(self, d: int, pair: Pair) -> tuple[Array, Array]:
        """(NNGP, NTK) for inputs of length d with these inner products."""
        a, b, c, gap, determinant = pair
        moments, ntk = Pair(a / d, b / d, c / d, gap / d, determinant / d**2), jnp.zeros(())
        last = len(self.sigma_w) - 1
        for i, (sw, sb) in enumerate(zip(self.sigma_w, self.sigma_b, strict=True)):
            if i > 0:
                moments, slope = self.activation.dual(moments)
                ntk = sw**2 * slope * ntk
            if i == last or self.trainable == "all":
                c_w, c_b = (1.0, float(sb > 0)) if self.standard else (sw**2, sb**2)
                ntk = ntk + c_w * moments.c + c_b
            moments = moments.affine(sw**2, sb**2)
        return moments.c, ntk


def _check(trainable: str) -> None:
    if trainable not in ("all", "readout"):
        raise InvalidModelError(f"trainable={trainable!r}: expected 'all' or 'readout'.")


def _kernel(model: WaveFunction, formula: Any) -> DotProductKernel:
    return DotProductKernel(
        formula,
        model=model,
        encode=None if model.encoding is None else model.encode,
        n_parts=1 if model.parts == "real" else 2,
        trainable=formula.trainable,
    )


@infinite_width.register(CosNet)
@infinite_width.register(GaussNet)
def _exponential(model: CosNet | GaussNet, trainable: Trainable = "all") -> DotProductKernel:
    _check(trainable)
    standard = model.parametrization == "standard"
    network: Literal["CosNet", "GaussNet"] = "CosNet" if isinstance(model, CosNet) else "GaussNet"
    return _kernel(
        model, ExponentialKernel(network, model.sigma_a, model.sigma_w, standard, trainable)
    )


@infinite_width.register
def _perceptron(model: WideMLP, trainable: Trainable = "all") -> DotProductKernel:
    _check(trainable)
    sigma_w, sigma_b = model.sigmas()
    standard = model.parametrization == "standard"
    # For quadratures: the variance of pre-activations where |x|²/d <= 9/4 and |φ| <= 3/2.
    largest = max(2.25 * w**2 + b**2 for w, b in zip(sigma_w, sigma_b, strict=True))
    activation = model.nonlinearity.resolved(largest**0.5)
    return _kernel(model, PerceptronKernel(activation, sigma_w, sigma_b, standard, trainable))


@infinite_width.register
def _fourier(model: FourierFeatures, trainable: Trainable = "all") -> DotProductKernel:
    inner = infinite_width(model.network, trainable)
    if not isinstance(inner, DotProductKernel):
        raise InvalidModelError(
            f"FourierFeatures needs a network whose kernel depends on inner products, got {inner!r}."
        )
    return DotProductKernel(
        inner.formula,
        model=model,
        encode=model.encode,
        n_parts=inner.n_parts,
        trainable=trainable,
    )
