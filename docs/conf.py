"""How Sphinx builds this documentation: ``sphinx-build -W -b html docs docs/_build/html``."""

import importlib
import re
from pathlib import Path
from typing import Any

import jupytext

import netket_qsntk

project = "netket-qsntk"
author = "netket-qsntk developers"
copyright = author
release = netket_qsntk.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "jupyter_execute", "**.ipynb_checkpoints"]

# tests/test_docs.py runs the pages' code; Sphinx only shows it.
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

html_theme = "sphinx_book_theme"
html_title = "netket-qsntk"
html_theme_options = {"show_toc_level": 2}

napoleon_google_docstring = True
napoleon_numpy_docstring = False
# Fields of data classes are listed once, by the docstring.
napoleon_use_ivar = True
autodoc_member_order = "bysource"
# Shapes and types are in the docstrings; expanded array unions would bury them.
autodoc_typehints = "none"
autodoc_inherit_docstrings = False
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True


def _notebooks(app: Any) -> None:
    """Notebooks that examples/notebooks/run.py has not executed since their text changed are shown without output."""
    here = Path(__file__).parent
    for text in (here.parent / "examples" / "notebooks").glob("*.py"):
        notebook = here / "notebooks" / f"{text.stem}.ipynb"
        fresh = notebook.exists() and notebook.stat().st_mtime > text.stat().st_mtime
        if text.stem != "run" and not fresh:
            jupytext.write(jupytext.read(text), notebook)


def _plain_signature(
    app: Any, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: Any
) -> tuple[str | None, Any]:
    """Signatures of flax modules without what flax adds to them."""
    if signature and "_Sentinel" in signature:
        signature = re.sub(r",? *parent=<[^>]*>", "", signature)
        signature = re.sub(r",? *name=None", "", signature).replace("(, ", "(")
    if signature:
        # Addresses differ from build to build.
        signature = re.sub(r"<function ([\w.]+) at 0x[0-9a-f]+>", r"\1", signature)
        signature = re.sub(r"<class '([\w.]+)'>", r"\1", signature)
    return signature, returns


def _check_every_name(app: Any, env: Any) -> None:
    """Warn, and so fail the build, where a public name has no entry in the API reference."""
    from sphinx.util import logging

    entries = env.get_domain("py").objects
    for namespace in netket_qsntk.__all__:
        module = importlib.import_module(f"netket_qsntk.{namespace}")
        for name in getattr(module, "__all__", ()):
            if f"netket_qsntk.{namespace}.{name}" not in entries:
                logging.getLogger(__name__).warning(
                    "qs.%s.%s has no entry in the API reference", namespace, name
                )


def setup(app: Any) -> None:
    """Register the two functions above."""
    app.connect("builder-inited", _notebooks)
    app.connect("autodoc-process-signature", _plain_signature)
    app.connect("env-check-consistency", _check_every_name)
