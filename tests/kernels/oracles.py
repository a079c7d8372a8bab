"""Kernels at 50 digits (mpmath) and by brute force, written from the definitions alone."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np

DIGITS = 50
Moments = tuple[Any, Any, Any]


def _clip(value: Any) -> Any:
    return max(min(value, mp.mpf(1)), mp.mpf(-1))


def relu(a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    """Cho & Saul (2009), degrees 1 and 0."""
    q = mp.sqrt(a * b)
    theta = mp.acos(_clip(c / q))
    return q / (2 * mp.pi) * (mp.sin(theta) + (mp.pi - theta) * mp.cos(theta)), (mp.pi - theta) / (
        2 * mp.pi
    )


def erf(a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    """Williams (1997)."""
    root = mp.sqrt((1 + 2 * a) * (1 + 2 * b))
    return 2 / mp.pi * mp.asin(2 * c / root), 4 / mp.pi / mp.sqrt(root**2 - 4 * c * c)


def sin(a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    scale = mp.exp(-(a + b) / 2)
    return scale * mp.sinh(c), scale * mp.cosh(c)


def cos(a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    return sin(a, b, c)[::-1]


def gaussian(a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    """exp(-u²): a Gaussian integral, and its derivative in c."""
    det = (1 + 2 * a) * (1 + 2 * b) - 4 * c * c
    return det ** mp.mpf("-0.5"), 4 * c * det ** mp.mpf("-1.5")


def identity(a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    return c, mp.mpf(1)


def gelu(a: Any, b: Any, c: Any) -> tuple[Any, Any]:
    """By Price's theorem from E[φ''φ''], φ''(u) = (2 - u²) N(u), integrated over the covariance."""

    def curvature(s: Any) -> Any:
        det = (1 + a) * (1 + b) - s * s
        t_uu, t_vv, t_uv = (a * (1 + b) - s * s) / det, (b * (1 + a) - s * s) / det, s / det
        moment = 4 - 2 * t_uu - 2 * t_vv + t_uu * t_vv + 2 * t_uv**2
        return moment / (2 * mp.pi * mp.sqrt(det))

    start = a * b / (2 * mp.pi * mp.sqrt((1 + a) * (1 + b)))
    value = start + c / 4 + mp.quad(lambda s: (c - s) * curvature(s), [0, c])
    return value, mp.mpf(1) / 4 + mp.quad(curvature, [0, c])


def by_hermite(
    function: Callable[[Any], Any], derivative: Callable[[Any], Any], orders: int
) -> Callable[[Any, Any, Any], tuple[Any, Any]]:
    """Mehler's expansion Σ_k c_k(a) c_k(b) ρ^k, c_k = E[φ(√a z) h_k(z)]; for |ρ| well below 1."""

    @lru_cache(maxsize=8)
    def coefficients(f: Callable[[Any], Any], a: Any) -> list[Any]:
        h, root = mp.mpf("0.12"), mp.sqrt(a)
        nodes = [h * k for k in range(-100, 101)]
        weights = [h * mp.npdf(z) * f(root * z) for z in nodes]
        below, here = [mp.mpf(0)] * len(nodes), [mp.mpf(1)] * len(nodes)
        out = []
        for k in range(orders):
            out.append(mp.fsum(w * p for w, p in zip(weights, here, strict=True)))
            up = [
                (z * p - mp.sqrt(k) * q) / mp.sqrt(k + 1)
                for z, p, q in zip(nodes, here, below, strict=True)
            ]
            below, here = here, up
        return out

    def dual(a: Any, b: Any, c: Any) -> tuple[Any, Any]:
        rho = c / mp.sqrt(a * b)
        sums = []
        for f in (function, derivative):
            pairs = zip(coefficients(f, a), coefficients(f, b), strict=True)
            sums.append(mp.fsum(p * q * rho**k for k, (p, q) in enumerate(pairs)))
        return sums[0], sums[1]

    return dual


DUALS = {
    "relu": relu,
    "erf": erf,
    "sin": sin,
    "cos": cos,
    "gaussian": gaussian,
    "gelu": gelu,
    "identity": identity,
    "tanh": by_hermite(mp.tanh, lambda t: mp.sech(t) ** 2, 70),
}


def perceptron(
    dual: Callable[[Any, Any, Any], tuple[Any, Any]],
    sigma_w: tuple[float, ...],
    sigma_b: tuple[float, ...],
    x: Any,
    y: Any,
    *,
    standard: bool = False,
    readout: bool = False,
) -> tuple[Any, Any]:
    """(NNGP, NTK) of a perceptron at inputs x, y (d,): the layer recursion at :data:`DIGITS` digits."""
    with mp.workdps(DIGITS):
        u, v = ([mp.mpf(float(t)) for t in z] for z in (x, y))
        d = len(u)
        xx, yy, xy = (mp.fdot(p, q) / d for p, q in ((u, u), (v, v), (u, v)))
        ntk, last = mp.mpf(0), len(sigma_w) - 1
        for i, (w, b) in enumerate(zip(sigma_w, sigma_b, strict=True)):
            w2, b2 = mp.mpf(w) ** 2, mp.mpf(b) ** 2
            if i:
                nngp, slope = dual(xx, yy, xy)
                ntk *= w2 * slope
                if i < last:
                    xx, yy = dual(xx, xx, xx)[0], dual(yy, yy, yy)[0]
                xy = nngp
            if i == last or not readout:
                ntk += (mp.mpf(1) if standard else w2) * xy
                ntk += mp.mpf(b > 0) if standard else b2
            xx, yy, xy = (w2 * t + b2 for t in (xx, yy, xy))
        return xy, ntk


def brute_force_jacobian(psi: Callable[[Any, Any], Any], parameters: Any, x: Any) -> np.ndarray:
    """(n, P) complex: ∂ψ over Re θ and Im θ of every parameter, one directional derivative for each."""
    leaves, treedef = jax.tree.flatten(parameters)

    @jax.jit
    def along(tangents: list[Any]) -> Any:
        return jax.jvp(lambda p: psi(p, x), (parameters,), (treedef.unflatten(tangents),))[1]

    columns = []
    for k, leaf in enumerate(leaves):
        for index in np.ndindex(leaf.shape):
            for direction in [1.0, 1.0j] if jnp.iscomplexobj(leaf) else [1.0]:
                tangents = [np.zeros(t.shape, t.dtype) for t in leaves]
                tangents[k][index] = direction
                columns.append(np.asarray(along(tangents)))
    return np.stack(columns, axis=1)
