"""A Gaussian process over the configurations of a Hilbert space, and how a wave function is made of it."""

import numbers
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import netket as nk
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from netket.hilbert import DiscreteHilbert, HomogeneousHilbert

from netket_qsntk.errors import EnsembleError, SystemTooLargeError
from netket_qsntk.kernels import InfiniteWidthKernel, infinite_width
from netket_qsntk.operators.decomposition import Eigendecomposition
from netket_qsntk.operators.structure import Structure, Unstructured
from netket_qsntk.process.draws import draw, initial_modes
from netket_qsntk.readout import Readout
from netket_qsntk.targets import check_summable

_PSI = Readout()
# A covariance of 2¹⁵ states takes 8 GiB.
_LARGEST_STORED = 2**15
# Configurations whose norms are compared.
_PROBES = 64


@runtime_checkable
class HasReadout(Protocol):
    """A model that says what its functions are."""

    readout: Readout


@runtime_checkable
class HasAmplitudes(Protocol):
    """A model with a method for ψ itself."""

    psi: Callable[..., Any]


def readout_of(model: object) -> Readout:
    """What the functions of a model are: its own word, ψ for a kernel, and log ψ for any other NetKet model.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> readout_of(qs.models.CosNet(10)).output, readout_of(nk.models.RBM()).output
        ('psi', 'log_psi')
    """
    if isinstance(model, HasReadout):
        return model.readout
    if isinstance(model, InfiniteWidthKernel | HasAmplitudes):
        return Readout()
    return Readout("log_psi")


def check_count(number: Any, name: str, *, least: int = 1) -> int:
    """``number`` as an int, or :class:`EnsembleError` unless it is a whole number of at least ``least``."""
    if not isinstance(number, numbers.Integral) or isinstance(number, bool) or number < least:
        kind = "a positive integer" if least == 1 else f"an integer >= {least}"
        raise EnsembleError(f"{name}={number!r}: expected {kind}.")
    return int(number)


