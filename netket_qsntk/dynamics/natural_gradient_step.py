r"""One step of gradient descent, SR or TDVP in function space, as pure functions of one wave function.

With u = ψ/‖ψ‖, p = |u|² and e^{iφ} = u/|u|, everything a step needs is finite where ψ vanishes or underflows. The
logarithmic derivative times √p is m ∂f, with m = √p for networks of log ψ and |e^r f|/(f‖ψ‖) for networks of ψ; √p
times the gradient of log ψ is b = e^{-iφ} ∂L/∂u (for the energy 2e^{-iφ}(H - E)u = 2√p(E_loc - E)).
"""

from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from netket_qsntk.dynamics import natural_gradient_solver as solver
from netket_qsntk.losses import Loss
from netket_qsntk.operators import Hypercube, KernelOperator
from netket_qsntk.operators.inner_products import inner
from netket_qsntk.readout import FixedReadout

Method = Literal["gradient", "cholesky", "eigenvectors", "products"]


class Problem(eqx.Module):
    """What is minimised (or generates the evolution), by which kernel: arrays are traced, choices are static."""

    theta: KernelOperator | Array
    """Θ of each part, (n, n); with ``joint`` the kernel of (f₁, f₂) together, (2n, 2n)."""
    loss: Loss
    readout: FixedReadout
    amplitudes: Array | None
    tolerance: Array
    method: Method = eqx.field(static=True)
    real: bool = eqx.field(static=True)
    """Only the real part of log ψ follows (mode "real", or networks with one part)."""
    joint: bool = eqx.field(static=True)
    rotated: bool = eqx.field(static=True)
    """Real time: E_loc - E is replaced by i(E_loc - E), without the factor 2."""
    max_products: int = eqx.field(static=True)


class Place(NamedTuple):
    """Where a wave function stands."""

    f: Array
    """The network's functions (n,)."""
    alpha: Array
    """The last direction: it moves f along Θα."""
    image: Array
    """Θα of the last direction."""
    solution: Array
    """a of the last solution, the next first guess."""


class Step(NamedTuple):
    """The direction at a place, and what is known of the wave function there."""

    value: Array
    """L."""
    variance: Array
    """⟨H²⟩ - ⟨H⟩² for an energy: ‖b‖²/4."""
    place: Place
    """The same f, with the new direction, its image and the solution."""
    products: Array
    """Products with T."""
    residual: Array
    """Of the linear system."""


def start(f: Array) -> Place:
    """A wave function that has no past."""
    zero = jnp.zeros_like(f)
    return Place(f, zero, zero, zero)


def apply_theta(problem: Problem, v: Array) -> Array:
    """Θ v (n,), on real and imaginary part."""
    theta = problem.theta
    if problem.joint:
        n = len(v)
        stacked = theta @ jnp.concatenate([v.real, v.imag])
        return jax.lax.complex(stacked[:n], stacked[n:])
    if isinstance(theta, KernelOperator):
        return theta.product(v)
    if jnp.iscomplexobj(v):
        columns = theta @ jnp.stack([v.real, v.imag], axis=-1)
        return jax.lax.complex(columns[:, 0], columns[:, 1])
    return theta @ v


class _Frame(NamedTuple):
    value: Array
    variance: Array
    root: Array
    """√p."""
    m: Array
    """√p ∂log ψ/∂f."""
    b: Array
    """√p times the gradient of log ψ."""


