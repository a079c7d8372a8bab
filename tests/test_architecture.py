"""The order in which the package is built: what its imports say, wherever they stand, is what the picture says."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import netket_qsntk

PACKAGE = Path(netket_qsntk.__file__).parent
NAME = PACKAGE.name
GUIDE = PACKAGE.parent / "docs" / "contributing.md"

# Imports inside functions, each for what it saves where it is not needed.
LATE = {
    ("_compat.cpu.walsh_hadamard", "_compat.cpu.walsh_hadamard_loops"),  # numba compiles
    ("_compat.cpu.hamming_solver", "_compat.cpu.hamming_solver_loops"),  # numba compiles
}


def modules() -> dict[str, Path]:
    """Dotted names below the package, "" for the package itself."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(source: str, known: dict[str, Path]) -> Iterator[tuple[str, bool]]:
    """(module of ours, whether its import stands inside a function), those for type checkers included."""
    tree = ast.parse(source)
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "absolute imports"
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [t if t.removeprefix(f"{NAME}.") in known else node.module for t in full]
        for name in names:
            if name == NAME or name.startswith(f"{NAME}."):
                yield name.removeprefix(NAME).removeprefix("."), id(node) in inside


MODULES = modules()
GRAPH = {name: list(imports(path.read_text("utf-8"), MODULES)) for name, path in MODULES.items()}


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Sets of names that import one another: strongly connected components of more than one."""
    reach: dict[str, set[str]] = {}
    for start in graph:
        found, front = set(), [start]
        while front:
            new = graph.get(front.pop(), set()) - found
            found |= new
            front += new
        reach[start] = found
    together = {frozenset(b for b in reach[a] if a in reach.get(b, set())) | {a} for a in graph}
    return [set(t) for t in together if len(t) > 1]


def folder(module: str) -> str:
    return module.partition(".")[0]


def folders() -> dict[str, set[str]]:
    """Folder (or single file) -> those it imports from."""
    found: dict[str, set[str]] = {}
    for name, targets in GRAPH.items():
        if name:
            found.setdefault(folder(name), set()).update(
                folder(target) for target, _ in targets if folder(target) != folder(name)
            )
    return found


def test_no_module_imports_itself_by_way_of_others():
    assert not circles({name: {t for t, _ in targets} for name, targets in GRAPH.items()})


def test_no_module_imports_the_whole_package():
    # Its __init__ imports everything: a module that does is in a circle, unless it is the package itself.
    assert not [name for name, targets in GRAPH.items() if name and any(not t for t, _ in targets)]


def test_late_imports_are_for_time_not_for_circles():
    late = {(name, t) for name, targets in GRAPH.items() for t, inside in targets if inside}
    assert late <= LATE, late - LATE


def test_no_two_files_have_one_name():
    # But for __init__ and base, which say what a folder offers and what its classes share.
    seen: dict[str, list[str]] = {}
    for name, path in MODULES.items():
        if path.stem not in ("__init__", "base"):
            seen.setdefault(path.stem, []).append(name)
    assert not [names for names in seen.values() if len(names) > 1]


def test_no_folder_imports_from_one_that_imports_from_it():
    assert not circles(folders())


def picture() -> dict[str, set[str]]:
    """The list of folders in docs/contributing.md: what each one imports from."""
    found = {}
    for line in GUIDE.read_text("utf-8").splitlines():
        match = re.fullmatch(r"(\w+) +<- ([\w, ]+)", line)
        if match:
            found[match[1]] = {t for t in match[2].replace(",", " ").split() if t != "none"}
    return found


def drawn(made: dict[str, set[str]]) -> str:
    """The picture of these imports: each folder below all that it imports from."""
    height: dict[str, int] = {}

    def rank(name: str) -> tuple[int, str]:
        if name not in height:
            below = [rank(t)[0] for t in made[name]]
            height[name] = 1 + max(below, default=-1)
        return height[name], name

    width = max(map(len, made))
    return "\n".join(
        f"{name:<{width}} <- {', '.join(sorted(made[name], key=rank)) or 'none'}"
        for name in sorted(made, key=rank)
    )


def test_the_picture_shows_the_imports():
    made = folders()
    assert picture() == made, f"docs/contributing.md should show\n\n{drawn(made)}\n"


def test_the_picture_is_read_from_top_to_bottom():
    seen: set[str] = set()
    for name, below in picture().items():
        assert below <= seen, f"{name} stands above {sorted(below - seen)}, which it imports from"
        seen.add(name)


@pytest.mark.parametrize("low", ["operators", "readout", "symmetry", "spectral", "activations"])
def test_linear_algebra_knows_no_kernel_and_no_state(low):
    reached, front = set(), [low]
    while front:
        new = folders().get(front.pop(), set()) - reached
        reached |= new
        front += new
    assert not reached & {"kernels", "dynamics", "vqs", "driver", "models", "process"}


@pytest.mark.parametrize("path", [str(p.relative_to(PACKAGE)) for p in MODULES.values()])
def test_private_names_of_libraries_stand_in_compat(path):
    if path.startswith("_compat"):
        return
    tree = ast.parse((PACKAGE / path).read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and folder(node.module or "") != NAME:
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [part for alias in node.names for part in alias.name.split(".")]
        else:
            continue
        private = [n for n in names if n.startswith("_") and not n.startswith("__")]
        assert not private, f"netket_qsntk/{path}:{node.lineno} imports {private}"
