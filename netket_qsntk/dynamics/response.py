r"""How a unit of error in one mode of the kernel decays in training.

A linear optimiser that treats every coordinate alike commutes with rotations of parameter space, so in the
eigenbasis of Θ_BB each mode trains by itself: its residual after t steps is r_t(λ) and the function moves by
Θ_xB V a_t(Λ) Vᵀ(ψ_T - ψ₀), with r_t(λ) = 1 - λ a_t(λ). A :class:`Response` knows r and a. For the loss
L = (1/|B|) Σ |ψ - ψ_T|² and s = 2η/|B|:

- gradient descent: r_t = (1 - sλ)^t,
- gradient flow: r_τ = e^{-sλτ},
- any other such optax transformation: its own recursion on the modes, by powers of one matrix where its steps are
  alike (momentum, weight decay), step by step where they change (schedules).

Eigenvalues and steps are few numbers and live on the host: everything here is NumPy, and compiles nothing.
"""

import abc

import numpy as np
import optax
from numpy.typing import ArrayLike

from netket_qsntk import spectral
from netket_qsntk.dynamics.optimizers import AffineStep, ScheduledRun
from netket_qsntk.errors import InvalidTrainingError

# Entries (steps × modes) worked on at a time.
_ENTRIES = 2**20
# Powers of a step up to this one are made one by one, later ones from theirs.
_POWERS = 64

Curve = np.ndarray


class Response(abc.ABC):
    """Residual and displacement of modes with eigenvalues λ >= 0 at given steps."""

    @abc.abstractmethod
    def curves(self, steps: ArrayLike, eigenvalues: ArrayLike) -> tuple[Curve, Curve]:
        """(r, a), each (steps, modes). Steps are finite or ∞; λ = 0 never trains, also at ∞."""

    @abc.abstractmethod
    def growth(self, eigenvalue: float) -> float | None:
        """|r_{t+1}/r_t| at late t: above 1 the mode diverges. None where steps are not alike (schedules)."""

    def residuals(self, steps: ArrayLike, eigenvalues: ArrayLike) -> Curve:
        """r_t(λ): (steps, modes)."""
        return self.curves(steps, eigenvalues)[0]

    def displacements(self, steps: ArrayLike, eigenvalues: ArrayLike) -> Curve:
        """a_t(λ): (steps, modes)."""
        return self.curves(steps, eigenvalues)[1]

    def square_sums(self, steps: ArrayLike, eigenvalues: ArrayLike, weights: ArrayLike) -> Curve:
        """Σ_i r_t(λ_i)² weights_i: (steps, k) for weights (modes, k)."""
        return self.residuals(steps, eigenvalues) ** 2 @ np.asarray(weights)

    def stability_margin(self, largest_eigenvalue: float) -> float:
        """The factor by which the learning rate may grow before the top mode stops to decay; ∞ if it never does."""

        def decays(factor: float) -> bool:
            growth = self.growth(factor * largest_eigenvalue)
            return growth is None or growth <= 1

        low, high = 0.0, 1.0
        while decays(high):
            if high > 1e12:
                return np.inf
            low, high = high, 2 * high
        while high - low > 1e-15 * high:
            middle = (low + high) / 2
            if middle in (low, high):
                break
            low, high = (middle, high) if decays(middle) else (low, middle)
        return low


