"""From a model to its infinite-width kernel; users register architectures of their own here."""

from collections.abc import Callable
from functools import singledispatch
from typing import Any, Protocol, cast

from netket_qsntk.errors import UnknownKernelError
from netket_qsntk.kernels.arguments import Trainable
from netket_qsntk.kernels.base import InfiniteWidthKernel

# What a registration says the kernel of: a subclass that overrides one of these is another function.
_FUNCTIONS = ("psi", "fields", "network", "encode", "__call__", "setup")

_HOW = (
    "Use CosNet, GaussNet, WideMLP or FourierFeatures of qs.models; register one with "
    "@qs.kernels.infinite_width.register; or wrap a neural-tangents kernel function with "
    "qs.kernels.from_stax(kernel_fn)."
)


class _Registry(Protocol):
    """What :func:`infinite_width` looks like: a function with a decorator for other architectures."""

    register: Callable[..., Callable[..., InfiniteWidthKernel]]

    def __call__(self, model: object, trainable: Trainable = "all") -> InfiniteWidthKernel:
        """The kernel of a model."""
        ...


@singledispatch
def _make(model: object, trainable: Trainable = "all") -> InfiniteWidthKernel:
    raise UnknownKernelError(
        f"No infinite-width kernel is known for a model of type {type(model).__name__}. {_HOW}"
    )


def defined(kind: type, name: str) -> object:
    """What the class, or one that it inherits from, defines under this name; None for nothing."""
    return next((vars(c)[name] for c in kind.__mro__ if name in vars(c)), None)


def _registry(function: Any) -> _Registry:
    function.register = _make.register
    return cast(_Registry, function)


@_registry
def infinite_width(model: object, trainable: Trainable = "all") -> InfiniteWidthKernel:
    """The Gaussian-process (NNGP) and neural tangent kernel of a model at infinite width.

    Dispatches on the model's type. For an architecture of your own::

        @qs.kernels.infinite_width.register
        def _(model: MyModel, trainable="all"):
            return qs.kernels.DotProductKernel(evaluate, encode=..., n_parts=2, ...)

    or return :func:`netket_qsntk.kernels.from_stax` of the same architecture in neural-tangents. A registration is
    for a class and for subclasses that leave ``psi``, ``network`` and ``encode`` as they are: one that overrides them
    is another function, and needs a registration of its own.

    Args:
        model: One of :mod:`netket_qsntk.models`; NetKet's ``MLP``, ``RBM``, ``RBMModPhase`` or ``Jastrow`` with real
            parameters, at the width it has; or an instance of a registered type. A kernel is returned as it is.
        trainable: ``"all"`` parameters, or the ``"readout"`` alone: then the NTK is the NNGP (divided by the
            readout's variance in the standard parametrisation), the paper's Case 1.

    Raises:
        UnknownKernelError: No kernel is registered for this type, or the model has no kernel limit
            (``parametrization="mup"``, complex parameters).

    Example:
        >>> import netket as nk, netket_qsntk as qs
        >>> kernel = qs.kernels.infinite_width(qs.models.CosNet(100, sigma_a=2.0, sigma_w=1.0))
        >>> x = nk.hilbert.Spin(0.5, 4).all_states()
        >>> kernel.nngp(x).shape, float(kernel.nngp_diagonal(x)[0])
        ((16, 16), 2.0)
    """
    if isinstance(model, InfiniteWidthKernel):
        return model
    kind = type(model)
    registered = next((c for c in kind.__mro__ if c in _make.registry and c is not object), kind)
    overridden = [
        name
        for name in _FUNCTIONS
        if defined(kind, name) is not defined(registered, name)
        and any(name in c.__dict__ for c in kind.__mro__[: kind.__mro__.index(registered)])
    ]
    if overridden:
        raise UnknownKernelError(
            f"{kind.__name__} overrides {', '.join(overridden)} of {registered.__name__}, so the kernel registered "
            f"for {registered.__name__} is not its own. {_HOW}"
        )
    return _make(model, trainable)
