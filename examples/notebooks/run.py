"""Make and execute the notebooks of this folder.

  run.py                               all of them, into docs/notebooks/*.ipynb
  run.py finite_width twenty_spins     some
  NETKET_QSNTK_QUICK=1 run.py          at the sizes of continuous integration

Needs the extra ``docs`` (jupytext, nbclient, ipykernel).
"""

import argparse
import os
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
DOCS = HERE.parents[1] / "docs" / "notebooks"
NOTEBOOKS = sorted(path.stem for path in HERE.glob("*.py") if path.stem != "run")


def execute(name, out):
    """Write the executed notebook, with what it printed until an error if there is one, and return its seconds."""
    notebook = jupytext.read(HERE / f"{name}.py")
    clock = time.perf_counter()
    try:
        NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    finally:
        nbformat.write(notebook, out / f"{name}.ipynb")
    return time.perf_counter() - clock


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(NOTEBOOKS)}")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of the .ipynb")
    args = parser.parse_args()
    unknown = sorted(set(args.names) - set(NOTEBOOKS))
    if unknown:
        parser.error(f"no notebook {', '.join(unknown)}: expected some of {', '.join(NOTEBOOKS)}")
    # The kernels inherit both; no notebook has a progress bar, and pictures belong into the notebook.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:IProgress not found")
    os.environ.pop("MPLBACKEND", None)
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.names or NOTEBOOKS:
        print(f"{name:28}{execute(name, args.out):7.1f} s", flush=True)


if __name__ == "__main__":
    main()
