"""Every name of NetKet, JAX and the rest that the package uses is still where the package looks for it."""

import ast
import importlib
import types
from importlib.metadata import version
from pathlib import Path

import netket as nk
import pytest

import netket_qsntk

PACKAGE = Path(netket_qsntk.__file__).parent
LIBRARIES = ("netket", "jax", "flax", "optax", "lineax", "equinox", "matfree", "diffrax", "scipy")


def modules_under_names(tree):
    """Local name -> imported module or object, and (library name, line) of imports that fail."""
    found, missing = {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            pairs = [
                (a.name, None, a.asname or a.name.split(".")[0], not a.asname) for a in node.names
            ]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            pairs = [(node.module, a.name, a.asname or a.name, False) for a in node.names]
        else:
            continue
        for module, name, local, top in pairs:
            if module.split(".")[0] not in LIBRARIES:
                continue
            try:
                value = importlib.import_module(module)
                if name is not None:
                    value = getattr(value, name, None) or importlib.import_module(
                        f"{module}.{name}"
                    )
                found[local] = importlib.import_module(module.split(".")[0]) if top else value
            except ImportError:
                missing.append((f"{module}.{name}" if name else module, node.lineno))
    return found, missing


def chain(node):
    """``a.b.c`` as ["a", "b", "c"], or None for anything else."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else None


def missing_names(source):
    """(dotted name, line) of everything that a source file takes from a library and that is not there."""
    tree = ast.parse(source)
    roots, missing = modules_under_names(tree)
    for node in ast.walk(tree):
        names = chain(node) if isinstance(node, ast.Attribute) else None
        if names is None or names[0] not in roots:
            continue
        value = roots[names[0]]
        for name in names[1:]:
            if not isinstance(value, types.ModuleType):
                break
            if not hasattr(value, name):
                missing.append((f"{value.__name__}.{name}", node.lineno))
                break
            value = getattr(value, name)
    return missing


@pytest.mark.parametrize("path", sorted(str(p.relative_to(PACKAGE)) for p in PACKAGE.rglob("*.py")))
def test_names_of_other_libraries_exist(path):
    if path.startswith("_compat/neural_tangents"):
        pytest.skip("lends JAX's departed names on purpose; its own tests load neural-tangents")
    missing = missing_names((PACKAGE / path).read_text("utf-8"))
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    lines = "\n".join(f"  {name}, used in netket_qsntk/{path}:{line}" for name, line in missing)
    assert not missing, (
        f"moved or removed:\n{lines}\nwith {versions}. The package is known to work with netket 3.23 and "
        "jax 0.10 to 0.12: use the new name (private ones in netket_qsntk/_compat only), or tighten pyproject.toml."
    )


def test_a_departed_name_is_found():
    source = "import netket as nk\nfrom jax import gone\nx = nk.vqs.FullSumState\ny = nk.vqs.Departed.method\n"
    assert set(missing_names(source)) == {("jax.gone", 2), ("netket.vqs.Departed", 4)}


@pytest.mark.thorough
def test_private_names_of_netkets_drivers_are_where_diagnostics_look():
    hilbert = nk.hilbert.Spin(0.5, 3)
    hamiltonian = nk.operator.Ising(hilbert, nk.graph.Chain(3), h=1.0)
    state = nk.vqs.FullSumState(hilbert, nk.models.RBM(), seed=0)
    plain = nk.driver.VMC(hamiltonian, nk.optimizer.Sgd(0.1), variational_state=state)
    sampled = nk.vqs.MCState(
        nk.sampler.ExactSampler(hilbert), nk.models.RBM(), n_samples=16, seed=0
    )
    natural = nk.driver.VMC_SR(
        hamiltonian, nk.optimizer.Sgd(0.1), diag_shift=0.1, variational_state=sampled
    )
    plain.run(1, show_progress=False)
    natural.run(1, show_progress=False)
    advice = "NetKet moved {}: mend netket_qsntk/_compat/netket_drivers.py"
    for driver, names in ((plain, ("_dp", "_loss_grad")), (natural, ("_dp", "_ham"))):
        for name in names:
            assert getattr(driver, name, None) is not None, advice.format(f"{type(driver)}.{name}")
