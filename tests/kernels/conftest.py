import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def oracles() -> ModuleType:
    """``oracles.py`` beside this file."""
    spec = importlib.util.spec_from_file_location(
        "kernel_oracles", Path(__file__).with_name("oracles.py")
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def stax() -> Any:
    from netket_qsntk._compat import load_neural_tangents

    return load_neural_tangents().stax
