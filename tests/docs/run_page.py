"""Does what a page shows, in the folder it is started in: `python run_page.py PAGE`.

A process of its own for each page, as a reader has: models, error codes and modules belong to a process.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path

from pages import Block, blocks_of

TOQUE = [sys.executable, "-m", "toque"]


def main(page: Path) -> None:
    sys.path.insert(0, os.getcwd())
    module = types.ModuleType("page")
    module.__file__ = os.path.abspath("page.py")
    sys.modules["page"] = module
    for block in blocks_of(page):
        if block.is_file:
            _write(block)
        elif block.language == "python":
            # The empty lines in front give a traceback the page's own line numbers.
            exec(compile("\n" * block.line + block.text, str(page), "exec"), vars(module))
        elif block.language == "console" and block.rest == "run":
            _run(block, page)


def _write(block: Block) -> None:
    file = Path(block.rest)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(block.text, encoding="utf-8")


def _run(block: Block, page: Path) -> None:
    for step in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, expected = step.partition("\n")
        words = shlex.split(command)
        if words[0] == "cd":
            os.chdir(words[1])
            continue
        assert words[0] == "toque", f"{page}:{block.line}: only `toque` and `cd` are run, got {command!r}"
        done = subprocess.run([*TOQUE, *words[1:]], check=False, capture_output=True, text=True, timeout=120)
        printed = done.stdout + done.stderr
        assert _fits(expected, printed), (
            f"{page}:{block.line}: {command}\n--- printed\n{printed}\n--- shown\n{expected}"
        )


def _fits(shown: str, printed: str) -> bool:
    """Whether *printed* is what the page shows; nothing shown leaves it open."""
    lines = shown.strip().splitlines()
    pattern = "".join(r"(?:.*\n)*?" if line == "..." else _text(line) for line in lines)
    return not lines or re.fullmatch(pattern, printed.strip() + "\n") is not None


def _text(line: str) -> str:
    return re.escape(line).replace(r"\.\.\.", ".*?") + r" *\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
