"""What ``import netket_qsntk`` brings in, in a fresh process."""

import subprocess
import sys

import pytest

import netket_qsntk as qs

IMPORT = """
import sys
import netket
before = set(sys.modules)
import netket_qsntk as qs
print(*sorted(set(sys.modules) - before))
"""

USE = """
import sys
sys.modules["tensorflow"] = sys.modules["tf2jax"] = None  # an import of them fails
import netket as nk, netket_qsntk as qs, optax
x = nk.hilbert.Spin(0.5, 3).all_states()
stax = qs.kernels.load_neural_tangents().stax
kernel_fn = stax.serial(stax.Dense(8), stax.Relu(), stax.Dense(1))[2]
print(qs.kernels.from_stax(kernel_fn).ntk(x).shape)
"""

WITHOUT_MATPLOTLIB = """
import sys
sys.modules["matplotlib"] = sys.modules["matplotlib.pyplot"] = None
import netket_qsntk as qs
try:
    qs.plot.spectra({"kernel": qs.kernels.spectrum([[1.0]])})
except qs.errors.MissingDependencyError as error:
    print(isinstance(error, ImportError), error)
"""


def run(code: str) -> str:
    command = [sys.executable, "-W", "ignore", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.thorough
def test_nothing_slow_or_optional_is_imported_before_it_is_used() -> None:
    names = run(IMPORT).split()
    roots = {name.partition(".")[0] for name in names}
    assert "netket_qsntk" in roots
    optional = {"tensorflow", "tf2jax", "neural_tangents", "matplotlib", "nqxpack", "mpi4py"}
    assert not roots & (optional | {"mpi4jax", "diffrax", "pandas", "qutip"})
    assert "scipy.stats" not in names


@pytest.mark.thorough
def test_neural_tangents_works_where_tensorflow_cannot_be_imported() -> None:
    assert run(USE).strip() == "(8, 8)"


@pytest.mark.thorough
def test_a_figure_without_matplotlib_says_how_to_install_it() -> None:
    printed = run(WITHOUT_MATPLOTLIB)
    assert printed.startswith("True")
    assert "pip install 'netket-qsntk[plot]'" in printed


@pytest.mark.thorough
@pytest.mark.parametrize("module", ["netket_qsntk.plot", "netket_qsntk.parallel"])
def test_edges_can_be_imported_alone(module: str) -> None:
    assert run(f"import {module}; print({module}.__name__)").strip() == module


def test_completion_lists_what_is_public():
    assert "__version__" in dir(qs)
    assert {"kernels", "advise"} < set(dir(qs))
    assert not {"alert", "text", "tracing", "wavefunction"} & set(dir(qs))
    assert dir(qs.learning) == sorted(qs.learning.__all__)
    assert "structure_search" not in dir(qs.kernels)
    assert "jax" not in dir(qs.encodings)
