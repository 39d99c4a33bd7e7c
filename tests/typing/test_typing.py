"""A user's app under mypy and pyright, both strict: what they infer is what is promised."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from toque.settings import Settings

APP = Path(__file__).with_name("app_of_a_user.py")


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, cwd=cwd, capture_output=True, text=True)


def needed(tool: str) -> None:
    if find_spec(tool) is None:
        if os.environ.get("CI"):
            pytest.fail(f"CI must check types: install {tool}.")
        pytest.skip(f"no {tool} to check types with")


def test_mypy_agrees(tmp_path: Path) -> None:
    needed("mypy")
    options = ["--strict", "--warn-unused-ignores", "--config-file=", f"--cache-dir={cache()}", "--no-error-summary"]

    done = run(sys.executable, "-m", "mypy", *options, str(APP), cwd=tmp_path)

    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


def test_pyright_agrees(tmp_path: Path) -> None:
    needed("pyright")
    settings = (
        f'{{"include": ["{APP}"], "typeCheckingMode": "strict", "pythonVersion": "3.11", '
        '"reportUnnecessaryTypeIgnoreComment": "error", "enableTypeIgnoreComments": false, '
        # SQLAlchemy's own functions have parameters of unknown types.
        '"reportUnknownMemberType": false, "reportUnusedFunction": false}'
    )
    (tmp_path / "pyrightconfig.json").write_text(settings)

    done = run(sys.executable, "-m", "pyright", "--pythonpath", sys.executable, cwd=tmp_path)

    assert "0 errors" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


def test_what_they_agree_on_is_served() -> None:
    from app_of_a_user import app

    plans = app.serve(Settings()).system.plans

    assert {name.partition(".")[0] for name in plans} == {"typed", "orders"}
    assert len(plans) == 10


def cache() -> Path:
    """mypy's own folder of what it knows already: without it, it reads SQLAlchemy anew for ten seconds."""
    return Path(__file__).parents[2] / ".mypy_cache" / "tests"