def _frame(problem: Problem, f: Array) -> _Frame:
    log_psi = problem.readout.log_psi(f)
    size = log_psi.real - jnp.max(log_psi.real)
    unscaled = jnp.exp(size)
    norm = jnp.sqrt(inner(unscaled, unscaled))
    root = unscaled / norm
    if jnp.iscomplexobj(log_psi):
        # A zero amplitude has log ψ = -inf, and a phase that does not matter.
        phase = jnp.exp(1j * jnp.where(jnp.isfinite(log_psi.imag), log_psi.imag, 0.0))
    else:
        phase = jnp.ones_like(log_psi)
    u = phase * root
    value, gradient = problem.loss.value_and_gradient(u, problem.amplitudes)
    b = phase.conj() * gradient
    variance = inner(b, b) / 4
    if problem.rotated:
        b = 0.5j * b
    if problem.readout.is_log:
        m = root
    else:
        turned = jnp.abs(f)
        turned = jnp.where(turned == 0, 1.0, f.conj() / jnp.where(turned == 0, 1.0, turned))
        r = problem.readout.reference
        scale = jnp.zeros(()) if r is None else r.real
        m = jnp.exp(scale - jnp.max(log_psi.real)) / norm * turned
    if problem.real or not jnp.iscomplexobj(f):
        b = b.real
    return _Frame(value, variance, root, m, b)


def _centred(root: Array, v: Array) -> Array:
    return v - root * solver.along(root, v)


def matrix(problem: Problem, root: Array, m: Array) -> Array:
    """T (n, n), real or Hermitian; with ``joint`` (2n, 2n) real, or (n, n) where only the real part follows."""
    if problem.joint:
        a, b = jnp.diag(m.real), jnp.diag(m.imag)
        turn = jnp.block([[a, -b], [b, a]])
        whole = turn @ problem.theta @ turn.T
        if problem.real:
            n = len(root)
            return _centred_matrix(whole[:n, :n], root)
        zero = jnp.zeros_like(root)
        first, second = jnp.concatenate([root, zero]), jnp.concatenate([zero, root])
        return _centred_matrix(_centred_matrix(whole, first), second)
    return _centred_matrix(problem.theta * m[:, None] * m.conj()[None, :], root)


def _centred_matrix(matrix: Array, root: Array) -> Array:
    """P A P with P = 1 - √p√pᵀ."""
    right = matrix @ root
    left = right.conj()
    middle = jnp.sum(root * right)
    outer = root[:, None] * left[None, :]
    return matrix - outer - outer.conj().T + middle * root[:, None] * root[None, :]


def weighted_product(problem: Problem, m: Array, v: Array) -> Array:
    """m Θ m* v by one product with Θ: T before it is centred."""
    return _kept(problem, m * apply_theta(problem, m.conj() * v))


def _kept(problem: Problem, v: Array) -> Array:
    return v.real if problem.real else v


def direction(problem: Problem, place: Place, shift: Array, momentum: Array) -> Step:
    """The next direction α and its image Θα, by which f will be moved: f - ηΘα."""
    frame = _frame(problem, place.f)
    root, m, b = frame.root, frame.m, frame.b
    if problem.method == "gradient":
        alpha = (m.conj() * b).astype(place.alpha.dtype)
        image = apply_theta(problem, alpha).astype(place.f.dtype)
        nothing = jnp.zeros((), int), jnp.zeros(())
        return Step(frame.value, frame.variance, place._replace(alpha=alpha, image=image), *nothing)
    # Without momentum nothing of the last step is read: each of its vectors would be another pass over memory.
    b = jax.lax.cond(
        momentum == 0,
        lambda b: b,
        lambda b: b - momentum * _centred(root, _kept(problem, m * place.image)),
        b,
    )
    if problem.method == "products":
        first = _centred(root, _kept(problem, place.solution).astype(b.dtype))
        numbers = shift, first, problem.tolerance, problem.max_products
        if isinstance(problem.theta, Hypercube) and solver.is_native(problem.theta, m):
            solved = solver.by_compiled_products(problem.theta, m, root, b, *numbers)
        else:
            solved = solver.by_products(
                lambda v: weighted_product(problem, m, v), root, b, *numbers
            )
    else:
        solve = solver.by_cholesky if problem.method == "cholesky" else solver.by_eigenvectors
        t = matrix(problem, root, m)
        if problem.joint and not problem.real:
            n = len(root)
            solved = solve(t, jnp.concatenate([b.real, b.imag]), shift)
            value = jax.lax.complex(solved.value[:n], solved.value[n:])
            solved = solved._replace(value=value)
        else:
            solved = solve(t, b, shift)
    pulled = m.conj() * _centred(root, solved.value)
    image = apply_theta(problem, pulled).astype(place.f.dtype)
    alpha, image = jax.lax.cond(
        momentum == 0,
        lambda moves: moves,
        lambda moves: (moves[0] + momentum * place.alpha, moves[1] + momentum * place.image),
        (pulled.astype(place.alpha.dtype), image),
    )
    new = Place(place.f, alpha, image, solved.value.astype(place.solution.dtype))
    return Step(frame.value, frame.variance, new, solved.products, solved.residual)


