"""An app to try commands on, and the command line as a real process."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

SHOP = '''
"""A shop."""

from collections.abc import AsyncIterator

from toque import App, Error, Principal, Struct, public, role

app = App("shop", version="1.2.3")


class SoldOut(Error, code="shop_sold_out", http=409): ...


class NewCup(Struct):
    size: int
    colour: str = "white"


class Cup(NewCup):
    owner: str = ""


@app.command("/cups", allow=role("potter"), errors=[SoldOut], deadline_s=3)
async def make_cup(new: NewCup, caller: Principal) -> Cup:
    """Make a cup."""
    return Cup(new.size, new.colour, caller.subject)


@app.query("/sizes/{size}", allow=public)
def double(size: int, colours: list[str] = []) -> list[int | str]:
    return [size * 2, *colours]


@app.query("/numbers", allow=public)
async def numbers(until: int) -> AsyncIterator[int]:
    for number in range(until):
        yield number


@app.query("/picture", allow=public, media_type="image/gif")
async def picture() -> bytes:
    return b"GIF89a"


@app.query("/broken", allow=public)
async def broken() -> None:
    raise SoldOut("no more cups")


@app.query("/buggy", allow=public)
async def buggy() -> None:
    raise LookupError("a bug of the shop's own")
'''


class Said(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


Toque = Callable[..., Said]


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
    return folder


def process(*words: str, cwd: Path, **environ: str) -> Said:
    """The command line as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "toque", *words],
        check=False,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "200", **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return Said(done.returncode, done.stdout, done.stderr)
