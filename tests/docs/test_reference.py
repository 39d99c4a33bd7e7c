"""The reference is made from the code, so it says what the code does."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from pages import ROOT


def test_the_tables_of_the_reference_say_what_the_code_does() -> None:
    # In a process of its own: other tests declare error codes, which join the table.
    command = [sys.executable, str(Path(__file__).with_name("tables.py")), "--check"]

    done = subprocess.run(command, check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


def test_every_extra_is_on_the_page_that_installs() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    page = (ROOT / "docs/start/install.md").read_text()
    listed = re.findall(r"`(\w+)`", " ".join(re.findall(r"^\|(.*?)\|", page, re.MULTILINE)))

    assert sorted(listed) == sorted(extras)
