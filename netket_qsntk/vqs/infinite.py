"""The infinite-width limit of an ensemble: a Gaussian process over basis states, as a NetKet state."""

import copy
from collections.abc import Iterator
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from flax import serialization
from jax import Array
from jax.typing import ArrayLike

from netket_qsntk.dynamics import LinearDynamics
from netket_qsntk.errors import (
    EnsembleError,
    ObservableError,
)
from netket_qsntk.kernels import InfiniteWidthKernel
from netket_qsntk.process import GaussianProcess, check_count
from netket_qsntk.targets import check_summable
from netket_qsntk.vqs.assets import to_json
from netket_qsntk.vqs.trained_draws import around, root_of, trained_by_products

# 2¹⁵ states are a covariance of 8 GiB.
_MAX_STATES = 2**15
# Amplitudes of the wave functions drawn at once: 64 MB.
_BLOCK = 2**22


class Training(Protocol):
    """What moves the ensemble: linear dynamics, or what was saved of them."""

    def moments(self, step: float, x: ArrayLike) -> tuple[Array, Array]:
        """Mean of ψ on x, and covariance of one part."""

    def mean(self, steps: np.ndarray, x: ArrayLike) -> Array:
        """Mean of ψ on x at some steps: (steps, n)."""


class InfiniteState(nk.vqs.VariationalState):
    r"""Infinitely wide networks: f = f₁ + if₂ with independent Gaussian parts of one covariance K, and ψ made of f.

    Networks of ψ (``output="psi"``): at initialisation the mean is zero and the covariance is 2K (K for real ψ), K
    the NNGP kernel on the whole basis; training by :class:`netket_qsntk.driver.InfiniteWidthDriver` moves both.
    Networks of log ψ, e^{r + f}, are log-normal: their first two moments are exact, expectation values are averages
    over ``n_draws`` drawn and normalised wave functions, with errors. There are no parameters.

    Args:
        hilbert: A discrete NetKet Hilbert space; of at most 2¹⁵ states for covariances and expectations, and for
            samples of what is trained with a stored kernel.
        model: A model with a known infinite-width kernel; its width does not matter.
        trainable: Which parameters training moves, see :func:`netket_qsntk.kernels.infinite_width`.
        n_draws: Wave functions that an expectation value without a closed form averages.
        seed: Seed of those draws: the same state gives the same number. None draws one.
        chunk_size: How many of them are held at once; None takes as many as fit 64 MB. Another size draws others.

    Raises:
        SystemTooLargeError: The covariance asked for with more than 2¹⁵ basis states.
        UnknownKernelError: The model has no known infinite-width kernel.
        EnsembleError: ``n_draws`` or ``chunk_size`` is no whole number, or too small.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi = nk.hilbert.Spin(0.5, 4)
        >>> vs = qs.vqs.InfiniteState(hi, qs.models.CosNet(1, sigma_a=1.0, sigma_w=2.0))
        >>> vs.covariance.shape, vs.sample(3, seed=0).shape
        ((16, 16), (3, 16))
        >>> round(vs.expect(nk.operator.spin.sigmaz(hi, 0)).mean, 12)
        0.0
        >>> log_psi = qs.vqs.InfiniteState(hi, qs.models.CosNet(1, output="log_psi"))
        >>> log_psi.expect(nk.operator.spin.sigmax(hi, 0)).error_of_mean > 0
        True
    """

    def __init__(
        self,
        hilbert: nk.hilbert.DiscreteHilbert,
        model: Any,
        *,
        trainable: Any = "all",
        n_draws: int = 1024,
        seed: Any = 0,
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(hilbert)
        self.mutable = False
        nothing: dict[str, Array] = {}
        self.parameters = nothing
        self._model = model
        self.process = GaussianProcess.of(model, hilbert, trainable=trainable)
        self.n_draws = check_count(n_draws, "n_draws", least=2)
        # None draws one, once: the same state gives the same number.
        self.seed = int(np.random.default_rng().integers(2**31)) if seed is None else seed
        self.chunk_size = chunk_size
        self._training: tuple[Training, float] | None = None
        self._cache: dict[str, Array] = {}

    @property
    def kernel(self) -> InfiniteWidthKernel:
        """The kernels of f."""
        return self.process.kernel

    @property
    def model(self) -> Any:
        """The model whose limit this is."""
        return self._model

    @property
    def n_members(self) -> None:
        """None: an ensemble without members to count."""
        return None

    @property
    def chunk_size(self) -> int | None:
        """Wave functions drawn at once for an expectation value."""
        return self._chunk_size

    @chunk_size.setter
    def chunk_size(self, size: int | None) -> None:
        self._chunk_size = None if size is None else check_count(size, "chunk_size")

    @property
    def steps(self) -> float:
        """How many steps of training it has seen."""
        return 0.0 if self._training is None else self._training[1]

    def set_training(self, dynamics: Training, steps: float) -> None:
        """Make this the ensemble after so many steps of these dynamics (∞ allowed).

        Raises:
            EnsembleError: f is not ψ: linear dynamics are those of networks of ψ.
        """
        readout = self.process.readout
        if readout.is_log or readout.reference is not None:
            raise EnsembleError(
                f"{readout!r}: closed-form training is linear in ψ = f. Networks of log ψ are trained at infinite "
                "width by qs.driver.InfiniteWidthVMC, InfiniteWidthVMC_SR or InfiniteWidthDriver, from draws."
            )
        self._training = dynamics, float(steps)
        # A new one: copies of this state may still have the old.
        self._cache = {}

    def _moments(self) -> dict[str, Array]:
        """Covariance of each part of f; its mean where there is one."""
        if "part" not in self._cache:
            check_summable(
                self.hilbert, task="The covariance of an InfiniteState", max_states=_MAX_STATES
            )
            x = jnp.asarray(self.hilbert.all_states())
            if self._training is None:
                self._cache["part"] = self.kernel.nngp(x)
            else:
                dynamics, steps = self._training
                self._cache["mean"], self._cache["part"] = dynamics.moments(steps, x)
        return self._cache

    @property
    def mean(self) -> Array:
        """E[ψ] on the whole basis: (n_states,) complex.

        For networks of ψ it needs no covariance, and so no more than 2²⁶ states.
        """
        check_summable(self.hilbert, task="The mean of an InfiniteState")
        if self._training is not None and "mean" not in self._cache:
            dynamics, steps = self._training
            self._cache["mean"] = dynamics.mean(np.asarray([steps]), self.hilbert.all_states())[0]
        return self._cache["mean"] if "mean" in self._cache else self.process.mean()

    @property
    def covariance(self) -> Array:
        """E[(ψ - E ψ)(ψ - E ψ)†]: (n_states, n_states); real without a complex reference.

        For networks of ψ the parts' kernels added, for networks of log ψ E[ψ] E[ψ*] (e^{E f f*} - 1).
        """
        return self.process.amplitude_covariance(self._moments()["part"])

    def to_array(self, normalize: bool = True) -> Array:
        """The mean wave function E[ψ]: (n_states,), of norm 1 if ``normalize``.

        Raises:
            EnsembleError: The mean is zero, as before training: there is nothing to normalise.
        """
        norm = jnp.linalg.norm(self.mean)
        if not normalize:
            return self.mean
        if norm == 0:
            raise EnsembleError(
                "The mean wave function of an untrained infinite ensemble is zero and cannot be normalised. Use "
                "sample(n_members, seed) for wave functions drawn from it, or to_array(normalize=False)."
            )
        return self.mean / norm

    def sample(self, n_members: int, seed: Any = None, *, normalize: bool = False) -> Array:
        """Wave functions drawn from the ensemble: (n_members, n_states), complex (real for real ψ).

        Exact, from normal numbers in the eigenbasis of the covariance. Where the kernel has structure (spins, sectors
        of fixed magnetisation included) a draw costs one product and up to 2²⁶ states will do; trained by
        products, each draw is then trained by products. Otherwise there is one eigendecomposition first, of
        10 n_states³ operations.

        Args:
            n_members: Number of draws.
            seed: Seed or key of JAX's generator; None draws one.
            normalize: Give each norm 1 (of networks of log ψ from shifted logarithms, at any scale of them).

        Raises:
            EnsembleError: ``n_members`` is not a positive integer.
            SystemTooLargeError: Too many basis states.
        """
        n_members = check_count(n_members, "n_members")
        if self._training is None:
            psi = self.process.amplitudes(self.process.sample(n_members, seed), shifted=normalize)
        else:
            check_summable(self.hilbert, task="Drawing from an InfiniteState")
            psi = self._trained_draws(n_members, nk.jax.PRNGKey(seed))
        return psi / jnp.linalg.norm(psi, axis=1, keepdims=True) if normalize else psi

    def _trained_draws(self, n_members: int, key: Array) -> Array:
        assert self._training is not None  # noqa: S101  for the type checker
        dynamics, steps = self._training
        if isinstance(dynamics, LinearDynamics) and not dynamics.solution.stores_matrices:
            initial = self.process.sample(n_members, key)
            return trained_by_products(dynamics, steps, initial, self.hilbert)
        moments = self._moments()
        if "root" not in moments:
            moments["root"] = root_of(moments["part"])
        return around(self.mean, moments["root"], n_members, key, n_parts=self.kernel.n_parts)

    def draws(self) -> Iterator[Array]:
        """The ``n_draws`` normalised wave functions of expectation values, in blocks (members, n_states)."""
        check_summable(self.hilbert, task="Expectation values of an InfiniteState")
        block = self.chunk_size or max(1, _BLOCK // self.hilbert.n_states)
        key = nk.jax.PRNGKey(self.seed)
        for number, start in enumerate(range(0, self.n_draws, block)):
            yield self.sample(
                min(block, self.n_draws - start), jax.random.fold_in(key, number), normalize=True
            )

    def _refuse(self, *_: Any, **__: Any) -> Any:
        """Refused: infinitely wide networks have no parameters to differentiate by."""
        raise ObservableError(
            "An InfiniteState has no gradients, forces or geometric tensor: infinitely wide networks have no "
            "parameters. Train them in function space (qs.driver.InfiniteWidthDriver, InfiniteWidthVMC_SR), or use "
            "nk.vqs.FullSumState(hilbert, model) or qs.vqs.EnsembleState(hilbert, model, n_members)."
        )

    expect_and_grad = expect_and_forces = grad = quantum_geometric_tensor = _refuse

    def reset(self) -> None:
        """Nothing to resample."""

    def __to_json__(self) -> dict[str, object]:
        """What nqxpack writes to a file: of a trained ensemble its moments, n_states² numbers."""
        moments = {name: self._moments()[name] for name in ("mean", "part")} if self.steps else None
        return to_json(
            "load_infinite",
            moments,
            hilbert=self.hilbert,
            model=self.model,
            trainable=self.kernel.trainable,
            n_draws=self.n_draws,
            seed=self.seed,
            chunk_size=self.chunk_size,
            steps=self.steps,
        )

    def __repr__(self) -> str:
        output = "log ψ, " if self.process.readout.is_log else ""
        return f"InfiniteState({self.hilbert}, {output}steps={self.steps:g}, {self.kernel.description})"


# Hilbert space, model and dynamics come with the state that a checkpoint is restored into.
def _to_state_dict(state: InfiniteState) -> dict[str, Any]:
    return {"steps": state.steps, "chunk_size": state.chunk_size}


def _from_state_dict(state: InfiniteState, saved: dict[str, Any]) -> InfiniteState:
    new = copy.copy(state)
    new._cache = {}
    new.chunk_size = saved["chunk_size"]
    if state._training is not None:
        new._training = state._training[0], float(saved["steps"])
    elif saved["steps"]:
        raise EnsembleError(
            f"The saved ensemble had {saved['steps']:g} steps of training, this InfiniteState knows of none. "
            "Restore into the state of an InfiniteWidthDriver, or into the driver itself."
        )
    return new


serialization.register_serialization_state(InfiniteState, _to_state_dict, _from_state_dict)