class Geometric(Response):
    """r_t = r₁^t: each step multiplies a mode's error by the same factor."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    @abc.abstractmethod
    def first(self, eigenvalues: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(log|r₁|, whether r₁ < 0), the logarithm as accurate for slow modes as for fast ones."""

    def when(self, steps: np.ndarray) -> np.ndarray:
        """The times that count, of times asked for."""
        return steps

    def settled(self, eigenvalues: np.ndarray) -> np.ndarray:
        """Which modes are at ∞ where they started: those at the stability limit (:mod:`netket_qsntk.spectral`)."""
        return np.zeros(eigenvalues.shape, bool)

    def curves(self, steps: ArrayLike, eigenvalues: ArrayLike) -> tuple[Curve, Curve]:
        """(r, a) at given times."""
        steps, values = self.when(_vector(steps)), _vector(eigenvalues)
        trains, negative = values > 0, self.first(values)[1]
        r, a = np.empty((2, len(steps), len(values)))
        with np.errstate(over="ignore", invalid="ignore"):
            for rows in _parts(len(steps), len(values)):
                t = steps[rows, None]
                log_r = self._log_residuals(steps[rows], values)
                r[rows], lost = np.exp(log_r), -np.expm1(log_r)
                if negative.any():
                    flips = negative & (np.where(np.isinf(t), 0.0, t % 2) == 1)
                    lost = np.where(flips, 1 + r[rows], lost)
                    np.negative(r[rows], out=r[rows], where=flips)
                # A null mode moves at constant speed and never saturates; at ∞ its part of the answer is left at 0.
                linear = np.where(np.isinf(t), 0.0, self.rate * t)
                a[rows] = np.where(trains, lost / np.where(trains, values, 1.0), linear)
        return r, a

    def square_sums(self, steps: ArrayLike, eigenvalues: ArrayLike, weights: ArrayLike) -> Curve:
        """Σ_i r_t(λ_i)² weights_i, from one exponential a term."""
        steps, values, weights = (
            self.when(_vector(steps)),
            _vector(eigenvalues),
            np.asarray(weights),
        )
        out = np.empty((len(steps), weights.shape[1]))
        with np.errstate(over="ignore", invalid="ignore"):
            for rows in _parts(len(steps), len(values)):
                out[rows] = np.exp(2 * self._log_residuals(steps[rows], values)) @ weights
        return out

    def _log_residuals(self, steps: np.ndarray, values: np.ndarray) -> Curve:
        """log|r_t(λ)|: (steps, modes)."""
        log_first = self.first(values)[0]
        out = steps[:, None] * log_first
        out[:, (values <= 0) | (log_first == 0)] = 0.0
        out[np.isinf(steps)[:, None] & self.settled(values)] = 0.0
        return out


