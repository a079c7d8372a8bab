"""A controller of diag_shift and learning rate by what steps did to the energy."""

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from netket.utils import struct
from netket.utils.types import PyTree

from netket_qsntk._compat.netket_drivers import (
    diag_shift_of,
    inject_rate,
    injected_rate,
    loss_gradient,
    loss_stats,
    memory_of,
    next_change,
    rewind,
    update_direction,
)
from netket_qsntk._compat.signatures import ConstructorSignature
from netket_qsntk.callbacks.energy_modes import gradient_of_sr
from netket_qsntk.errors import InvalidTrainingError
from netket_qsntk.text import summary


class AdaptiveShift(nk.callbacks.AbstractCallback):
    r"""Changes diag_shift (or the learning rate) by the realised over the predicted decrease of the energy.

    With g the gradient and Δθ the step that was made, ρ = (E_t - E_{t+1})/(-g·Δθ). On a quadratic energy
    ρ = 1 - ηµ/2 along the step: 1 for short steps, 0 at the edge of stability, negative beyond. As in the rule of
    Levenberg and Marquardt,

    - ρ < ``low``: λ is multiplied by ``factor`` (the rate divided by it);
    - ρ > ``high``: λ is divided by ``factor`` (the rate multiplied by it);
    - E_{t+1} > E_t by more than ``n_sigma`` standard errors of both, or not a number: the step is taken back
      (parameters, the optimiser's state and SR's memory of old updates are those before it), λ multiplied by
      ``factor``, and the step repeated from there.

    A ratio is used only where the predicted decrease is above the noise of the energies. Nothing of this happens
    unless the callback is given to a run; it changes ``driver.diag_shift`` for good.

    Logged under ``shift/``: ``diag_shift`` or ``learning_rate``, ``ratio`` (where there is one), ``rejected`` (steps
    taken back so far).

    Args:
        low: Ratio below which steps are too long.
        high: Ratio above which they are needlessly short.
        factor: Change of λ, above 1.
        bounds: Least and largest λ (rate).
        n_sigma: Standard errors by which the energy may rise.
        max_rejections: Steps taken back in a row before one is accepted all the same.
        what: ``"diag_shift"`` for :class:`netket.driver.VMC_SR`, or ``"learning_rate"`` for an optimiser made by
            ``optax.inject_hyperparams(optax.sgd)(learning_rate=…)``.

    Raises:
        InvalidTrainingError: Numbers out of range, or a driver without the quantity to change.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> H = nk.operator.Ising(hi, nk.graph.Chain(4), h=1.0)
        >>> vs = nk.vqs.FullSumState(hi, nk.models.RBM(), seed=0)
        >>> driver = nk.driver.VMC_SR(H, nk.optimizer.Sgd(0.05), variational_state=vs, diag_shift=1.0, use_ntk=False)
        Automatic SR on_the_fly choice: False
        >>> _ = driver.run(10, callback=qs.callbacks.AdaptiveShift(), show_progress=False)
        >>> driver.diag_shift < 1.0
        True
    """

    __signature__ = ConstructorSignature()

    low: float = struct.field(pytree_node=False, serialize=False)
    high: float = struct.field(pytree_node=False, serialize=False)
    factor: float = struct.field(pytree_node=False, serialize=False)
    bounds: tuple[float, float] = struct.field(pytree_node=False, serialize=False)
    n_sigma: float = struct.field(pytree_node=False, serialize=False)
    max_rejections: int = struct.field(pytree_node=False, serialize=False)
    what: str = struct.field(pytree_node=False, serialize=False)
    _before: PyTree = struct.field(pytree_node=False, serialize=False)
    _ratio: float | None = struct.field(pytree_node=False, serialize=False)
    _rejected: int = struct.field(pytree_node=False, serialize=False)
    _in_a_row: int = struct.field(pytree_node=False, serialize=False)

    def __init__(
        self,
        *,
        low: float = 0.25,
        high: float = 0.75,
        factor: float = 2.0,
        bounds: tuple[float, float] = (1e-6, 1e3),
        n_sigma: float = 3.0,
        max_rejections: int = 20,
        what: str = "diag_shift",
    ) -> None:
        super().__init__()
        if not (low < high and factor > 1 and 0 < bounds[0] < bounds[1]):
            raise InvalidTrainingError(
                f"low={low}, high={high}, factor={factor}, bounds={bounds}: expected low < high, a factor above 1 "
                "and two positive bounds, the smaller one first."
            )
        if what not in ("diag_shift", "learning_rate"):
            raise InvalidTrainingError(f"what={what!r}: expected 'diag_shift' or 'learning_rate'.")
        self.low, self.high, self.factor, self.bounds = low, high, factor, bounds
        self.n_sigma, self.max_rejections, self.what = n_sigma, max_rejections, what
        self._forget()

    def _forget(self) -> None:
        self._before = self._ratio = None
        self._rejected = self._in_a_row = 0

    @property
    def callback_order(self) -> int:
        """Before the loggers (10), so that they see what this adds."""
        return 5

    def on_run_start(self, step: int, driver: nk.driver.AbstractDriver) -> None:
        """Every run afresh."""
        self._forget()
        if self.what == "learning_rate":
            if injected_rate(driver) is None:
                raise InvalidTrainingError(
                    "AdaptiveShift(what='learning_rate') changes the rate of an optimiser that holds it as a number: "
                    "give the driver optax.inject_hyperparams(optax.sgd)(learning_rate=0.05)."
                )
        elif not isinstance(driver, nk.driver.VMC_SR) or callable(driver.diag_shift):
            raise InvalidTrainingError(
                f"AdaptiveShift changes the diag_shift of nk.driver.VMC_SR, a number; got {type(driver).__name__}. "
                "For other drivers use what='learning_rate'."
            )

    def on_compute_update_end(
        self, step: int, log_data: dict[str, object], driver: nk.driver.AbstractDriver
    ) -> bool:
        """Judge the step before by the energy it led to; take it back if that rose."""
        stats = loss_stats(driver)
        before, self._before = self._before, None
        self._ratio = None
        if before is None or stats is None:
            return False
        energy, error, predicted, parameters, memory = before
        now, noise = float(np.real(stats.mean)), float(np.hypot(error, _error(stats)))
        if not np.isfinite(now) or energy - now < -self.n_sigma * noise - 1e-12 * abs(energy):
            if self._in_a_row < self.max_rejections:
                self._in_a_row += 1
                self._rejected += 1
                rewind(driver, parameters, *memory)
                self._change(driver, too_long=True)
                return True
            self._in_a_row = 0
            return False
        self._in_a_row = 0
        if predicted > max(noise, 1e-12 * abs(energy)):
            self._ratio = (energy - now) / predicted
            if not self.low <= self._ratio <= self.high:
                # This step's direction has been computed: the change is for the next.
                self._change(driver, too_long=self._ratio < self.low)
        return False

    def before_parameter_update(
        self, step: int, log_data: dict[str, object], driver: nk.driver.AbstractDriver
    ) -> None:
        """Remember where the step starts from, and what first order promises."""
        log_data[f"shift/{self.what}"] = self._value(driver)
        log_data["shift/rejected"] = self._rejected
        if self._ratio is not None:
            log_data["shift/ratio"] = self._ratio
        stats, update = loss_stats(driver), update_direction(driver)
        gradient = gradient_of_sr(driver, update)
        if gradient is None:
            gradient = loss_gradient(driver)
        change = next_change(driver, update)
        if stats is None or gradient is None or change is None:
            return
        both = zip(jax.tree.leaves(gradient), jax.tree.leaves(change), strict=True)
        predicted = -sum(float(jnp.sum(jnp.conj(g) * c).real) for g, c in both)
        parameters = jax.tree.map(jnp.array, driver.state.parameters)
        memory = jax.tree.map(jnp.array, memory_of(driver))
        energy = float(np.real(stats.mean))
        self._before = energy, _error(stats), predicted, parameters, memory

    def _value(self, driver: nk.driver.AbstractDriver) -> float:
        value = diag_shift_of(driver) if self.what == "diag_shift" else injected_rate(driver)
        return float("nan") if value is None else value

    def _change(self, driver: nk.driver.AbstractDriver, *, too_long: bool) -> None:
        up = too_long == (self.what == "diag_shift")
        value = self._value(driver) * (self.factor if up else 1 / self.factor)
        value = float(np.clip(value, *self.bounds))
        if self.what == "diag_shift":
            driver.diag_shift = value
        else:
            inject_rate(driver, value)

    def __repr__(self) -> str:
        return summary(self, ("what", "low", "high", "factor", "bounds", "n_sigma"))


def _error(stats: nk.stats.Stats) -> float:
    error = float(np.real(stats.error_of_mean))
    return error if np.isfinite(error) else 0.0
