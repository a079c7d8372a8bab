"""Import of neural-tangents on current JAX, without TensorFlow and leaving JAX as it was.

neural-tangents is archived. Its modules import names that JAX has removed since, so these are lent
to JAX's namespaces while the import runs and taken back afterwards; what is looked up later, at run
time, is put on neural-tangents' own modules (:mod:`netket_qsntk._compat.neural_tangents_patches`).
"""

import importlib
import importlib.metadata
import importlib.util
import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax

from netket_qsntk._compat.neural_tangents_patches import patch
from netket_qsntk.errors import MissingDependencyError

__all__ = ["load_neural_tangents"]

_NAME = "neural_tangents"
_PINNED = "0.5.0"
_WORKING = (
    f"The version that works is {_PINNED}, with jax 0.10 to 0.12 and without TensorFlow: "
    f"pip install neural-tangents=={_PINNED}"
)


def load_neural_tangents() -> Any:
    """The neural-tangents package, ready to use on this JAX.

    The first call imports it, later ones return it at once. JAX's own namespaces are afterwards as
    they were.

    Three limits of neural-tangents itself: functions made by
    ``predict.gradient_descent_mse_ensemble`` must be called outside ``jax.jit``; ``nt.batch`` with
    several devices clashes with NetKet's mesh, so give it ``device_count=0``; this version has no
    ``NtkImplementation`` and no ``empirical_ntk_vp_fn``.

    Returns:
        The module ``neural_tangents``.

    Raises:
        MissingDependencyError: It is not installed, in another version, or does not import; the message tells
            which version works.

    Example:
        >>> import netket_qsntk as qs
        >>> stax = qs.kernels.load_neural_tangents().stax
        >>> _, _, kernel_fn = stax.serial(stax.Dense(1), stax.Erf(), stax.Dense(1))
        >>> kernel_fn(jax.numpy.eye(3), None, "ntk").shape
        (3, 3)
    """
    module = sys.modules.get(_NAME)
    if module is None:
        module = _import()
    patch(module)
    return module


def _import() -> types.ModuleType:
    spec = importlib.util.find_spec(_NAME)
    if spec is None:
        raise MissingDependencyError(f"neural-tangents is not installed. {_WORKING}")
    _forget()
    version = _version("neural-tangents")
    if version != _PINNED:
        raise MissingDependencyError(f"neural-tangents {version} is installed. {_WORKING}")
    try:
        with _lent_names():
            return importlib.import_module(_NAME)
    except Exception as error:
        _forget()
        raise MissingDependencyError(
            f"neural-tangents {version} does not import with jax "
            f"{jax.__version__} ({type(error).__name__}: {error}). {_WORKING}"
        ) from error


def _forget() -> None:
    # A failed `import neural_tangents` leaves submodules behind that the next import would reuse.
    for name in [name for name in sys.modules if name.startswith(_NAME + ".")]:
        del sys.modules[name]


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"


@contextmanager
def _lent_names() -> Iterator[None]:
    """Names that neural-tangents imports from JAX and that JAX has removed, for a while."""
    from jax.core import ShapedArray
    from jax.interpreters import pxla

    lent: list[tuple[Any, str]] = []

    def lend(module: Any, name: str, value: object) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            present = hasattr(module, name)
        if not present:
            setattr(module, name, value)
            lent.append((module, name))

    try:
        lend(jax, "ShapedArray", ShapedArray)
        lend(jax.random, "KeyArray", jax.Array)
        lend(jax.tree_util, "tree_multimap", jax.tree_util.tree_map)
        lend(pxla, "ShardedDeviceArray", type("ShardedDeviceArray", (), {}))
        yield
    finally:
        for module, name in lent:
            delattr(module, name)
