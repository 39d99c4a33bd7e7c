"""Whose code a module's is."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import opentelemetry.trace
import pytest

from toque.contract.code import is_library


@pytest.mark.parametrize("name", ["json", "toque", "toque.app", "sqlalchemy.orm", opentelemetry.trace.__name__])
def test_what_was_installed_knows_nothing_of_the_app(name: str) -> None:
    assert is_library(name)


def test_what_was_not_is_the_apps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_library(__name__)
    # A part of the app in a namespace that an installed package shares has a file of its own.
    part = ModuleType("opentelemetry.ours")
    part.__file__ = str(tmp_path / "ours.py")
    monkeypatch.setitem(sys.modules, part.__name__, part)
    assert not is_library(part.__name__)
