"""One version everywhere, and a changelog whose order tells what came when."""

import importlib.util
import re
import tomllib
from pathlib import Path

import netket_qsntk as qs

ROOT = Path(__file__).parents[1]
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def test_version_is_written_once_and_cited_alike() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["hatch"]["version"]["path"] == "netket_qsntk/__init__.py"
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.MULTILINE)
    assert cited is not None
    assert cited[1] == qs.__version__


def test_changelog_has_unreleased_first_then_versions_newest_first() -> None:
    sections = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text("utf-8"), flags=re.MULTILINE)[1:]
    titles = [section.splitlines()[0] for section in sections]
    assert titles[0] == "Unreleased"
    versions = [
        re.fullmatch(r"(\d+)\.(\d+)\.(\d+) - \d{4}-\d\d-\d\d", title) for title in titles[1:]
    ]
    assert all(versions)
    numbers = [tuple(map(int, version.groups())) for version in versions if version is not None]
    assert numbers == sorted(set(numbers), reverse=True)
    for section in sections:
        kinds = re.findall(r"^### (.*)$", section, re.MULTILINE)
        assert kinds == [kind for kind in KINDS if kind in kinds]


def test_lowest_versions_are_the_lower_bounds_of_the_dependencies() -> None:
    spec = importlib.util.spec_from_file_location("versions", ROOT / ".ci" / "versions.py")
    assert spec is not None
    assert spec.loader is not None
    versions = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(versions)
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    pins = versions.lowest_versions()
    assert "netket==3.23" in pins
    # What pyproject.toml pins itself needs no constraint.
    assert len(pins) == sum("==" not in dependency for dependency in wanted)
