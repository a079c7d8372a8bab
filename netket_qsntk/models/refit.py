"""The same function on other centres: which old ones to keep, which new ones to take, and what is lost."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from netket.utils.types import PyTree

from netket_qsntk.models.choose_centres import choose_centres
from netket_qsntk.models.infinite_width import InfiniteWidth

# Of the samples, those that only measure the misfit.
_HELD_OUT = 0.25


@dataclass(frozen=True)
class Refit:
    """A function moved to other centres.

    Attributes:
        variables: All variables of the model.
        misfit: Standard deviation of the change of log ψ on samples that took no part: the infidelity it causes is
            about misfit² (of the part that is trained; a constant does not count).
        n_centres: Centres now.
        n_kept: Of these, old ones.
    """

    variables: dict[str, PyTree]
    misfit: float
    n_centres: int
    n_kept: int


def contributions(weights: np.ndarray, root: np.ndarray) -> np.ndarray:
    """How much of the function goes with each centre: (M,).

    |w_c|²/(Θ⁻¹)_cc, the square of the RKHS norm that is lost if centre c is left out and the others do their best.
    """
    inverse = np.sum(root * root, axis=0)
    return np.sum(np.abs(weights) ** 2, axis=1) / np.maximum(inverse, np.finfo(float).tiny)


def refit(
    model: InfiniteWidth,
    variables: dict[str, PyTree],
    samples: np.ndarray,
    n_centres: int,
    *,
    keep: float = 0.5,
    ridge: float = 1e-10,
    seed: int = 0,
) -> Refit:
    r"""Move the trained function f = φ(x)·θ to centres chosen from samples (n, sites).

    The old centres with the largest :func:`contributions`, a fraction ``keep`` of the new number, stay; the others
    are pivots of the samples (:func:`netket_qsntk.models.choose_centres`). θ' minimises Σ_s |f(s) - φ'(s)·θ'|² over
    three quarters of the samples and the new centres, plus ``ridge`` |θ'|² times the largest eigenvalue of Σφ'φ'ᵀ;
    the other samples measure the misfit.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(samples))
    held = max(1, int(_HELD_OUT * len(samples)))
    fitted, fresh = samples[order[held:]], samples[order[:held]]
    old = np.asarray(variables["centres"]["configurations"])
    weights = np.asarray(_weights(model, variables))
    lost = contributions(weights, np.asarray(variables["centres"]["root"], float))
    n_keep = min(len(old), round(keep * n_centres))
    kept = old[np.sort(np.argsort(lost)[::-1][:n_keep])]
    chosen = choose_centres(
        model.kernel,
        fitted.astype(old.dtype),
        n_centres,
        keep=kept if n_keep else None,
        which=model.which,
    )
    made = {"centres": model.made_of(chosen)}
    where = jnp.asarray(np.concatenate([fitted, chosen.astype(fitted.dtype)]))
    wanted = np.asarray(_trained(model, variables, where), float)
    zero = {name: jnp.zeros(len(chosen), model.dtype) for name in variables["params"]}
    blank = {**variables, **made, "params": zero}
    phi = np.asarray(_features(model, blank, where), float)
    gram = phi.T @ phi
    shift = ridge * np.linalg.norm(gram, 2)
    theta = np.linalg.solve(gram + shift * np.eye(len(gram)), phi.T @ wanted)
    params = {
        name: jnp.asarray(theta[:, i], model.dtype)
        for i, name in enumerate(n for n in ("log_amplitude", "phase") if n in zero)
    }
    new = {**blank, "params": params}
    x = jnp.asarray(fresh)
    change = np.asarray(_trained(model, new, x)) - np.asarray(_trained(model, variables, x))
    return Refit(new, float(np.sqrt(change.var(axis=0).sum())), len(chosen), n_keep)


def _weights(model: InfiniteWidth, variables: dict[str, PyTree]) -> PyTree:
    return model.apply(variables, method="weights")


@partial(jax.jit, static_argnums=0)
def _trained(model: InfiniteWidth, variables: dict[str, PyTree], x: ArrayLike) -> PyTree:
    return model.apply(variables, x, method="trained")


@partial(jax.jit, static_argnums=0)
def _features(model: InfiniteWidth, variables: dict[str, PyTree], x: ArrayLike) -> PyTree:
    return model.apply(variables, x, method="features")
