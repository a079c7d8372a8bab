"""Every Python block of the documentation runs as it stands and prints what its page says."""

import ast
import contextlib
import doctest
import inspect
import io
import re
from pathlib import Path
from typing import Any

import matplotlib
import pytest

import netket_qsntk as qs

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TABLE_OR_PICTURE = re.compile(r"^(?:\|.*|!\[.*\]\(.*\))$", re.MULTILINE)
SCREEN = 3000
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")


def pages() -> list[str]:
    found = (path for path in DOCS.rglob("*.md") if "_build" not in path.parts)
    return sorted(str(p.relative_to(DOCS)) for p in found if "```python" in p.read_text("utf-8"))


def blocks(text: str) -> list[tuple[str, int, str | None]]:
    """(code, its first line, the output printed below it or None) of each Python block of a page."""
    fences = list(BLOCK.finditer(text))
    found = []
    for fence, after in zip(fences, [*fences[1:], None], strict=True):
        if fence[1] != "python":
            continue
        shown = None
        if after is not None and after[1] == "text":
            between = text[fence.end() : after.start()]
            shown = after[2] if not between.strip() else None
        found.append((fence[2], text.count("\n", 0, fence.start()) + 1, shown))
    return found


def stretches(text: str) -> list[str]:
    """What lies between one block, table or picture of a page and the next: prose and formulas."""
    text = re.sub(r"^```\{toctree\}\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    for cut in (BLOCK, TABLE_OR_PICTURE):
        text = cut.sub("\0", text)
    return [stretch.strip() for stretch in text.split("\0")]


def same(shown: str, printed: str) -> bool:
    """Equal but for white space, and numbers with a point or an exponent to one unit of their last digit."""
    words = ["".join(NUMBER.sub("#", t).split()) for t in (shown, printed)]
    numbers = [NUMBER.findall(t) for t in (shown, printed)]
    return words[0] == words[1] and all(map(_close, *numbers))


def _close(shown: str, printed: str) -> bool:
    digits, _, exponent = shown.lower().partition("e")
    if "." not in shown and not exponent:
        return shown == printed
    unit = 10.0 ** (int(exponent or 0) - len(digits.partition(".")[2]))
    return abs(float(shown) - float(printed)) <= 1.001 * unit


@pytest.mark.thorough
@pytest.mark.parametrize("page", pages())
def test_blocks_of_page_run_and_print_what_is_shown(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for code, line, shown in blocks((DOCS / page).read_text("utf-8")):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile("\n" * line + code, DOCS / page, "exec"), namespace)
        printed = out.getvalue()
        assert bool(printed) == (shown is not None), f"{page}:{line} prints {printed!r}"
        assert shown is None or same(shown, printed), (
            f"{page}:{line} shows {shown!r}, prints {printed!r}"
        )


@pytest.mark.thorough
def test_first_block_of_the_readme_predicts_what_it_says() -> None:
    code, _, _ = blocks((DOCS.parent / "README.md").read_text("utf-8"))[0]
    namespace: dict[str, Any] = {}
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, namespace)
    said = re.search(r"Energy.*#(.*)$", code, re.MULTILINE)
    assert said is not None
    printed = NUMBER.findall(out.getvalue().partition("]")[0])
    assert len(printed) == 3
    assert all(map(_close, NUMBER.findall(said[1]), printed))
    assert "nk.driver.VMC_SR(" in out.getvalue()


def test_comparison_of_output_sees_differences() -> None:
    assert same("loss 1.25e-03\n", "loss   1.2504e-03")
    assert not same("loss 1.25e-03", "loss 1.28e-03")
    assert not same("(16, 16)", "(16, 15)")
    assert not same("True", "False")
    assert not same("1.0", "1.0 1.0")


@pytest.mark.parametrize(
    "page",
    sorted(
        str(p.relative_to(DOCS))
        for p in [*DOCS.rglob("*.md"), DOCS / "../README.md"]
        if "_build" not in p.parts
    ),
)
def test_no_page_has_a_screen_of_text_without_picture_table_or_block(page: str) -> None:
    longest = max(stretches((DOCS / page).read_text("utf-8")), key=len)
    assert len(longest) <= SCREEN, f"{page}: {len(longest)} characters from {longest[:60]!r} on"


def test_stretches_end_at_blocks_tables_and_pictures() -> None:
    page = "one\n\n```python\nx\n```\n\ntwo |x|\n\n| a |\n|---|\n\nthree\n\n![p](p.png)\n\nfour\n"
    assert [s for s in stretches(page) if s] == ["one", "two |x|", "three", "four"]


def test_every_page_of_code_is_found() -> None:
    assert {"quickstart.md", "theory.md", "contributing.md"} <= set(pages())


def test_every_namespace_has_a_page_of_reference() -> None:
    for namespace in qs.__all__:
        if not inspect.ismodule(getattr(qs, namespace)):
            continue
        assert (
            f"automodule:: netket_qsntk.{namespace}\n"
            in (DOCS / "api" / f"{namespace}.md").read_text()
        )


def test_scripts_named_on_pages_exist() -> None:
    for path in [DOCS.parent / "README.md", *DOCS.rglob("*.md")]:
        for script in re.findall(r"\bexamples/\w+\.py", path.read_text("utf-8")):
            assert (DOCS.parent / script).is_file(), f"{path.name}: {script}"


def test_links_of_the_readme_and_of_pages_lead_to_files() -> None:
    texts = [DOCS.parent / "README.md", *(p for p in DOCS.rglob("*.md") if "_build" not in p.parts)]
    for path in texts:
        prose = BLOCK.sub("", path.read_text("utf-8"))
        for link in re.findall(r"\]\(([\w./-]+\.\w+|LICENSE)(?:#[\w-]+)?\)", prose):
            assert (path.parent / link).is_file(), f"{path.name}: {link}"


def test_examples_in_docstrings_show_digits_after_the_point() -> None:
    # pytest compares "1." with what is printed to within one: such an example cannot fail.
    parser = doctest.DocTestParser()
    loose = [
        f"{path.relative_to(ROOT)}: {example.source.strip()}"
        for path in sorted(ROOT.glob("netket_qsntk/**/*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module)
        for example in parser.get_examples(ast.get_docstring(node) or "")
        if re.search(r"\d\.(?![\d.])", example.want)
    ]
    assert not loose
