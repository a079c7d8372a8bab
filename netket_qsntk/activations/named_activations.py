"""The activations by name, and any function as an activation."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from netket_qsntk.activations import closed_forms
from netket_qsntk.activations.gelu import gelu
from netket_qsntk.activations.near_field import near_field
from netket_qsntk.activations.pair import Dual
from netket_qsntk.activations.trapezoid import (
    REACH,
    Function,
    Trapezoid,
    is_mirrored,
    of_finer,
    on_grids,
)
from netket_qsntk.alert import alert
from netket_qsntk.errors import InaccurateKernelWarning, InvalidModelError
from netket_qsntk.text import brief

# What a kernel by quadrature may be wrong by, relative to its largest value.
_ACCURACY = 1e-10
# Nodes of the rule on the whole plane: their squares are the cost of one kernel value.
_PLANE = (48, 60, 72, 88, 108, 132, 162, 198, 243, 298, 365, 447, 548)
_FINE = 8192
# A function that oscillates may be integrated well by one rule that is too coarse for it, by none of many.
_BETWEEN = tuple(round(48 * 1.04**k) for k in range(80))
# How many of these are tried for a function that converges with none.
_FEW = 7
# The least deviation that rules are made for.
_SMALLEST = 0.5
# Where it is not known (under jax.grad and jax.jit), the first of these that there is an accurate rule for.
_UNKNOWN = (16.0, 8.0, 4.0, 1.0)
# Parts of a deviation at which the mean square is looked at: it may be largest at a smaller one.
_PARTS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Activation:
    """An elementwise function with its dual kernels.

    For (u, v) jointly Gaussian with zero mean, variances a, b and covariance c, the dual of φ is
    τ(a, b, c) = E[φ(u)φ(v)], and τ̇ = E[φ'(u)φ'(v)] = ∂τ/∂c (Price's theorem): the steps of the layer recursion of
    the NNGP and the NTK.

    Attributes:
        name: What it is called in options.
        function: φ, elementwise.
        dual: ``dual(pair) -> (moments of (φ(u), φ(v)), τ̇)``, elementwise in the moments, differentiable by JAX, of
            moments that may be traced.
        closed: Whether the dual is a closed form, accurate for all moments.
        error: Of a dual by quadrature: about its relative error at the deviations it was resolved for.
        deviation: The largest of these, rounded up.
    """

    name: str
    function: Function
    dual: Dual
    closed: bool = True
    error: float = 0.0
    deviation: float | None = None

    @property
    def density(self) -> float | None:
        """None for a closed form; otherwise the nodes for each unit of √a."""
        return None if self.closed else REACH

    def resolved(self, deviation: float) -> "Activation":
        """The same activation with a dual that is accurate where u and v have up to this standard deviation.

        Deviations are rounded up to a power of √2: few different duals, and programs, serve all of them. What it
        reaches is ``error``, of which :meth:`checked` warns.
        """
        if self.closed:
            return self
        if not 0 <= deviation < math.inf:
            return replace(self, error=math.inf)
        rounded = 2.0 ** (math.ceil(2 * math.log2(max(deviation, _SMALLEST))) / 2)
        dual, error = _rule(self.function, rounded)
        return replace(self, dual=dual, error=error, deviation=rounded)

    def mean_square(self, deviation: float) -> float:
        """The largest E φ(u)² for u of up to this deviation, by a fine rule: the size of the next layer's inputs."""
        grid = np.linspace(-REACH, REACH, _FINE)
        weights = np.exp(-(grid**2) / 2)
        with np.errstate(over="ignore", invalid="ignore"):
            values, _ = on_grids(self.function, [part * deviation * grid for part in _PARTS])
            return float(np.max(np.stack(values) ** 2 @ weights) / np.sum(weights))

    def checked(self) -> "Activation":
        """This activation, with a warning if its dual is not accurate.

        To be called outside of caches: where a kernel is used, it warns.
        """
        if not self.error < max(_ACCURACY, 1e3 * _eps()):
            alert(
                f"The kernel of activation {self.name!r} by quadrature has a relative error of about "
                f"{self.error:.0e}: it is not smooth, or not finite, or its inputs are large and it becomes no "
                "straight line there (smaller σ help then). Closed forms are known for "
                f"{', '.join(name for name, known in _ACTIVATIONS.items() if known.closed)}.",
                InaccurateKernelWarning,
            )
        return self

    @property
    def is_polynomial(self) -> bool:
        """Whether φ is a polynomial (of degree below 12), by its values: some theorems exclude these."""
        return _is_polynomial(self.function)

    def __reduce__(self) -> str | tuple[Callable[..., "Activation"], tuple[object, ...]]:
        # By name where it has one: not every function of JAX can be pickled.
        known = _ACTIVATIONS.get(self.name)
        if known is not None and known.function is self.function:
            return _restored, (self.name, self.deviation)
        return Activation, (
            self.name,
            self.function,
            self.dual,
            self.closed,
            self.error,
            self.deviation,
        )

    def __repr__(self) -> str:
        return f"Activation({self.name})"


def quadrature(function: Function, nodes: int = 192) -> Dual:
    """Dual of any smooth activation by the trapezoidal rule on the plane of two independent normals.

    Args:
        function: The activation, elementwise and differentiable by JAX.
        nodes: Nodes in each direction; the cost is nodes² evaluations for each different kernel value.

    Example:
        >>> import jax.numpy as jnp
        >>> from netket_qsntk.activations import Pair, quadrature
        >>> one = jnp.ones(())
        >>> moments, slope = quadrature(jnp.cos)(Pair.of(one, one, one))
        >>> float(moments.c), float(slope)
        (0.5676676, 0.4323323)
    """
    return Trapezoid(function, nodes)


def _eps() -> float:
    return float(jnp.finfo(jnp.zeros(()).dtype).eps)


@lru_cache(maxsize=256)
def _rule(function: Function, deviation: float) -> tuple[Dual, float]:
    """The cheapest rule that is accurate up to this deviation, or the best one, and its error."""
    near = near_field(function)
    if near is not None:
        near = near.up_to(deviation)
        # The plane has no more nodes at small deviations, and each costs less there.
        plane, error, accurate = _on_plane(function, deviation)
        return (plane, error) if accurate and plane.nodes <= near.nodes else (near, 0.0)
    return _on_plane(function, deviation)[:2]


def _on_plane(function: Function, deviation: float) -> tuple[Trapezoid, float, bool]:
    """The rule on the plane with the fewest nodes that are enough, its error, and whether they are."""
    nodes = sorted({*_PLANE, *_BETWEEN})
    grids = [_symmetric(n) for n in (*nodes, _FINE)]
    values, slopes = on_grids(function, [deviation * z for z in grids])
    with np.errstate(over="ignore", invalid="ignore"):
        found = [_integrals(*t) for t in zip(grids, values, slopes, strict=True)]
        each = of_finer([_distance(t, found[-1]) for t in found[:-1]])
    errors = each[np.searchsorted(nodes, _PLANE)]
    # The first that is accurate; where none is, more nodes would cost much and gain little.
    accurate = errors <= max(_ACCURACY / 100, 10 * _eps())
    best = int(np.argmax(accurate) if accurate.any() else np.argmin(errors[:_FEW]))
    rule = Trapezoid(function, _PLANE[best], is_mirrored(values[-1]))
    return rule, float(errors[best]), bool(accurate.any())


def _symmetric(nodes: int) -> np.ndarray:
    z = np.linspace(-REACH, REACH, nodes)
    return (z - z[::-1]) / 2


def _integrals(z: np.ndarray, value: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """E φ², E φ'², E φ, E zφ by a rule in one dimension: what the rule in two is made of."""
    weights = np.exp(-(z**2) / 2)
    return np.stack([value**2, slope**2, value, z * value]) @ weights / weights.sum()


def _distance(found: np.ndarray, exact: np.ndarray) -> float:
    scale = np.abs(exact).copy()
    # The mean is no larger than the root of the mean square, and may vanish.
    scale[2:] = np.sqrt(scale[0])
    error = np.max(np.abs(found - exact) / np.maximum(scale, np.finfo(float).tiny))
    return float(error) if np.isfinite(error) else math.inf


@lru_cache(maxsize=64)
def _is_polynomial(function: Function) -> bool:
    z = np.cos(np.pi * (np.arange(48) + 0.5) / 48)
    # On two intervals: a smooth function may be close to a polynomial on one.
    for values in on_grids(function, [z, 12 * z])[0]:
        if not np.isfinite(values).all():
            return False
        found = np.polynomial.chebyshev.Chebyshev.fit(z, values, 11)(z)
        if np.abs(found - values).max() > 1e3 * _eps() * np.abs(values).max():
            return False
    return True


def _exact_gelu(x: Array) -> Array:
    return jax.nn.gelu(x, approximate=False)


def _gauss(x: Array) -> Array:
    return jnp.exp(-(x * x))


def _itself(x: Array) -> Array:
    return x


_ACTIVATIONS = {
    "relu": Activation("relu", jax.nn.relu, closed_forms.relu),
    "erf": Activation("erf", jax.scipy.special.erf, closed_forms.erf),
    "tanh": Activation("tanh", jnp.tanh, Trapezoid(jnp.tanh, 128), closed=False),
    "gelu": Activation("gelu", _exact_gelu, gelu),
    "sin": Activation("sin", jnp.sin, closed_forms.sin),
    "cos": Activation("cos", jnp.cos, closed_forms.cos),
    "gaussian": Activation("gaussian", _gauss, closed_forms.gaussian),
    "identity": Activation("identity", _itself, closed_forms.identity),
}


def _unresolved(known: Activation) -> Activation:
    """The activation with a dual for deviations that are not known: not a number where it does not reach."""
    if known.closed:
        return known
    near = near_field(known.function)
    if near is not None:
        return replace(known, dual=near)
    for deviation in _UNKNOWN:
        rule, _, accurate = _on_plane(known.function, deviation)
        if accurate:
            limit = math.inf if _is_polynomial(known.function) else deviation
            return replace(known, dual=replace(rule, limit=limit))
    return replace(known, dual=rule)


@lru_cache(maxsize=64)
def _of_function(function: Function) -> Activation:
    for known in _ACTIVATIONS.values():
        if known.function is function:
            return _unresolved(known)
    name = brief(function)
    return _unresolved(Activation(name, function, Trapezoid(function, 48), closed=False))


def _restored(name: str, deviation: float | None) -> Activation:
    found = activation(name)
    return found if deviation is None else found.resolved(deviation)


def activation(name: str | Callable[[Array], Array]) -> Activation:
    """The activation of that name, or any smooth JAX function with its dual by quadrature.

    Args:
        name: One of ``"relu", "erf", "tanh", "gelu", "sin", "cos", "gaussian", "identity"``, or an
            elementwise function; ``jax.nn.relu``, ``jnp.tanh``, … stand for their names.

    Raises:
        InvalidModelError: The name is not known.

    Example:
        >>> from netket_qsntk.activations import Pair, activation
        >>> import jax.numpy as jnp
        >>> one = jnp.ones(())
        >>> moments, derivative = activation("relu").dual(Pair.of(one, one, one))
        >>> float(moments.c), float(derivative)
        (0.5, 0.5)
    """
    if callable(name):
        return _of_function(name)
    if name not in _ACTIVATIONS:
        raise InvalidModelError(
            f"activation={name!r} is not known: expected one of {', '.join(_ACTIVATIONS)}, or a JAX "
            "function."
        )
    return _of_function(_ACTIVATIONS[name].function)
