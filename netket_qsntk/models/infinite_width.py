"""An infinitely wide network as a flax module that NetKet trains on systems of any size."""

from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array, lax
from jax.typing import ArrayLike, DTypeLike
from netket.utils import HashableArray

from netket_qsntk.errors import InvalidModelError
from netket_qsntk.kernels.base import InfiniteWidthKernel
from netket_qsntk.kernels.registry import infinite_width
from netket_qsntk.models import centres as centre
from netket_qsntk.readout import Readout, Reference, as_reference

_NAMES = (
    "configurations", "middle", "orbits", "table", "weights", "root", "powers", "first", "shares", "columns",
)  # fmt: skip


class InfiniteWidth(nn.Module):
    r"""An infinitely wide network of log ψ, linear in its parameters θ.

    .. math:: \log\psi(x) = r(x) + f_0(x) + \varphi(x)\cdot\theta,\qquad \varphi(x) = \Theta(x, Y)\,\Theta_{YY}^{-1/2}

    for M configurations Y, the centres. The tangent kernel φ(x)·φ(y) is the network's infinite-width NTK on the
    centres and its Nyström approximation elsewhere, so that NetKet's own samplers and drivers (``VMC``, ``VMC_SR``,
    TDVP, ``Infidelity_SR``) train the infinite network. With the whole basis as centres this is exactly the flow of
    its functions (:class:`netket_qsntk.dynamics.NaturalGradientFlow`). θ is zero at the start, one vector each for
    log-amplitude and phase.

    The parameters are ``log_amplitude`` and ``phase`` (M,); centres, Θ_YY^{-1/2} and the kernel's table are variables
    of the collection ``"centres"``, which a NetKet state carries as its ``model_state`` and saves with itself.
    :class:`netket_qsntk.callbacks.Recentre` replaces them during a run.

    Cost: where the kernel depends on the Hamming distance of spins, about 2 ns for each sample, centre and element of
    the symmetry group (:mod:`netket_qsntk.symmetry.orbits`). Kernel models of log ψ were trained before by ridge
    regression (Giuliani, Vicentini, Rossi and Carleo, arXiv:2303.08902) and as Gaussian process states.

    Args:
        network: A model with an infinite-width kernel, most often :class:`netket_qsntk.models.Symmetrized`, or such a
            kernel. Of a model, ``reference`` is taken over; what it gives is taken as log ψ.
        centres: Configurations (M, sites) to begin with.
        parts: ``"real"`` for positive states (up to the reference's phase), ``"independent"`` for log-amplitude and
            phase; None follows the network.
        initial: f₀, a fixed function like a reference: for instance a finite network of the ensemble, bound.
        reference: r, a fixed log ψ (:mod:`netket_qsntk.readout`); None keeps the network's.
        floor: Eigenvalues of Θ_YY at or below ``floor`` times the largest count as zero; None is M times the rounding
            of ``param_dtype``.
        which: ``"ntk"``, or ``"nngp"`` to train the readout of the network alone.
        param_dtype: float64 or float32.

    Raises:
        InvalidConfigurationsError: Centres that coincide (up to symmetry), are no configurations, or are too many.
        SymmetryError: A symmetry group of another lattice.
        UnknownKernelError: A network without a known kernel.
        InvalidModelError: An option that is none.

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> hi, ring = nk.hilbert.Spin(0.5, 8), nk.graph.Chain(8)
        >>> net = qs.models.WideMLP(widths=(1,), activation="erf", sigma_w=1.5, sigma_b=0.3, parts="real")
        >>> net = qs.models.Symmetrized(net, ring.translation_group())
        >>> centres = qs.models.choose_centres(net, hi.all_states(), 20)
        >>> vs = nk.vqs.FullSumState(hi, qs.models.InfiniteWidth(net, centres))
        >>> vs.n_parameters, vs.log_value(hi.all_states()[0]).item()
        (20, 0.0)
    """

    network: Any
    centres: ArrayLike
    parts: Literal["real", "independent"] | None = None
    initial: Reference | None = None
    reference: Reference | None = None
    floor: float | None = None
    which: Literal["ntk", "nngp"] = "ntk"
    param_dtype: DTypeLike = jnp.float64

    def __post_init__(self) -> None:
        if isinstance(self.network, InfiniteWidthKernel):
            self.network = centre.FixedKernel(self.network)
        if not isinstance(self.centres, HashableArray):
            y = centre.check_configurations(self.centres)
            symmetry = centre.taken_apart(self.kernel)[1]
            centre.check_memory(y.shape[0], y.shape[1], symmetry)
            centre.check_distinct(y, symmetry)
            self.centres = HashableArray(y.astype(np.int8) if np.array_equal(y, np.rint(y)) else y)
        if self.parts is None:
            self.parts = "real" if self.kernel.n_parts == 1 else "independent"
        for name, allowed in (("parts", ("real", "independent")), ("which", ("ntk", "nngp"))):
            if vars(self)[name] not in allowed:
                raise InvalidModelError(
                    f"InfiniteWidth({name}={vars(self)[name]!r}): expected one of {allowed}."
                )
        if self.floor is not None and not 0 <= self.floor < 1:
            raise InvalidModelError(
                f"InfiniteWidth(floor={self.floor!r}): expected a fraction of the largest eigenvalue, 0 <= floor < 1."
            )
        self.initial = as_reference(self.initial)
        self.reference = as_reference(self.reference)
        super().__post_init__()

    @property
    def kernel(self) -> InfiniteWidthKernel:
        """The infinite-width kernel."""
        if isinstance(self.network, centre.FixedKernel):
            return self.network.kernel
        return infinite_width(self.network)

    @property
    def readout(self) -> Readout:
        """What is given is log ψ, with a reference."""
        own = self.reference
        if own is None and not isinstance(self.network, centre.FixedKernel):
            own = self.network.readout.reference
        return Readout("log_psi", own)

    @nn.nowrap
    def made_of(self, configurations: ArrayLike) -> centre.Variables:
        """The collection ``"centres"`` for other centres (M, sites)."""
        return centre.centre_variables(
            self.kernel,
            np.asarray(configurations),
            which=self.which,
            floor=self.floor,
            dtype=self.dtype,
        )

    @property
    def dtype(self) -> DTypeLike:
        """Real dtype of parameters and features."""
        return jnp.zeros((), self.param_dtype).dtype

    def setup(self) -> None:
        """Create the centres' variables and θ (called by flax)."""
        if self.has_variable("centres", "root"):
            names = [n for n in _NAMES if self.has_variable("centres", n)]
            self.made = {n: self.variable("centres", n, _missing).value for n in names}
        else:
            made = self.made_of(self.centres)
            self.made = {
                n: self.variable("centres", n, lambda v=v: v).value for n, v in made.items()
            }
        shape = (self.made["root"].shape[0],)
        self.log_amplitude = self.param("log_amplitude", nn.initializers.zeros, shape, self.dtype)
        if self.parts == "independent":
            self.phase = self.param("phase", nn.initializers.zeros, shape, self.dtype)

    def rows(self, x: Array) -> Array:
        """Θ(x, Y): (…, sites) -> (…, M)."""
        x = jnp.asarray(x)
        values = centre.rows(self.made, self._slow(), x.reshape(-1, x.shape[-1]), self.which)
        return values.reshape(*x.shape[:-1], -1).astype(self.dtype)

    def _slow(self) -> InfiniteWidthKernel | None:
        """The kernel, where no variables of the centres stand for it."""
        return None if "middle" in self.made else self.kernel

    def features(self, x: Array) -> Array:
        """φ(x): (…, sites) -> (…, M)."""
        return self.rows(x) @ self.made["root"]

    def weights(self) -> Array:
        """Coefficients of Θ(x, Y) in log ψ(x), Θ_YY^{-1/2} θ: (M, 1), or (M, 2) with those of the phase."""
        theta = [self.log_amplitude] + ([self.phase] if self.parts == "independent" else [])
        return self.made["root"] @ jnp.stack(theta, axis=-1)

    def trained(self, x: Array) -> Array:
        """φ(x)·θ of each part: (…, sites) -> (…, parts)."""
        x, weights = jnp.asarray(x), self.weights()
        values = centre.products(
            self.made, self._slow(), x.reshape(-1, x.shape[-1]), self.which, weights
        )
        return values.reshape(*x.shape[:-1], -1).astype(self.dtype)

    def fields(self, x: Array) -> Array:
        """f(x), log ψ without the reference: (…, sites) -> (…), complex, or real for ``parts="real"``."""
        x = jnp.asarray(x)
        f = self.trained(x)
        f = f[..., 0] if self.parts == "real" else lax.complex(f[..., 0], f[..., 1])
        if self.initial is None:
            return f
        start = jnp.asarray(self.initial(x))
        kind = jnp.result_type(self.dtype, jnp.complex64) if jnp.iscomplexobj(start) else self.dtype
        return f + start.astype(kind)

    def psi(self, x: Array) -> Array:
        """Amplitudes ψ(x): (…, sites) -> (…)."""
        return self.readout.psi(self.fields(x), x)

    def __call__(self, x: Array) -> Array:
        """Log ψ(x): (…, sites) -> (…)."""
        return self.readout.log_psi(self.fields(x), x)

    def __repr__(self) -> str:
        m, d = np.shape(self.centres)
        options = f"parts={self.parts!r}, which={self.which!r}"
        return f"InfiniteWidth({self.network!r}, {m} centres of {d} sites, {options})"


def _missing() -> Array:
    raise InvalidModelError(
        "InfiniteWidth: its collection 'centres' has lost a variable. Make it anew: model.init(key, x), or "
        "model.made_of(configurations)."
    )
