"""ARCHITECTURE.md speaks of the code as it is."""

from __future__ import annotations

import re
import tomllib

from pages import ROOT, blocks_of

from toque.call.plan import ORDER

PAGE = ROOT / "ARCHITECTURE.md"
SOURCE = ROOT / "src" / "toque"


def test_its_layers_are_those_that_import_linter_enforces() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    enforced = project["tool"]["importlinter"]["contracts"][0]["layers"]

    assert "\n".join(enforced) + "\n" in [block.text for block in blocks_of(PAGE)]


def test_the_files_that_it_names_are_there() -> None:
    named = re.findall(r"`((?:\w+/)*[\w*]+\.py)`", PAGE.read_text(encoding="utf-8"))

    assert [name for name in named if not list(SOURCE.rglob(name)) and not (ROOT / name).exists()] == []


def test_it_names_every_package() -> None:
    text = PAGE.read_text(encoding="utf-8")
    packages = [path.parent.name for path in SOURCE.glob("*/__init__.py")]

    assert [name for name in packages if f"`{name}" not in text] == []


def test_it_is_read_in_one_sitting() -> None:
    assert len(PAGE.read_text(encoding="utf-8").splitlines()) <= 200


def test_the_order_of_the_policies_is_told_as_it_is() -> None:
    page = (ROOT / "docs" / "why" / "one-path.md").read_text(encoding="utf-8")
    told = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")]

    assert told[1:] == list(ORDER)
