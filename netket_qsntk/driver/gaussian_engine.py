"""The engine of the infinite-width limit of the mean square error: a Gaussian process at every step."""

import netket as nk
import numpy as np
from jax import Array

from netket_qsntk.driver.closed_form import Curve, CurveReader
from netket_qsntk.dynamics import LinearDynamics, Losses
from netket_qsntk.dynamics.solution import Data
from netket_qsntk.vqs import InfiniteState


class GaussianEngine:
    """Reads :class:`~netket_qsntk.dynamics.LinearDynamics` step by step.

    Args:
        dynamics: The solved training.
        test: The rest of the basis.
    """

    def __init__(self, dynamics: LinearDynamics, test: Data) -> None:
        self.dynamics, self._test = dynamics, test
        self._reader = CurveReader(self._numbers)

    def start(self, state: InfiniteState, initial: Array | None) -> tuple[()]:
        """Nothing is remembered; the state is the ensemble of these dynamics at step 0."""
        state.set_training(self.dynamics, 0)
        return ()

    def evaluate(
        self, step: int, state: InfiniteState, *, full: bool
    ) -> tuple[dict[str, nk.stats.Stats], dict[str, Array]]:
        """The numbers of a step; no gradient."""
        return self._reader.at(step), {}

    def step(
        self, step: int, state: InfiniteState, memory: tuple[()], gradient: dict[str, Array]
    ) -> tuple[()]:
        """The state becomes the ensemble after one more step."""
        state.set_training(self.dynamics, step + 1)
        return ()

    def predict(self, steps: np.ndarray, memory: tuple[()]) -> Curve:
        """The numbers of any steps."""
        return self._numbers(steps)

    def _numbers(self, steps: np.ndarray) -> Curve:
        curves = self.dynamics.curves(steps, self._test)
        out: Curve = {}
        for name, losses in (("train", curves.train), ("test", curves.test)):
            if name == "train" or len(self._test.states):
                out |= _with_errors(f"loss/{name}", losses)
        out["fidelity"] = np.asarray(curves.fidelity)
        return out

    def __repr__(self) -> str:
        return f"closed form by {self.dynamics.solution!r}"


def _with_errors(key: str, losses: Losses) -> Curve:
    """The loss and its two parts, with errors where they are estimated."""
    numbers = {
        key: (losses.total, np.hypot(losses.L_mu_error, losses.L_gamma_error)),
        f"{key}/mean_part": (losses.L_mu, losses.L_mu_error),
        f"{key}/variance_part": (losses.L_gamma, losses.L_gamma_error),
    }
    return {
        name: (np.asarray(mean), np.asarray(error)) if np.ndim(error) else np.asarray(mean)
        for name, (mean, error) in numbers.items()
    }
