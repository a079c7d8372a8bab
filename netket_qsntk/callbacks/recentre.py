"""New centres for an infinitely wide network, while a NetKet driver trains it."""

import jax
import netket as nk
import numpy as np
from jax.experimental import multihost_utils
from netket.utils import struct

from netket_qsntk._compat.signatures import ConstructorSignature
from netket_qsntk.errors import InvalidTrainingError
from netket_qsntk.models import InfiniteWidth
from netket_qsntk.models.refit import Refit, refit
from netket_qsntk.text import summary


class Recentre(nk.callbacks.AbstractCallback):
    r"""Replaces the centres of :class:`netket_qsntk.models.InfiniteWidth` by configurations of the present samples.

    The function stays as it is, as far as the new centres can hold it (:mod:`netket_qsntk.models.refit`): the old
    centres that matter most are kept, new ones are the samples that the kernel explains least, θ is fitted again by
    least squares. It logs, under ``recentre/``:

    - ``misfit``: the standard deviation of the change of log ψ on samples left out of the fit, whose square is about
      the infidelity that the change causes;
    - ``n_centres`` and ``n_kept``, the centres and how many of them are old ones;
    - ``accepted``: 0 where the misfit stayed above ``max_misfit`` and the old centres were left in place.

    θ keeps its meaning only as a function, so optimisers with a memory (momentum, adam) and ``VMC_SR(momentum=…)``
    carry on with directions of the old centres for some steps: use plain SGD.

    Args:
        every: Steps between changes.
        n_centres: Number of centres; None keeps it.
        keep: Fraction of the centres that old ones may take, from 0 to 1.
        max_misfit: The largest misfit accepted; None accepts any finite one.
        max_centres: Where the misfit is larger, the number of centres grows by halves up to this many; None does not
            let it grow.
        seed: Of the choice of samples left out.

    Raises:
        InvalidTrainingError: An option out of range, or a state whose model is no InfiniteWidth.

    Example:
        >>> import netket as nk, netket_qsntk as qs, optax
        >>> hi, ring = nk.hilbert.Spin(0.5, 10), nk.graph.Chain(10)
        >>> H = nk.operator.IsingJax(hi, ring, h=1.0)
        >>> net = qs.models.WideMLP(widths=(1,), activation="erf", sigma_b=0.3, parts="real")
        >>> net = qs.models.Symmetrized(net, ring.space_group(), spin_flip=1)
        >>> wide = qs.models.InfiniteWidth(net, qs.models.choose_centres(net, hi.all_states(), 20))
        >>> vs = nk.vqs.MCState(nk.sampler.MetropolisLocal(hi), wide, n_samples=256, seed=0, sampler_seed=0)
        >>> driver = nk.driver.VMC(H, optax.sgd(0.05), variational_state=vs)
        >>> log = nk.logging.RuntimeLog()
        >>> _ = driver.run(11, out=log, callback=qs.callbacks.Recentre(every=5), show_progress=False)
        >>> log.data["recentre/misfit"].iters
        array([ 5, 10])
    """

    __signature__ = ConstructorSignature()

    every: int = struct.field(pytree_node=False, serialize=False)
    n_centres: int | None = struct.field(pytree_node=False, serialize=False)
    keep: float = struct.field(pytree_node=False, serialize=False)
    max_misfit: float | None = struct.field(pytree_node=False, serialize=False)
    max_centres: int | None = struct.field(pytree_node=False, serialize=False)
    seed: int = struct.field(pytree_node=False, serialize=False)
    _samples: np.ndarray | None = struct.field(pytree_node=False, serialize=False)

    def __init__(
        self,
        every: int,
        n_centres: int | None = None,
        *,
        keep: float = 0.5,
        max_misfit: float | None = None,
        max_centres: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value in (
            ("every", every),
            ("n_centres", n_centres),
            ("max_centres", max_centres),
        ):
            if value is not None and not (isinstance(value, int | np.integer) and value >= 1):
                raise InvalidTrainingError(f"Recentre({name}={value!r}): expected an integer >= 1.")
        if not 0 <= keep <= 1:
            raise InvalidTrainingError(f"Recentre(keep={keep!r}): expected a fraction from 0 to 1.")
        if max_misfit is not None and not max_misfit > 0:
            raise InvalidTrainingError(
                f"Recentre(max_misfit={max_misfit!r}): expected a number > 0."
            )
        self.every, self.n_centres, self.keep = every, n_centres, keep
        self.max_misfit, self.max_centres, self.seed = max_misfit, max_centres, seed
        self._samples = None

    def on_run_start(self, step: int, driver: nk.driver.AbstractDriver) -> None:
        """See that there are centres to replace."""
        if not isinstance(driver.state.model, InfiniteWidth):
            raise InvalidTrainingError(
                f"Recentre replaces the centres of qs.models.InfiniteWidth, but the state's model is a "
                f"{type(driver.state.model).__name__}. Expected qs.models.InfiniteWidth(network, centres)."
            )
        self._samples = None

    def before_parameter_update(
        self, step: int, log_data: dict[str, object], driver: nk.driver.AbstractDriver
    ) -> None:
        """Remember the samples of the last step before a change: they come from nearly the present state."""
        if (step + 1) % self.every == 0:
            self._samples = samples_of(driver.state, self.seed + step)

    def on_step_start(
        self, step: int, log_data: dict[str, object], driver: nk.driver.AbstractDriver
    ) -> None:
        """Change the centres, every so many steps."""
        if self._samples is None:
            return
        samples, self._samples = self._samples, None
        made = self.changed(driver.state, samples, self.seed + step)
        # What is no number is not taken: the old centres are no worse.
        bound = np.inf if self.max_misfit is None else self.max_misfit
        accepted = np.isfinite(made.misfit) and made.misfit <= bound
        if accepted:
            driver.state.variables = made.variables
        log_data["recentre/misfit"] = made.misfit
        log_data["recentre/n_centres"] = made.n_centres
        log_data["recentre/n_kept"] = made.n_kept
        log_data["recentre/accepted"] = int(accepted)

    def changed(self, state: nk.vqs.VariationalState, samples: np.ndarray, seed: int) -> Refit:
        """The state's function on new centres, more of them where the misfit asks for that."""
        n = self.n_centres or state.variables["centres"]["root"].shape[0]
        while True:
            made = refit(state.model, state.variables, samples, n, keep=self.keep, seed=seed)
            too_large = self.max_misfit is not None and made.misfit > self.max_misfit
            if not too_large or self.max_centres is None or n >= self.max_centres:
                return made
            n = min(self.max_centres, n + (n + 1) // 2)

    def __repr__(self) -> str:
        return summary(self, ("every", "n_centres", "keep", "max_misfit", "max_centres"))


def samples_of(state: nk.vqs.VariationalState, seed: int) -> np.ndarray:
    """Present samples of a state, or draws from |ψ|² where it sums over the basis: (n, sites)."""
    if isinstance(state, nk.vqs.MCState):
        samples = state.samples
        if jax.process_count() > 1:
            samples = multihost_utils.process_allgather(samples, tiled=True)
        return np.asarray(samples).reshape(-1, state.hilbert.size)
    weight = np.abs(np.asarray(state.to_array())) ** 2
    chosen = np.random.default_rng(seed).choice(len(weight), 1024, p=weight / weight.sum())
    return np.asarray(state.hilbert.all_states())[chosen]