def velocity(problem: Problem, f: Array, shift: Array) -> Array:
    """df/dτ = -Θα without momentum: what a flow integrates."""
    return -direction(problem, start(f), shift, jnp.zeros(())).place.image


def value_and_variance(problem: Problem, f: Array) -> tuple[Array, Array]:
    """L and the variance of the energy, without a solution."""
    frame = _frame(problem, f)
    return frame.value, frame.variance


@eqx.filter_jit
def directions(problem: Problem, places: Place, shift: Array, momentum: Array) -> Step:
    """:func:`direction` of one wave function, or of members along a leading axis."""
    return of_members(problem, lambda place: direction(problem, place, shift, momentum), places)


@eqx.filter_jit
def evaluations(problem: Problem, f: Array) -> tuple[Array, Array]:
    """:func:`value_and_variance` of functions (…, n)."""
    flat = f.reshape(-1, f.shape[-1])
    out = jax.lax.map(lambda one: value_and_variance(problem, one), flat)
    return out[0].reshape(f.shape[:-1]), out[1].reshape(f.shape[:-1])


@eqx.filter_jit
def images(problem: Problem, v: Array) -> Array:
    """Θ v for v (…, n)."""
    flat = v.reshape(-1, v.shape[-1])
    return jax.lax.map(lambda one: apply_theta(problem, one), flat).reshape(v.shape)


def of_members(problem: Problem, function: Any, places: Place) -> Any:
    """``function`` of one place, or of all: at once where it is products, in turn where matrices are stored."""
    if places.f.ndim == 1:
        return function(places)
    small = places.f.shape[-1] <= 256
    if problem.method in ("products", "gradient") or small:
        return jax.vmap(function)(places)
    return jax.lax.map(function, places)


@eqx.filter_jit
def follow(
    problem: Problem,
    places: Place,
    gaps: Array,
    first: Array,
    rates: Array,
    shifts: Array,
    momenta: Array,
) -> tuple[Place, Array, Array]:
    """Steps f ← f - ηΘα, ``gaps`` (k,) of them between the functions that are kept.

    The settings of step t are entry t of their arrays, or the last one.

    Returns:
        The last place, the kept functions (k, …, n) and the products with T that were used.
    """

    def setting(values: Array, t: Array) -> Array:
        return values[jnp.minimum(t, len(values) - 1)]

    def one(_: Any, carry: tuple[Place, Array, Array]) -> tuple[Place, Array, Array]:
        places, t, products = carry
        shift, momentum, rate = (setting(v, t) for v in (shifts, momenta, rates))
        step = of_members(problem, lambda place: direction(problem, place, shift, momentum), places)
        moved = step.place._replace(f=step.place.f - rate * step.place.image)
        return moved, t + 1, products + jnp.sum(step.products)

    def several(carry: Any, gap: Array) -> tuple[Any, Array]:
        carry = jax.lax.fori_loop(0, gap, one, carry)
        return carry, carry[0].f

    (places, _, products), kept = jax.lax.scan(several, (places, first, jnp.zeros((), int)), gaps)
    return places, kept, products