class GradientFlow(Geometric):
    """Continuous time: r = e^{-sλτ}."""

    def first(self, eigenvalues: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(-sλ, never)."""
        return -self.rate * eigenvalues, np.zeros(eigenvalues.shape, bool)

    def growth(self, eigenvalue: float) -> float:
        """Always below 1: the flow is stable."""
        return float(np.exp(-self.rate * eigenvalue))


class GradientDescent(Geometric):
    """Full-batch gradient descent with a constant rate: r = (1 - sλ)^t."""

    def first(self, eigenvalues: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(log|1 - sλ|, sλ > 1)."""
        return spectral.log_factors(self.rate * eigenvalues)

    def settled(self, eigenvalues: np.ndarray) -> np.ndarray:
        """sλ = 2."""
        return spectral.at_limit(self.rate * eigenvalues)

    def when(self, steps: np.ndarray) -> np.ndarray:
        """Of a fractional number of steps the completed ones count."""
        return np.floor(steps)

    def growth(self, eigenvalue: float) -> float:
        """|1 - sλ|."""
        return abs(1 - self.rate * eigenvalue)


class _ByOptimizer(Response):
    """Completed steps of an optimiser that passed :func:`netket_qsntk.dynamics.optimizers.check_linear`."""

    @abc.abstractmethod
    def _finite(self, times: np.ndarray, eigenvalues: np.ndarray) -> Curve:
        """a after increasing whole numbers of steps: (times, modes)."""

    @abc.abstractmethod
    def _limit(self, eigenvalues: np.ndarray) -> np.ndarray:
        """a at ∞: (modes,)."""

    def curves(self, steps: ArrayLike, eigenvalues: ArrayLike) -> tuple[Curve, Curve]:
        """(r, a) after completed steps; ∞ by the optimiser's fixed point."""
        steps, values = _vector(steps), _vector(eigenvalues)
        finite = np.isfinite(steps)
        a = np.zeros((len(steps), len(values)))
        if finite.any():
            times, where = np.unique(steps[finite].astype(int), return_inverse=True)
            a[finite] = self._finite(times, values)[where]
        if not finite.all():
            a[~finite] = self._limit(values)
        with np.errstate(invalid="ignore"):
            return 1 - np.where(values > 0, values, 0.0) * a, a


class AffineResponse(_ByOptimizer):
    """An optimiser whose steps are all alike: t of them are the power t of one small matrix for each mode."""

    def __init__(self, step: AffineStep, n_train: int) -> None:
        self.step, self.scale = step, 2 / n_train

    def _finite(self, times: np.ndarray, eigenvalues: np.ndarray) -> Curve:
        one = self.step.homogeneous(eigenvalues, self.scale)
        late, early = np.divmod(times, _POWERS)
        state = np.zeros((len(eigenvalues), one.shape[-1]))
        state[:, -1] = 1
        states = [state]
        for _ in range(int(early.max(initial=0))):
            states.append(np.einsum("nij,nj->ni", one, states[-1]))
        many = np.linalg.matrix_power(one, _POWERS)
        row = np.zeros_like(state)
        row[:, 0] = 1
        out, at = np.empty((len(times), len(eigenvalues))), 0
        with np.errstate(over="ignore", invalid="ignore"):
            for block in np.unique(late):
                gap = int(block) - at
                if gap:
                    power = many if gap == 1 else np.linalg.matrix_power(many, gap)
                    row, at = np.einsum("ni,nij->nj", row, power), int(block)
                here = np.flatnonzero(late == block)
                chosen = np.stack([states[i] for i in early[here]])
                out[here] = -np.einsum("tni,ni->tn", chosen, row)
        return out

    def _limit(self, eigenvalues: np.ndarray) -> np.ndarray:
        return self.step.limit(eigenvalues, self.scale)

    def growth(self, eigenvalue: float) -> float:
        """Spectral radius of one step on this mode."""
        return self.step.radius(eigenvalue * self.scale)


class ScheduledResponse(_ByOptimizer):
    """An optimiser whose steps change with time, run on the modes.

    It remembers where it stopped and what it gave last: a curve that is asked for block by block runs each step once.
    """

    def __init__(self, optimizer: optax.GradientTransformation, n_train: int) -> None:
        self.scale = 2 / n_train
        self._optimizer = optimizer
        self._run: ScheduledRun | None = None
        self._known = np.zeros(0, int), np.zeros(0), np.zeros((0, 0))

    def _finite(self, times: np.ndarray, eigenvalues: np.ndarray) -> Curve:
        known_times, known_values, known = self._known
        if _contains(known_times, times) and _contains(known_values, eigenvalues):
            rows = np.searchsorted(known_times, times)
            return known[np.ix_(rows, np.searchsorted(known_values, eigenvalues))]
        run = self._run
        values, back = np.unique(eigenvalues, return_inverse=True)
        if run is None or run.time > times[0] or not np.array_equal(run.eigenvalues, values):
            run = self._run = ScheduledRun(self._optimizer, self.scale, values)
        self._known = times, values, run.advance(times)
        return self._known[2][:, back]

    def _limit(self, eigenvalues: np.ndarray) -> np.ndarray:
        raise InvalidTrainingError(
            "The limit of infinitely many steps is not defined for an optimiser with a schedule: "
            "use finite steps, or a constant learning rate."
        )

    def growth(self, eigenvalue: float) -> None:
        """None: steps are not alike."""
        return

    def __getstate__(self) -> dict[str, object]:
        # What is remembered is only speed.
        nothing = np.zeros(0, int), np.zeros(0), np.zeros((0, 0))
        return self.__dict__ | {"_run": None, "_known": nothing}


def optimizer_response(optimizer: optax.GradientTransformation, n_train: int) -> Response:
    """The response to a linear optimiser other than plain gradient descent."""
    step = AffineStep.of(optimizer)
    return ScheduledResponse(optimizer, n_train) if step is None else AffineResponse(step, n_train)


def _vector(x: ArrayLike) -> np.ndarray:
    return np.atleast_1d(np.asarray(x, float))


def _parts(n_steps: int, n_modes: int) -> list[slice]:
    size = max(1, _ENTRIES // max(1, n_modes))
    return [slice(i, i + size) for i in range(0, n_steps, size)]


def _contains(known: np.ndarray, asked: np.ndarray) -> bool:
    """Whether a sorted vector has all these numbers."""
    at = np.searchsorted(known, asked)
    return bool(np.all(at < len(known))) and bool(np.array_equal(known[at], asked))
