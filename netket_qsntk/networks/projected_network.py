"""A network projected on a representation of a symmetry group."""

from typing import cast

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jax.typing import ArrayLike, DTypeLike
from netket.utils.group import PermutationGroup

from netket_qsntk.errors import InvalidModelError
from netket_qsntk.networks.fourier import FourierFeatures
from netket_qsntk.networks.wave_function import Parametrization, Parts, WaveFunction
from netket_qsntk.readout import Readout, Reference
from netket_qsntk.readout.amplitudes import Output
from netket_qsntk.symmetry.projection import Projection, SpinFlip, projection


class Symmetrized(nn.Module):
    r"""The projection of a network's functions on a representation of a symmetry group.

    .. math:: f_G(x) = |G|^{-1} \sum_g \chi(g)\, f(g x)

    For a network of ψ this is NetKet's ``SymmExpSum`` of it, and transforms as the character says; for a network of
    log ψ with χ = 1 ψ is invariant (with another character it is the logarithm that transforms so). A reference is
    not projected. At infinite width the kernel is :func:`netket_qsntk.kernels.symmetrized` of the network's (over
    χ(1)), with the levels of the network's own.

    Args:
        network: One of this package's models.
        group: A NetKet permutation group of the lattice; kept as a :class:`~netket_qsntk.symmetry.Projection`.
        character: χ(g), (|G|,) in the group's order; None is χ = 1.
        spin_flip: ±1 adds the flip of all spins with that eigenvalue.

    Raises:
        SymmetryError: The group or the character does not fit.
        InvalidModelError: Another kind of network, or a complex character for a network of log ψ.

    Example:
        >>> import jax, netket as nk, netket_qsntk as qs
        >>> net = qs.models.WideMLP(widths=(16,), activation="erf", output="log_psi", parts="real")
        >>> ring = nk.graph.Chain(6)
        >>> model = qs.models.Symmetrized(net, ring.space_group(), spin_flip=1)
        >>> x = nk.hilbert.Spin(0.5, 6).all_states()[:5]
        >>> variables = model.init(jax.random.key(0), x)
        >>> bool(abs(model.apply(variables, x) - model.apply(variables, -x[:, ::-1])).max() < 1e-12)
        True
    """

    network: WaveFunction | FourierFeatures
    group: PermutationGroup | Projection
    character: ArrayLike | None = None
    spin_flip: SpinFlip = None

    def __post_init__(self) -> None:
        if not isinstance(self.network, WaveFunction | FourierFeatures):
            raise InvalidModelError(
                f"Symmetrized(network=…): expected one of qs.models, got {type(self.network).__name__}."
            )
        # As arrays: NetKet's point groups cannot be saved, and a clone is not checked again.
        self.group = projection(self.group, self.character, spin_flip=self.spin_flip)
        self.character = self.spin_flip = None
        if self.output == "log_psi" and not self.symmetry.is_real:
            raise InvalidModelError(
                "Symmetrized: a complex character mixes log-amplitude and phase of a network of log ψ. Use "
                'output="psi", or put the momentum into a reference.'
            )
        super().__post_init__()

    @property
    def symmetry(self) -> Projection:
        """The group with its character."""
        return self.group  # type: ignore[return-value]

    @property
    def readout(self) -> Readout:
        """How f becomes ψ."""
        return self.network.readout

    @property
    def output(self) -> Output:
        """What f is."""
        return self.readout.output

    @property
    def reference(self) -> Reference | None:
        """The fixed log ψ added to the network's."""
        return self.readout.reference

    @property
    def parts(self) -> Parts:
        """How f₁ and f₂ are built."""
        return cast(Parts, self.network.parts)

    @property
    def parametrization(self) -> Parametrization:
        """That of the network."""
        return cast(Parametrization, self.network.parametrization)

    @property
    def param_dtype(self) -> DTypeLike:
        """That of the network."""
        return cast(DTypeLike, self.network.param_dtype)

    def fields(self, x: Array) -> Array:
        """The projected functions f_G(x): (…, sites) -> (…)."""
        x = jnp.asarray(x)
        self.symmetry.check(x.shape[-1], "x")
        f = self.network.fields(self.symmetry.images(x))
        chi = np.array([value for _, _, value in self.symmetry.elements()])
        return jnp.tensordot(jnp.asarray(chi).astype(_kind(chi, f)), f, axes=1) / len(chi)

    def psi(self, x: Array) -> Array:
        """Amplitudes ψ(x): (…, sites) -> (…)."""
        return self.readout.psi(self.fields(x), x)

    def __call__(self, x: Array) -> Array:
        """Log ψ(x): (…, sites) -> (…)."""
        return self.readout.log_psi(self.fields(x), x)

    def __repr__(self) -> str:
        return f"Symmetrized({self.network!r}, {self.symmetry!r})"


def _kind(chi: np.ndarray, f: Array) -> DTypeLike:
    real = jnp.finfo(f.dtype).dtype
    return jnp.result_type(real, jnp.complex64) if np.iscomplexobj(chi) else real
