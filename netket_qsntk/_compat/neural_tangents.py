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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from netket_qsntk._compat.neural_tangents_patches import patch
from netket_qsntk.errors import NeuralTangentsError

__all__ = ["load_neural_tangents"]

_NAME = "neural_tangents"
_WORKING = (
    "Versions that work: neural-tangents 0.5.0 (pip install neural-tangents==0.5.0, which needs no "
    "TensorFlow) and 0.6.5, with jax 0.7 to 0.12."
)


def load_neural_tangents() -> Any:
    """The neural-tangents package, ready to use on this JAX.

    The first call imports it, later ones return it at once. JAX's own namespaces are afterwards as
    they were, and TensorFlow is never imported: ``neural_tangents.experimental`` of 0.6.5, the one
    part that needs it, is replaced by an empty module.

    Three limits of neural-tangents itself: functions made by
    ``predict.gradient_descent_mse_ensemble`` must be called outside ``jax.jit``; ``nt.batch`` with
    several devices clashes with NetKet's mesh, so give it ``device_count=0``; 0.5.0 has no
    ``NtkImplementation`` and no ``empirical_ntk_vp_fn``.

    Returns:
        The module ``neural_tangents``.

    Raises:
        NeuralTangentsError: It is not installed or does not import; the message tells which
            versions work.

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
        raise NeuralTangentsError(f"neural-tangents is not installed. {_WORKING}")
    _forget()
    if any((Path(p) / "experimental").is_dir() for p in spec.submodule_search_locations or ()):
        _stub_experimental()
    try:
        with _lent_names():
            return importlib.import_module(_NAME)
    except Exception as error:
        _forget()
        raise NeuralTangentsError(
            f"neural-tangents {_version('neural-tangents')} does not import with jax "
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


def _stub_experimental() -> None:
    name = f"{_NAME}.experimental"
    stub = types.ModuleType(name, "Left out, because it needs TensorFlow.")
    stub.__path__ = []

    def refuse(attribute: str) -> Any:
        raise AttributeError(
            f"{name}.{attribute} needs TensorFlow and is left out by netket_qsntk."
        )

    stub.__getattr__ = refuse  # type: ignore[method-assign]
    sys.modules[name] = stub


@contextmanager
def _lent_names() -> Iterator[None]:
    """Names that neural-tangents imports from JAX and that JAX has removed, for a while."""
    import jax.core
    import jax.extend.core
    from jax.interpreters import ad, pxla

    lent: list[tuple[Any, str]] = []

    def lend(module: Any, name: str, value: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            present = hasattr(module, name)
        if not present:
            setattr(module, name, value)
            lent.append((module, name))

    own_util = False
    try:
        for name in ("Jaxpr", "JaxprEqn", "Literal", "Primitive", "Var"):
            lend(jax.core, name, getattr(jax.extend.core, name))
        # Only ever the key of an entry in a table of derivative rules.
        lend(ad, "zeros_like_p", jax.extend.core.Primitive("zeros_like"))

        # Asked for by 0.5.0 alone.
        lend(jax, "ShapedArray", jax.core.ShapedArray)
        lend(jax.random, "KeyArray", jax.Array)
        lend(jax.tree_util, "tree_multimap", jax.tree_util.tree_map)
        lend(pxla, "ShardedDeviceArray", type("ShardedDeviceArray", (), {}))

        # jax.util was a module without these names in jax 0.7, and is none since 0.8.
        try:
            util = importlib.import_module("jax.util")
        except ImportError:
            util = sys.modules["jax.util"] = types.ModuleType("jax.util")
            own_util = True
        lend(util, "safe_map", _safe_map)
        lend(util, "safe_zip", _safe_zip)
        yield
    finally:
        for module, name in lent:
            delattr(module, name)
        if own_util:
            del sys.modules["jax.util"]


def _safe_zip(*iterables: Any) -> list[tuple[Any, ...]]:
    return list(zip(*iterables, strict=True))


def _safe_map(function: Callable[..., Any], *iterables: Any) -> list[Any]:
    return [function(*arguments) for arguments in zip(*iterables, strict=True)]
