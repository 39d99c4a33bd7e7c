"""Every example of the documentation does what its page says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pages import PAGES, ROOT, blocks_of

RUNNER = Path(__file__).with_name("run_page.py")


def _is_run(page: Path) -> bool:
    return any(
        (block.language == "python" and not block.is_file) or (block.language, block.rest) == ("console", "run")
        for block in blocks_of(page)
    )


@pytest.mark.parametrize(
    "page", [page for page in PAGES if _is_run(page)], ids=lambda page: str(page.relative_to(ROOT))
)
def test_a_pages_examples_do_what_it_says(page: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TOQUE_")}
    environment |= {"COLUMNS": "160", "NO_COLOR": "1", "TERM": "dumb"}
    command = [sys.executable, "-W", "error", str(RUNNER), str(page)]

    done = subprocess.run(
        command, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True, timeout=300
    )

    assert done.returncode == 0, done.stderr[-8000:]


def test_a_named_python_block_is_used_by_a_block_that_is_run() -> None:
    idle = [
        str(page.relative_to(ROOT)) for page in PAGES if not _is_run(page) and any(b.is_file for b in blocks_of(page))
    ]

    assert idle == [], "these pages write files that nothing tries"
