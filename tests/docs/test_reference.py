"""The reference is made from the code, so it says what the code does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_tables_of_the_reference_say_what_the_code_does() -> None:
    # In a process of its own: other tests declare error codes, which join the table.
    command = [sys.executable, str(Path(__file__).with_name("tables.py")), "--check"]

    done = subprocess.run(command, check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
