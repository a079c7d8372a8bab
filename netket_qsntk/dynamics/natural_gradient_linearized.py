"""SR and gradient descent of a network's own linearisation: its tangent kernel at its present parameters, frozen."""

from collections.abc import Iterable, Iterator

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk.dynamics.natural_gradient import NaturalGradientFlow
from netket_qsntk.dynamics.natural_gradient_settings import Schedule
from netket_qsntk.dynamics.natural_gradient_step import Place, Step
from netket_qsntk.kernels import EmpiricalKernel
from netket_qsntk.losses import Loss
from netket_qsntk.readout import Readout
from netket_qsntk.wavefunction import PureWaveFunction


def optimized(
    flow: NaturalGradientFlow, places: Place, optimizer: optax.GradientTransformation
) -> Iterator[tuple[Step, Place]]:
    """Steps of a linear optimiser on α, f = f₀ + Θα, without end: what is known at each place, and the place.

    Args:
        flow: The directions.
        places: Where to start.
        optimizer: A linear optax transformation; it sees directions and displacements as ``{"logstate": α}``.
    """
    displacement = jnp.zeros_like(places.f)
    memory, t = optimizer.init({"logstate": displacement}), 0
    while True:
        step = flow.direction(places, t)
        places = step.place
        yield step, places
        direction = {"logstate": places.alpha}
        update, memory = optimizer.update(direction, memory, {"logstate": displacement})
        places = places._replace(f=places.f + flow.apply(update["logstate"]))
        displacement, t = displacement + update["logstate"], t + 1


class LinearizedNaturalGradient:
    """A network whose tangent kernel stays what it is, trained by gradient descent or SR on the whole basis.

    Args:
        network: The network and its parameters. Where it computes log ψ that is linearised, and otherwise ψ.
        loss: An energy, an infidelity or tomography.
        optimizer: A linear optax optimiser.
        diag_shift: λ of SR, None for gradient descent.
        momentum: μ of SPRING.
    """

    def __init__(
        self,
        network: PureWaveFunction,
        loss: Loss,
        *,
        optimizer: optax.GradientTransformation,
        diag_shift: Schedule | None = None,
        momentum: Schedule | None = None,
    ) -> None:
        self.optimizer = optimizer
        hilbert = loss.hilbert or loss.target.hilbert
        x = jnp.asarray(hilbert.all_states())
        function = network.log_psi if network.is_log else network.psi
        f = function(network.parameters, x)
        measured = EmpiricalKernel(PureWaveFunction(function, network.parameters)).qsntk(x)
        theta = measured.omega_ri if jnp.iscomplexobj(f) else measured.theta_11
        readout = Readout("log_psi" if network.is_log else "psi")
        self.flow = NaturalGradientFlow(
            theta,
            loss,
            learning_rate=1.0,
            diag_shift=diag_shift,
            momentum=momentum,
            readout=readout,
        )
        self._start = readout.log_psi(f, x)

    def losses(self, steps: ArrayLike) -> np.ndarray:
        """L after whole numbers of steps, in any order: (steps,)."""
        values = [self.flow.evaluate(f)[0] for f in self._functions(np.asarray(steps).tolist())]
        return np.asarray(values, float)

    def log_psi(self, step: int) -> Array:
        """Log ψ on the whole basis after so many steps: (n_states,)."""
        return self.flow.log_psi(self._functions([step])[0])

    def _functions(self, steps: Iterable[float]) -> list[Array]:
        wanted = [int(t) for t in steps]
        found: dict[int, Array] = {}
        if wanted:
            run = optimized(self.flow, self.flow.start(self._start), self.optimizer)
            for t, (_, place) in zip(range(max(wanted) + 1), run, strict=False):
                if t in wanted:
                    found[t] = place.f
        return [found[t] for t in wanted]
