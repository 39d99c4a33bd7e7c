"""The command line in this process, where each test may load apps of its own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from shell import SHOP, Said, Toque, write

from toque.cli import main


@pytest.fixture
def toque(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Toque]:
    """The command line in this process, in an empty folder; each command forgets what it imported."""
    path = list(sys.path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: str) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(words)
        sys.path[:] = path
        forget(tmp_path)
        code = caught.value.code
        assert isinstance(code, int)
        return Said(code, *capsys.readouterr())

    yield call
    sys.path[:] = path
    forget(tmp_path)


def forget(folder: Path) -> None:
    """As if nothing in *folder* had been imported: the next command reads what its files say then."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(folder)):
            del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The folder of an app without models."""
    return write(tmp_path / "shop", {"app.py": SHOP})
