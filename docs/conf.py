"""How Sphinx builds this documentation: ``sphinx-build -W -b html docs docs/_build/html``."""

import importlib
import inspect
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
    # MathJax and its fonts beside the pages: formulas need no network.
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "jupyter_execute", "**.ipynb_checkpoints"]

# tests/test_docs.py runs the pages' code; Sphinx only shows it.
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

html_theme = "sphinx_book_theme"
html_title = "netket-qsntk"
html_theme_options = {"show_toc_level": 2, "navbar_persistent": []}
html_static_path = ["_static"]
html_css_files = ["custom.css"]
# The contents beside a page of reference have room for methods only without their classes.
toc_object_entries_show_parents = "hide"

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


def _keep_bars(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Docstrings are written to be read as they stand: |x| is an absolute value, no substitution."""
    inside_math = False
    for i, line in enumerate(lines):
        text = line.lstrip()
        if text.startswith(".. math::"):
            inside_math, indent = True, len(line) - len(text)
            continue
        inside_math = inside_math and (not text or len(line) - len(text) > indent)
        if not (inside_math or text.startswith((">>>", "..."))):
            # Even pieces are prose; odd ones are :math:`…` and ``…``.
            pieces = re.split(r"(:math:`[^`]*`|``.*?``)", line)
            pieces[::2] = [re.sub(r"(?<!\\)\|", r"\\|", piece) for piece in pieces[::2]]
            lines[i] = "".join(pieces)


def _untype_property(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """A property's summary is a sentence: napoleon takes what stands before a colon for its type."""
    if what not in ("property", "attribute"):
        return
    types = [line for line in lines if line.startswith(":type: ")]
    if types and lines[0]:
        lines[:] = [line for line in lines if line not in types]
        lines[0] = f"{types[0].removeprefix(':type: ')}: {lines[0]}"


def _public_names(module: Any) -> list[str]:
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return list(listed)
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]


def _namespaces() -> list[str]:
    return [n for n in netket_qsntk.__all__ if inspect.ismodule(getattr(netket_qsntk, n))]


def _check_every_name(app: Any, env: Any) -> None:
    """Warn, and so fail the build, where a public name has no entry in the API reference."""
    from sphinx.util import logging

    entries = env.get_domain("py").objects
    for namespace in _namespaces():
        module = importlib.import_module(f"netket_qsntk.{namespace}")
        for name in _public_names(module):
            if f"netket_qsntk.{namespace}.{name}" not in entries:
                logging.getLogger(__name__).warning(
                    "qs.%s.%s has no entry in the API reference", namespace, name
                )


def setup(app: Any) -> None:
    """Register the functions above, those on docstrings before and after napoleon."""
    for namespace in _namespaces():
        module = importlib.import_module(f"netket_qsntk.{namespace}")
        for name in _public_names(module):
            # Or a function with one registered method for each model is listed as many times.
            dispatched = getattr(module, name, None)
            if hasattr(dispatched, "registry") and hasattr(dispatched, "__wrapped__"):
                setattr(module, name, dispatched.__wrapped__)
    app.connect("autodoc-process-docstring", _keep_bars, priority=400)
    app.connect("autodoc-process-docstring", _untype_property, priority=600)
    app.connect("builder-inited", _notebooks)
    app.connect("autodoc-process-signature", _plain_signature)
    app.connect("env-check-consistency", _check_every_name)