@dataclass(frozen=True, eq=False)
class GaussianProcess:
    """Real functions f₁ and f₂ (or f₁ alone), independent and Gaussian with the same covariance K.

    :class:`~netket_qsntk.vqs.InfiniteState` reads it as a NetKet state, :func:`netket_qsntk.entanglement.ensemble` as
    moments of reduced density matrices.

    Args:
        kernel: The kernel whose NNGP is K.
        hilbert: NetKet's space of the configurations.
        readout: What ψ is of f = f₁ + i f₂.

    Raises:
        EnsembleError: A kernel of functions whose mean differs between configurations.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> model = qs.models.WideMLP(widths=(8,), output="log_psi", parts="real")
        >>> process = GaussianProcess.of(model, nk.hilbert.Spin(0.5, 4))
        >>> process.readout.output, process.sample(3, seed=0).shape
        ('log_psi', (3, 16))
    """

    kernel: InfiniteWidthKernel
    hilbert: DiscreteHilbert
    readout: Readout = _PSI

    def __post_init__(self) -> None:
        """Refuse processes that are not centred.

        Raises:
            EnsembleError: Functions with a mean that differs between configurations.
        """
        if not self.kernel.mean_follows_norm:
            return
        some = self.hilbert.random_state(jax.random.key(0), _PROBES)
        norms = np.sum(np.asarray(self.kernel.coordinates(some)) ** 2, axis=-1)
        if not np.allclose(norms, norms[0]):
            raise EnsembleError(
                f"log ψ of {self.kernel.description} has a mean that follows |x|², which is not the same for all "
                f"configurations of {self.hilbert}, and only its covariance is known. Draw networks instead: "
                "qs.vqs.EnsembleState(hilbert, model, n_members, seed)."
            )

    @classmethod
    def of(
        cls, model: object, hilbert: DiscreteHilbert, *, trainable: Any = "all"
    ) -> "GaussianProcess":
        """The limit of a model (or the process of a kernel).

        Raises:
            UnknownKernelError: The model has no known infinite-width kernel.
        """
        return cls(infinite_width(model, trainable), hilbert, readout_of(model))

    @property
    def n_parts(self) -> int:
        """2 for complex f, 1 for real f."""
        return self.kernel.n_parts

    @cached_property
    def structure(self) -> Structure:
        """What K is on the whole space: a Hamming table, a product over sites, or neither."""
        if self.hilbert.constrained or not isinstance(self.hilbert, HomogeneousHilbert):
            return Unstructured(f"{self.hilbert} is no product of equal sites")
        return self.kernel.structure(self.hilbert, which="nngp")

    def covariance(self, x: ArrayLike, y: ArrayLike | None = None) -> Array:
        """E[f(x) f*(y)], K for each part: (n, m) real."""
        return self.n_parts * self.kernel.nngp(x, y)

    @cached_property
    def modes(self) -> Eigendecomposition:
        """Modes of K on the whole basis (or on the hypercube around a sector)."""
        check_summable(self.hilbert, task="Drawing from a Gaussian process")
        operator = self.kernel.operator(self.hilbert.all_states(), which="nngp")
        return initial_modes(operator, largest=_LARGEST_STORED)

    def sample(self, n_members: int, seed: int | Array | None = None) -> Array:
        """Functions f drawn on the whole basis, exactly: (n_members, n_states), complex for two parts.

        Where the kernel has structure (spins, sectors of fixed magnetisation included) a draw costs one transform and
        up to 2²⁶ states will do; otherwise there is one eigendecomposition first.

        Args:
            n_members: Number of independent draws.
            seed: Seed or key of JAX's generator; None draws one.

        Raises:
            EnsembleError: ``n_members`` is not a positive integer.
            SystemTooLargeError: A basis that cannot be summed over, or too large for a kernel without structure.
        """
        if not self.kernel.is_real:
            return self._sample_mixed(check_count(n_members, "n_members"), seed)
        shape = (self.n_parts, check_count(n_members, "n_members"), len(self.modes.eigenvalues))
        parts = draw(self.modes, jax.random.normal(nk.jax.PRNGKey(seed), shape))
        return parts[0] if self.n_parts == 1 else jax.lax.complex(parts[0], parts[1])

    def _sample_mixed(self, n_members: int, seed: int | Array | None) -> Array:
        """Draws where K is complex: circular Gaussian functions with covariance E f f† = n_parts K and E f fᵀ = 0."""
        if self.hilbert.n_states > _LARGEST_STORED:
            raise SystemTooLargeError(
                f"Functions of a complex character are drawn on up to {_LARGEST_STORED} configurations, and "
                f"{self.hilbert} has {self.hilbert.n_states}: use a real character."
            )
        values, vectors = np.linalg.eigh(np.asarray(self.covariance(self.hilbert.all_states())))
        root = vectors * np.sqrt(np.maximum(values, 0.0))
        shape = (2, n_members, len(values))
        one, two = jax.random.normal(nk.jax.PRNGKey(seed), shape)
        return jax.lax.complex(one, two) @ root.T / 2**0.5

    def amplitudes(self, f: Array, *, shifted: bool = False) -> Array:
        """ψ of functions on the whole basis, (members, n_states); ``shifted``: e^f divided by its largest modulus."""
        readout = self.readout
        if not readout.is_log and readout.reference is None:
            return f
        x = self.hilbert.all_states()
        if not readout.is_log:
            return readout.psi(f, x)
        log_psi = readout.log_psi(f, x)
        if shifted:
            log_psi = log_psi - jnp.max(log_psi.real, axis=-1, keepdims=True)
        return jnp.exp(log_psi)

    def _reference(self) -> Array:
        reference = self.readout.reference
        return (
            jnp.zeros(())
            if reference is None
            else jnp.asarray(reference(self.hilbert.all_states()))
        )

    def mean(self) -> Array:
        """E ψ on the whole basis, (n_states,) complex: zero, or e^{r + E f²/2} for networks of log ψ."""
        exponent = jnp.zeros(self.hilbert.n_states, complex)
        if not self.readout.is_log:
            return exponent
        if self.n_parts == 1:
            exponent += self.kernel.nngp_diagonal(self.hilbert.all_states()) / 2
        return jnp.exp(exponent + self._reference())

    def amplitude_covariance(self, part: Array) -> Array:
        """E[(ψ - E ψ)(ψ - E ψ)†] on the whole basis, given the covariance (n_states, n_states) of each part of f."""
        gamma = self.n_parts * part
        reference = self._reference()
        if self.readout.is_log:
            mean = self.mean()
            mean = mean if jnp.iscomplexobj(reference) else mean.real
            return mean[:, None] * jnp.expm1(gamma) * mean.conj()
        if self.readout.reference is None:
            return gamma
        factor = jnp.exp(reference)
        return factor[:, None] * gamma * factor.conj()

    def __repr__(self) -> str:
        return f"GaussianProcess({self.hilbert}, {self.kernel!r}, {self.readout!r})"
