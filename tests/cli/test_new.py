"""`toque new`: a small app that passes its own tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from shell import Toque, process


def test_a_new_app_passes_its_own_tests_and_has_nothing_wrong(tmp_path: Path) -> None:
    made = process("new", "corner_shop", cwd=tmp_path)
    assert (made.code, made.err) == (0, "")
    assert "cd corner_shop" in made.out

    tested = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-W",
            "error",
            "-p",
            "no:schemathesis",
        ],
        check=False,
        cwd=tmp_path / "corner_shop",
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
    )

    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "6 passed" in tested.stdout
    checked = process("check", cwd=tmp_path / "corner_shop")
    assert checked.out.strip() == "corner_shop 0.1.0: 3 operations, nothing wrong"


def test_a_new_app_is_as_ruff_would_write_it(tmp_path: Path) -> None:
    pytest.importorskip("ruff")
    process("new", "corner_shop", cwd=tmp_path)

    # As it is without settings: who has none should find nothing to mend in what he was given.
    for words in (["check", "--extend-select", "I"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *words, "--isolated", "--no-cache", "."]
        said = subprocess.run(command, check=False, cwd=tmp_path / "corner_shop", capture_output=True, text=True)
        assert said.returncode == 0, said.stdout + said.stderr


def test_a_new_app_is_called_from_the_shell_at_once(tmp_path: Path) -> None:
    process("new", "corner_shop", cwd=tmp_path)

    said = process("call", "add_note", "text=leeks", cwd=tmp_path / "corner_shop")
    listed = process("call", "list_notes", cwd=tmp_path / "corner_shop")

    assert (said.code, said.err) == (0, "")
    assert "leeks" in listed.out


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [("corner-shop", "corner_shop"), ("2nd", "app_2nd"), ("class", "my_class"), ("é", "app")],
)
def test_a_name_that_python_cannot_say_is_refused_with_one_that_it_can(
    toque: Toque, tmp_path: Path, name: str, suggestion: str
) -> None:
    said = toque("new", name)

    assert said.code == 2
    assert f"`{suggestion}`" in said.err
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(toque: Toque, tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "app.py").write_text("mine")

    said = toque("new", "shop")

    assert said.code == 1
    assert "choose another --folder" in said.err
    assert (tmp_path / "shop" / "app.py").read_text() == "mine"


def test_a_folder_that_is_a_file_is_refused(toque: Toque, tmp_path: Path) -> None:
    (tmp_path / "shop").write_text("")

    said = toque("new", "shop")

    assert said.code == 1
    assert "exists" in said.err


def test_an_app_may_stand_elsewhere(toque: Toque, tmp_path: Path) -> None:
    assert toque("new", "shop", "--folder", "apps/first").code == 0

    assert 'App("shop"' in (tmp_path / "apps" / "first" / "app.py").read_text()
