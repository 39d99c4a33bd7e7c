"""The pages of the documentation, and the fenced blocks in them.

What a block's info string says is what happens to it:

    ```python             run, in order, in one namespace a page
    ```python app.py      written to that file, for the blocks after it; so with every other language
    ```console run        each line that begins with `$ toque` is run, and what it prints is compared
    ```anything           only shown

In what a `console run` block shows, a line of three dots stands for any lines, `...` in a line for any text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "ROOT", "Block", "anchors_of", "blocks_of", "links_of", "prose_of"]

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_FENCE = re.compile(r"^( *)(`{3,})(.*)$")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, the rest of its info string, its text and the line it begins at."""

    language: str
    rest: str
    text: str
    line: int

    @property
    def is_file(self) -> bool:
        return "." in self.rest


def blocks_of(page: Path) -> Iterator[Block]:
    """The fenced blocks of *page*, in order. Raises: ValueError where one is not closed."""
    opened: tuple[str, str, int] | None = None
    lines: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if opened is None:
            if fence is not None:
                opened, lines = (fence[2], fence[3], number), []
        elif fence is not None and fence[2] == opened[0] and not fence[3]:
            language, _, rest = opened[1].strip().partition(" ")
            yield Block(language, rest.strip(), "\n".join(lines) + "\n", opened[2])
            opened = None
        else:
            lines.append(line)
    if opened is not None:
        raise ValueError(f"{page}:{opened[2]}: this block has no end")


def prose_of(page: Path) -> str:
    """*page* without its blocks."""
    return re.sub(r"^( *)(`{3,}).*?^\1\2$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def links_of(page: Path) -> list[str]:
    return _LINK.findall(prose_of(page))


def anchors_of(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    headings = (heading.strip().lower() for heading in _HEADING.findall(prose_of(page)))
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in headings}
