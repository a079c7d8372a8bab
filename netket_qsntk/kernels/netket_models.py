r"""Kernels of NetKet's own models of log ψ, at the width they have, with their initialisers and parametrisation.

NetKet's layers have weights θ ~ N(0, s²) and no factor in the forward pass, and its RBM sums M hidden units of order
one: there is a limit for the *shape* of the kernel, whose size grows with M. What is given here is the average of the
tangent kernel over initialisations at the model's own width (exact for one hidden layer and Gaussian weights; for
deeper networks up to 1/width), and as NNGP the covariance of log ψ.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import cast

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk.activations import Activation, Pair, activation
from netket_qsntk.errors import InvalidModelError, UnknownKernelError
from netket_qsntk.kernels.arguments import Trainable, check_configurations
from netket_qsntk.kernels.base import KernelModule
from netket_qsntk.kernels.dot_product import DotProductKernel
from netket_qsntk.kernels.registry import infinite_width


@dataclass(frozen=True)
class Variance:
    """Variance of the entries of a weight, as its initialiser says: scale/(a fan_in + b fan_out), or scale alone."""

    scale: float
    fan_in: float = 0.0
    fan_out: float = 0.0

    def __call__(self, fan_in: float, fan_out: float) -> float:
        """For a layer of this shape."""
        fan = self.fan_in * fan_in + self.fan_out * fan_out
        return self.scale / fan if fan else self.scale


@dataclass(frozen=True)
class HiddenSum:
    r"""An RBM: log ψ = Σ_j φ(w_j·x + b_j) + a·x over M hidden units.

    .. math:: \Theta = M\dot\tau\,(x\cdot y + 1) + x\cdot y,\qquad
        K = M(\tau - \bar\phi(x)\bar\phi(y)) + s_a^2\, x\cdot y
    """

    alpha: float
    weight: Variance
    bias: Variance | None
    visible: Variance | None
    activation: Activation
    largest: float | None = None

    def for_inputs(self, largest: float) -> "HiddenSum":
        """The same with a quadrature for inputs with x·x/d up to ``largest``."""
        return replace(self, largest=_rounded(largest))

    def __call__(self, d: int, pair: Pair) -> tuple[Array, Array]:
        """(NNGP, NTK) for inputs of length d with these inner products."""
        units = int(self.alpha * d)
        weight = self.weight(d, units)
        bias = 0.0 if self.bias is None else self.bias(d, units)
        phi = self.activation
        if self.largest is not None:
            phi = phi.resolved(math.sqrt(weight * self.largest * d + bias)).checked()
        moments = pair.affine(weight, bias)
        tau, slope = phi.dual(moments)
        # Inputs without correlation: the product of the means.
        apart, _ = phi.dual(Pair.of(moments.a, moments.b, jnp.zeros_like(moments.c)))
        nngp = units * (tau.c - apart.c)
        ntk = units * slope * (pair.c + (self.bias is not None))
        if self.visible is not None:
            nngp, ntk = nngp + self.visible(d, units) * pair.c, ntk + pair.c
        return nngp, ntk

    def __repr__(self) -> str:
        return f"RBM(alpha={self.alpha:g}, activation={self.activation.name})"


@dataclass(frozen=True)
class DenseLayers:
    r"""NetKet's MLP: layers z = W φ + b with weights as they are drawn.

    .. math:: K^{l+1} = v_l N_l\tau(K^l) + s_b^2,\qquad
        \Theta^{l+1} = N_l\tau(K^l) + 1 + v_l N_l\dot\tau(K^l)\,\Theta^l

    with K¹ = v₀ x·y + s_b² and Θ¹ = x·y + 1 (the ones only for layers with a bias).
    """

    widths: tuple[int, ...]
    alphas: tuple[float, ...]
    weight: Variance
    bias: Variance
    biased: tuple[bool, ...]
    activations: tuple[Activation, ...]
    trainable: Trainable
    largest: float | None = None

    def for_inputs(self, largest: float) -> "DenseLayers":
        """The same with quadratures for inputs with x·x/d up to ``largest``."""
        return replace(self, largest=_rounded(largest))

    def __call__(self, d: int, pair: Pair) -> tuple[Array, Array]:
        """(NNGP, NTK) for inputs of length d with these inner products."""
        widths = (*self.widths, *(int(a * d) for a in self.alphas), 1)
        moments, ntk, fan_in = pair, jnp.zeros_like(pair.c), d
        square = None if self.largest is None else self.largest * d
        for i, fan_out in enumerate(widths):
            weight = self.weight(fan_in, fan_out)
            bias = self.bias(fan_in, fan_out) if self.biased[i] else 0.0
            if self.trainable == "all" or i == len(widths) - 1:
                ntk = ntk + moments.c + self.biased[i]
            moments = moments.affine(weight, bias)
            if i == len(widths) - 1:
                break
            phi = self.activations[i]
            if square is not None:
                deviation = math.sqrt(weight * square + bias)
                phi = phi.resolved(deviation).checked()
                square = fan_out * phi.mean_square(deviation)
            moments, slope = phi.dual(moments)
            moments = moments.affine(fan_out, 0.0)
            next_weight = self.weight(fan_out, widths[i + 1])
            ntk = next_weight * fan_out * slope * ntk
            fan_in = fan_out
        return moments.c, ntk

    def __repr__(self) -> str:
        names = ", ".join(a.name for a in self.activations)
        return f"MLP(widths={(*self.widths, *self.alphas)}, activations=({names}))"


class PairKernel(KernelModule):
    r"""NetKet's Jastrow factor, log ψ = Σ_{i>j} W_ij x_i x_j: linear in W, so that nothing changes with training.

    .. math:: \Theta(x, y) = \sum_{i>j} x_i x_j y_i y_j
        = \tfrac12\left[(x\cdot y)^2 - \textstyle\sum_i x_i^2 y_i^2\right],\qquad K = s^2\,\Theta
    """

    variance: Array

    def both(self, x: ArrayLike, y: ArrayLike | None = None) -> tuple[Array, Array]:
        """(NNGP, NTK), see :class:`~netket_qsntk.kernels.InfiniteWidthKernel`."""
        u = jnp.asarray(check_configurations(x)).astype(float)
        v = u if y is None else jnp.asarray(check_configurations(y, "y")).astype(float)
        ntk = ((u @ v.T) ** 2 - (u * u) @ (v * v).T) / 2
        return self.variance * ntk, ntk

    def diagonals(self, x: ArrayLike) -> tuple[Array, Array]:
        """(K(x, x), Θ(x, x)), see :class:`~netket_qsntk.kernels.InfiniteWidthKernel`."""
        square = jnp.asarray(check_configurations(x)).astype(float) ** 2
        ntk = (jnp.sum(square, -1) ** 2 - jnp.sum(square**2, -1)) / 2
        return self.variance * ntk, ntk

    def __repr__(self) -> str:
        return self._summary("nk.models.Jastrow", "pairs of coordinates")


@lru_cache(maxsize=64)
def initial_variance(initializer: Callable[..., Array], what: str) -> Variance:
    """The variance of what a JAX initialiser draws, as a function of the shape.

    Raises:
        UnknownKernelError: An initialiser other than JAX's zeros, normal and variance scalings.
    """
    if initializer is jax.nn.initializers.zeros:
        return Variance(0.0)
    if inspect.isfunction(initializer):
        name, given = initializer.__qualname__, inspect.getclosurevars(initializer).nonlocals
        if name.startswith("normal.") and "stddev" in given:
            return Variance(float(given["stddev"]) ** 2)
        if name.startswith("variance_scaling.") and {"scale", "mode"} <= set(given):
            scale, mode = float(given["scale"]), given["mode"]
            fans = {"fan_in": (1.0, 0.0), "fan_out": (0.0, 1.0), "fan_avg": (0.5, 0.5)}
            if mode in fans:
                return Variance(scale, *fans[mode])
    raise UnknownKernelError(
        f"{what}={initializer!r}: the variance of what this initialiser draws is not known. Use JAX's normal, zeros "
        "or a variance scaling (lecun_normal, …), or measure the average kernel: qs.kernels.monte_carlo(model, x, "
        "n_members=…)."
    )


def _rounded(largest: float) -> float:
    """Up to a power of four, so that few programs serve all inputs."""
    return 4.0 ** math.ceil(math.log(largest, 4)) if 0 < largest < math.inf else 1.0


def _known(function: Callable[[Array], Array] | str) -> Activation:
    """The activation; one that no quadrature is accurate for warns now."""
    found = activation(function)
    found.resolved(1.0).checked()
    return found


def _real(model: nk.models.RBM | nk.models.RBMModPhase | nk.models.MLP) -> None:
    if jnp.issubdtype(model.param_dtype, jnp.complexfloating):
        raise UnknownKernelError(
            f"{type(model).__name__}(param_dtype={np.dtype(model.param_dtype)}): the kernel of complex weights has "
            "no deterministic limit. For a complex Gaussian z the average of |tanh z|² diverges: tanh has poles, "
            "near which its square falls off as 1/distance², so that wider networks meet larger terms. At small "
            "weights (σ of z up to about 0.3) nearly no draw comes near them and qs.kernels.monte_carlo(model, x, "
            "n_members=…) is steady; as weights grow it is not. Use real parameters: nk.models.RBMModPhase, or "
            "qs.models."
        )


def _all_parameters(model: object, trainable: str) -> None:
    if trainable not in ("all", "readout"):
        raise InvalidModelError(f"trainable={trainable!r}: expected 'all' or 'readout'.")
    if trainable == "readout":
        raise InvalidModelError(
            f"trainable='readout': {type(model).__name__} has no readout layer. Use trainable='all'."
        )


def _hidden_sum(
    model: nk.models.RBM | nk.models.RBMModPhase, visible: Variance | None, n_parts: int
) -> DotProductKernel:
    bias = initial_variance(model.hidden_bias_init, "hidden_bias_init")
    formula = HiddenSum(
        float(model.alpha),
        initial_variance(model.kernel_init, "kernel_init"),
        bias if model.use_hidden_bias else None,
        visible,
        _known(model.activation),
    )
    return HiddenSumKernel(formula, n_parts=n_parts)


class HiddenSumKernel(DotProductKernel):
    """The kernel of a sum over hidden units, none of which has the mean zero."""

    def __init__(self, formula: HiddenSum, *, n_parts: int) -> None:
        super().__init__(formula, n_parts=n_parts)

    @property
    def mean_follows_norm(self) -> bool:
        """True."""
        return True


@infinite_width.register(nk.models.RBM)
def _rbm(model: nk.models.RBM, trainable: Trainable = "all") -> DotProductKernel:
    _all_parameters(model, trainable)
    _real(model)
    visible = None
    if model.use_visible_bias:
        visible = initial_variance(model.visible_bias_init, "visible_bias_init")
    return _hidden_sum(model, visible, 1)


@infinite_width.register(nk.models.RBMModPhase)
def _rbm_mod_phase(model: nk.models.RBMModPhase, trainable: Trainable = "all") -> DotProductKernel:
    _all_parameters(model, trainable)
    _real(model)
    return _hidden_sum(model, None, 2)


@infinite_width.register(nk.models.MLP)
def _mlp(model: nk.models.MLP, trainable: Trainable = "all") -> DotProductKernel:
    if trainable not in ("all", "readout"):
        raise InvalidModelError(f"trainable={trainable!r}: expected 'all' or 'readout'.")
    _real(model)
    if model.output_activation is not None:
        raise UnknownKernelError(
            "MLP(output_activation=…): a function of the Gaussian output is not Gaussian, and its kernel is not "
            "known. Leave output_activation=None, or measure: qs.kernels.monte_carlo(model, x, n_members=…)."
        )
    widths, alphas = (_tuple(v) for v in (model.hidden_dims, model.hidden_dims_alpha))
    depth = len(widths) + len(alphas)
    given = model.hidden_activations
    functions = given if isinstance(given, tuple | list) else (given,) * depth
    formula = DenseLayers(
        tuple(int(n) for n in widths),
        tuple(float(a) for a in alphas),
        initial_variance(model.kernel_init, "kernel_init"),
        initial_variance(model.bias_init, "bias_init"),
        (model.use_hidden_bias,) * depth + (model.use_output_bias,),
        tuple(_known("identity" if f is None else f) for f in functions),
        trainable,
    )
    return DotProductKernel(formula, n_parts=1, trainable=trainable)


def _tuple(value: float | Sequence[float] | None) -> tuple[float, ...]:
    if value is None:
        return ()
    return tuple(value) if isinstance(value, Sequence) else (value,)


@infinite_width.register(nk.models.Jastrow)
def _jastrow(model: nk.models.Jastrow, trainable: Trainable = "all") -> PairKernel:
    _all_parameters(model, trainable)
    is_complex = jnp.issubdtype(model.param_dtype, jnp.complexfloating)
    variance = initial_variance(model.kernel_init, "kernel_init").scale
    # A complex normal number has half of its variance in each part.
    return PairKernel(
        variance=cast(Array, np.asarray(variance / (2 if is_complex else 1))),
        n_parts=2 if is_complex else 1,
        trainable="all",
    )
